#!/usr/bin/env bash
# A paper's number: Transformer-Tiny of Wu et al. 2021 (ACL) on Multi30k, scored as they did and,
# apart from that, as one should today. With --set scale=small, ten minutes on two CPU cores:
# a model for cased text, which is not compared with the paper.
#
# Multi30k may be used for research and education only.

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

setting src=en "source language: en, de or fr"
setting tgt=de "target language"
setting data=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw "where train.en.gz … are: an address, or a folder"
setting scale=paper "paper, or small"
setting train_config= "options of fairseq-train (default: conf/paper.yaml or small.yaml)"
setting seeds=1 "seeds of the training, as 1,2,3; several give mean and spread"
start "$@"

[[ $data == https:* ]] || data=file:$data
declare -A files=([train]=train [dev]=val [test]=test_2016_flickr [test2017]=test_2017_flickr
    [testcoco]=test_2017_mscoco)
for language in "$src" "$tgt"; do
    grep -q " train.$language.gz$" "$recipe/conf/sha256" ||
        _fail "Multi30k's test sets are in en, de and fr, not in '$language'; see --set src and tgt"
done
source_of() { # a set: the files of both languages, each with the digest of its bytes
    local language sides=()
    for language in "$src" "$tgt"; do
        sides+=("$language.gz#sha256=$(grep " ${files[$1]}.$language.gz$" "$recipe/conf/sha256" |
            cut -d ' ' -f 1)")
    done
    echo "$data/${files[$1]}.{${sides[0]}|${sides[1]}}"
}
case $scale in
paper) steps='{default: [lowercase, punctuation, tokenise]}' cut=(subword-nmt 10000) lower=true ;;
small) steps='{default: []}' cut=(unigram 4000) lower=false ;;
*) _fail "--set scale=$scale: choose paper or small" ;;
esac

stage 1 "Fetch Multi30k" --out "$exp/fetch" -- \
    python -m preprocess.fetch --src "$src" --tgt "$tgt" --train "$(source_of train)" \
    --dev "$(source_of dev)" --test "$(source_of test)" --out "$exp/fetch" \
    --more.test2017 "$(source_of test2017)" --more.testcoco "$(source_of testcoco)"

stage 2 "Tokenise" --in "$exp/fetch" --out "$exp/tokens" -- \
    python -m preprocess.tokenise --bitext "$exp/fetch" --out "$exp/tokens" \
    --steps "$steps" --escape true

stage 3 "Learn and apply subwords" --in "$exp/tokens" --out "$exp/subword" -- \
    python -m preprocess.subword --bitext "$exp/tokens" --out "$exp/subword" \
    --model-type "${cut[0]}" --vocab-size "${cut[1]}"

stage 4 "Binarise" --in "$exp/subword" --out "$exp/binary" -- \
    python -m preprocess.binarise --subwords "$exp/subword" --out "$exp/binary"

train_and_translate() {
    local seed=$1 name kind out
    stage 5 "Train, seed $seed" --resume --in "$exp/binary" --out "$exp/train-$seed" -- \
        python -m train.fairseq --data "$exp/binary" --out "$exp/train-$seed" \
        --config "${train_config:-$recipe/conf/$scale.yaml}" --seed "$seed"

    stage 6 "Export a model bundle, seed $seed" --in "$exp/train-$seed/checkpoint.pt" \
        "$exp/binary" "$exp/subword" --out "$exp/bundle-$seed" -- \
        python -m decode.export --checkpoint "$exp/train-$seed/checkpoint.pt" \
        --data "$exp/binary" --subwords "$exp/subword" --out "$exp/bundle-$seed"

    for name in test test2017 testcoco; do
        for kind in text tokens; do
            [[ $kind == text || $scale == paper ]] || continue
            out=$exp/$kind-$name-$seed
            stage 6 "Translate $name to $kind, seed $seed" --in "$exp/bundle-$seed" \
                "$exp/fetch/$name.$src" --out "$out" -- \
                python -m decode.translate --bundle "$exp/bundle-$seed" \
                --input "$exp/fetch/$name.$src" --out "$out" \
                --detokenise "$([[ $kind == text ]] && echo true || echo false)"
        done
    done
}
each_seed train_and_translate

for name in test test2017 testcoco; do
    texts=() tokens=() systems=() papers=()
    for seed in ${seeds//,/ }; do
        texts+=("$exp/text-$name-$seed")
        tokens+=("$exp/tokens-$name-$seed")
        papers+=("--hypotheses+" "$exp/tokens-$name-$seed/hypotheses.txt")
        systems+=("--systems.model-seed$seed" "$exp/text-$name-$seed/hypotheses.txt")
    done
    stage 7 "Score $name" --in "$exp/fetch/$name."{"$src","$tgt"} "${texts[@]}" \
        --out "$exp/score-$name" -- \
        python -m score.metrics --references "$exp/fetch/$name.$tgt" --target-language "$tgt" \
        --source "$exp/fetch/$name.$src" --by+ length "${systems[@]}" --lowercase "$lower" --out "$exp/score-$name"

    [[ $scale == paper ]] || continue
    stage 7 "Score $name as the paper does" --in "$exp/tokens/$name.$tgt" \
        "${tokens[@]}" --out "$exp/paper-$name" -- \
        python -m score.paper --published "$recipe/conf/published.yaml" --pair "$src-$tgt" \
        --name "$name" "${papers[@]}" --references "$exp/tokens/$name.$tgt" --out "$exp/paper-$name"
done

results --source "$exp/fetch/test.$src" --references "$exp/fetch/test.$tgt" \
    --hypotheses "$exp/text-test-${seeds%%,*}/hypotheses.txt"
