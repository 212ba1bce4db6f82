#!/usr/bin/env bash
# From nothing to a scored translation model in about ten minutes on two CPU cores: Spanish to
# Catalan, learned from LibreOffice's help (some 20,000 paragraphs, split by page).
#
# Run it again and only what has changed is done again.

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

setting src=es "source language"
setting tgt=ca "target language"
setting train=libreoffice-help "where the text is; see python -m preprocess.fetch --help"
setting vocab_size=4000 "number of subwords"
setting updates=1200 "updates of the parameters in training"
setting train_config="$recipe/conf/train.yaml" "options of fairseq-train"
setting seeds=1 "seeds of the training, as 1,2,3; several give mean and spread"
start "$@"

stage 1 "Fetch parallel text" --out "$exp/fetch" -- \
    python -m preprocess.fetch --src "$src" --tgt "$tgt" --train "$train" \
    --lock "$exp/sources.json" --out "$exp/fetch"

stage 2 "Inspect it" --in "$exp/fetch" --out "$exp/inspect" -- \
    python -m preprocess.inspect --bitext "$exp/fetch" --out "$exp/inspect"

stage 2 "Clean it" --in "$exp/fetch" --out "$exp/clean" -- \
    python -m preprocess.clean --bitext "$exp/fetch" --out "$exp/clean"

stage 3 "Learn and apply subwords" --in "$exp/clean" --out "$exp/subword" -- \
    python -m preprocess.subword --bitext "$exp/clean" --out "$exp/subword" \
    --vocab-size "$vocab_size"

stage 4 "Binarise" --in "$exp/subword" --out "$exp/binary" -- \
    python -m preprocess.binarise --subwords "$exp/subword" --out "$exp/binary"

train_and_translate() {
    local seed=$1
    stage 5 "Train, seed $seed" --resume --in "$exp/binary" --out "$exp/train-$seed" -- \
        python -m train.fairseq --data "$exp/binary" --out "$exp/train-$seed" \
        --config "$train_config" --options.max-update "$updates" \
        --options.total-num-update "$updates" --seed "$seed"

    stage 6 "Export a model bundle, seed $seed" --in "$exp/train-$seed/checkpoint.pt" \
        "$exp/binary" "$exp/subword" --out "$exp/bundle-$seed" -- \
        python -m decode.export --checkpoint "$exp/train-$seed/checkpoint.pt" \
        --data "$exp/binary" --subwords "$exp/subword" --out "$exp/bundle-$seed"

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

stage 7 "Score" --in "$exp/clean/test."{"$src","$tgt"} "$exp/baselines" "${translations[@]}" \
    --out "$exp/score" -- \
    python -m score.metrics --references "$exp/clean/test.$tgt" --target-language "$tgt" \
    --source "$exp/clean/test.$src" --baseline memory --test randomisation --by+ length \
    "${systems[@]}" --out "$exp/score"

results --source "$exp/clean/test.$src" --references "$exp/clean/test.$tgt" \
    --hypotheses "${translations[0]}/hypotheses.txt"
