#!/usr/bin/env bash
# A recipe to copy: your own parallel text in, a scored model out.
#
#     cp -r recipes/template recipes/mine
#     recipes/mine/run.sh --set train='file:/data/train.{lang}' --set src=de --set tgt=en
#
# Without settings it learns Galician from Spanish on LibreOffice's help.

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# A setting is a shell variable with a default, changed by --set NAME=VALUE.
setting src=es "source language, as any ISO 639 code"
setting tgt=gl "target language"
setting train=libreoffice-help "where the text is; see python -m preprocess.fetch --help"
setting dev= "development set (empty: split off train)"
setting test= "test set (empty: split off train)"
setting vocab_size=4000 "number of subwords for both languages together"
setting updates=1200 "updates of the parameters in training"
setting train_config="$recipe/conf/train.yaml" "options of fairseq-train"
setting seeds=1 "seeds of the training, as 1,2,3; several give mean and spread"
start "$@" # reads the command line; from here on, $exp is the experiment's directory

# A stage turns what follows --in into the directory after --out. It runs again only if an input,
# its command, a file named in the command, the code or a library has changed.
stage 1 "Fetch parallel text" --out "$exp/fetch" -- \
    python -m preprocess.fetch --src "$src" --tgt "$tgt" --train "$train" \
    ${dev:+--dev "$dev"} ${test:+--test "$test"} \
    --lock "$exp/sources.json" --out "$exp/fetch"

# Read the report: it fails where training would be a waste of time.
stage 2 "Inspect and clean: inspect" --in "$exp/fetch" --out "$exp/inspect" -- \
    python -m preprocess.inspect --bitext "$exp/fetch" --out "$exp/inspect"

stage 2 "Inspect and clean: clean" --in "$exp/fetch" --out "$exp/clean" -- \
    python -m preprocess.clean --bitext "$exp/fetch" --out "$exp/clean" --config "$recipe/conf/clean.yaml"

# Any command can be a stage. This one is plain shell; a failure inside a pipe fails it. The
# directory it writes to is handed over as an argument of its own ($1), because a stage writes to
# another name until it is complete.
stage 2 "Look at the longest lines" --in "$exp/clean" --out "$exp/longest" -- \
    bash -c 'mkdir -p "$1" && awk "{ print NF, \$0 }" "$2" | sort -rn | sed -n 1,20p > "$1/longest.txt"' \
    longest "$exp/longest" "$exp/clean/train.$src"

stage 3 "Learn and apply subwords" --in "$exp/clean" --out "$exp/subword" -- \
    python -m preprocess.subword --bitext "$exp/clean" --out "$exp/subword" \
    --vocab-size "$vocab_size"

stage 4 "Binarise" --in "$exp/subword" --out "$exp/binary" -- \
    python -m preprocess.binarise --subwords "$exp/subword" --out "$exp/binary"

# --resume: killed, it goes on in its half-written directory instead of beginning anew.
train_and_translate() {
    local seed=$1
    stage 5 "Train, seed $seed" --resume --in "$exp/binary" --out "$exp/train-$seed" -- \
        python -m train.fairseq --data "$exp/binary" --out "$exp/train-$seed" \
        --config "$train_config" --options.max-update "$updates" \
        --options.total-num-update "$updates" --seed "$seed"

    stage 6 "Export a model bundle, seed $seed" --in "$exp/train-$seed/checkpoint.pt" \
        "$exp/binary" "$exp/subword" --out "$exp/bundle-$seed" -- \
        python -m decode.export --checkpoint "$exp/train-$seed/checkpoint.pt" \
        --data "$exp/binary" --subwords "$exp/subword" --out "$exp/bundle-$seed" \
        --quantization int8

    stage 6 "Translate the test set, seed $seed" --in "$exp/bundle-$seed" \
        "$exp/clean/test.$src" --out "$exp/translate-$seed" -- \
        python -m decode.translate --bundle "$exp/bundle-$seed" \
        --input "$exp/clean/test.$src" --out "$exp/translate-$seed"
}
each_seed train_and_translate

systems=() translations=()
for seed in ${seeds//,/ }; do
    translations+=("$exp/translate-$seed")
    systems+=("--systems.model-seed$seed" "$exp/translate-$seed/hypotheses.txt")
done

baselines 7 "$exp/clean"

# Add your other systems by name: --systems.mine "$exp/other/hypotheses.txt"
stage 7 "Score" --in "$exp/clean/test."{"$src","$tgt"} "$exp/baselines" "${translations[@]}" \
    --out "$exp/score" -- \
    python -m score.metrics --references "$exp/clean/test.$tgt" --target-language "$tgt" \
    --source "$exp/clean/test.$src" --baseline memory --test randomisation --by+ length \
    "${systems[@]}" --out "$exp/score"

# Printed at the end of every complete run.
results --source "$exp/clean/test.$src" --references "$exp/clean/test.$tgt" \
    --hypotheses "${translations[0]}/hypotheses.txt"
