#!/usr/bin/env bash
# Back-translation: a few pairs of a language pair and much text in the target language. Each
# method of the literature trains a model for as many updates as one on the pairs alone, and one
# table shows what it gave.
#
#     recipes/backtranslation/run.sh --set pairs=10000 --set methods="bitext beam tagged"
#     recipes/backtranslation/run.sh --set data=/corpora/multi30k    # with task1/ and task2/ in it
#     recipes/backtranslation/run.sh --set src=es --set tgt=ca --set train=libreoffice-help \
#         --set dev= --set test= --set mono=rest
#
# Multi30k may be used for research and education only.

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

all_methods="bitext beam greedy sampling top-k noised tagged copied forward iterative"
setting src=en "source language"
setting tgt=de "target language"
setting data=https://raw.githubusercontent.com/multi30k/dataset/master/data "where Multi30k is: an address, or a folder with task1/ and task2/"
setting train=multi30k "real pairs, or another source as for preprocess.fetch"
setting dev=multi30k "development set (empty: split off train)"
setting test=multi30k "test set (empty: split off train)"
setting mono=multi30k "monolingual text, {lang} in it for the language (from an address, the first of Multi30k's five captions); rest: the pairs not used"
setting pairs=10000 "number of real pairs to use"
setting lines=30000 "number of monolingual lines to use"
setting methods="$all_methods" "what to compare"
setting upsample=1 "how often the real pairs are put in"
setting rounds=2 "rounds of iterative back-translation"
setting gain=0.3 "iterative ends when a round gives less chrF on dev"
setting vocab_size=4000 "number of subwords"
setting updates=700 "updates of each training"
setting train_config="$recipe/conf/train.yaml" "options of fairseq-train"
setting threads= "cores for each training (default: all)"
setting shards=2 "parts in which the monolingual text is translated"
setting seeds=1,2 "seeds of each training"
start "$@"

raw=raw/ captions=1
if [[ $data != https:* ]]; then
    [[ -d $data/task1/raw ]] || raw=''
    data=file:$data captions='[1-5]'
fi
for set in train=train dev=val test=test_2016_flickr; do
    name=${set%%=*}
    [[ ${!name} != multi30k ]] || printf -v "$name" %s "$data/task1/$raw${set#*=}.{lang}.gz"
done
[[ $mono != multi30k ]] || mono="$data/task2/${raw}train.$captions.{lang}.gz"
[[ $mono != rest ]] || mono="file:$exp/bitext/rest/{lang}"
first=${seeds%%,*}

for method in $methods; do
    [[ " $all_methods " == *" $method "* ]] || _fail "method '$method': there are $all_methods"
done
[[ " $methods " != *" iterative "* || (" $methods " == *" beam "* && $rounds -gt 1) ]] ||
    _fail "iterative needs beam among the methods, its first round, and 2 rounds or more"

stage 1 "Fetch the pairs" --out "$exp/fetch" -- \
    python -m preprocess.fetch --src "$src" --tgt "$tgt" --train "$train" ${dev:+--dev "$dev"} \
    ${test:+--test "$test"} --lock "$exp/sources.json" --out "$exp/fetch"

stage 2 "Clean the pairs" --in "$exp/fetch" --out "$exp/clean" -- \
    python -m preprocess.clean --bitext "$exp/fetch" --out "$exp/clean"

stage 2 "Take $pairs of them" --in "$exp/clean" --out "$exp/bitext" -- \
    python -m preprocess.subset --bitext "$exp/clean" --out "$exp/bitext" --pairs "$pairs"

both=("$tgt")
[[ " $methods " != *" forward "* && " $methods " != *" iterative "* ]] || both+=("$src")
for language in "${both[@]}"; do
    stage 2 "Clean monolingual text, $language" --in "$exp/bitext" --out "$exp/mono-$language" -- \
        python -m preprocess.monolingual --text "${mono//\{lang\}/$language}" \
        --language "$language" --bitext "$exp/bitext" --out "$exp/mono-$language" \
        --shards "$shards" --limit "$lines" --lock "$exp/sources.json"
done

stage 3 "Learn and apply subwords" --in "$exp/bitext" --out "$exp/subword" -- \
    python -m preprocess.subword --bitext "$exp/bitext" --out "$exp/subword" \
    --vocab-size "$vocab_size" --symbols '[<BT>, <BLANK>]'

# Numbers of the stages that follow: what a method needs has a lower number than what it makes.
at_model=4 at_train=5 at_test=5

# train_on NAME OPTION ...: a model of the real pairs, and of what the options add to them.
train_on() {
    local name=$1 inputs=() option fast=()
    shift
    [[ $name != reverse* ]] || fast=(--quantization int8 --shortlist true)
    for option; do [[ $option != "$exp/"* ]] || inputs+=("$option"); done
    stage "$at_model" "Combine, $name" --in "$exp/subword" ${inputs[@]+"${inputs[@]}"} \
        --out "$exp/data-$name" -- \
        python -m preprocess.combine --subwords "$exp/subword" --out "$exp/data-$name" "$@"

    stage "$at_model" "Binarise, $name" --in "$exp/data-$name" --out "$exp/binary-$name" -- \
        python -m preprocess.binarise --subwords "$exp/data-$name" --out "$exp/binary-$name"

    model() {
        stage "$at_train" "Train, $name, seed $1" --resume \
            --in "$exp/binary-$name" --out "$exp/train-$name-$1" -- \
            python -m train.fairseq --data "$exp/binary-$name" --out "$exp/train-$name-$1" \
            --config "$train_config" --options.max-update "$updates" \
            --options.total-num-update "$updates" ${threads:+--cpu-threads "$threads"} --seed "$1"

        stage "$at_train" "Export, $name, seed $1" --in "$exp/binary-$name" "$exp/data-$name" \
            "$exp/train-$name-$1/checkpoint.pt" --out "$exp/bundle-$name-$1" -- \
            python -m decode.export --checkpoint "$exp/train-$name-$1/checkpoint.pt" \
            --data "$exp/binary-$name" --subwords "$exp/data-$name" \
            --out "$exp/bundle-$name-$1" ${fast[@]+"${fast[@]}"}
    }
    if [[ $name == reverse* ]]; then model "$first"; else each_seed model; fi
}

# translate_mono NAME LANGUAGE METHOD [BUNDLE]: a synthetic bitext of the text in a language.
translate_mono() {
    local name=$1 language=$2 method=$3 bundle=${4-} shard parts=() options=()
    [[ " ${translated[*]-} " != *" $name "* ]] || return 0 # noised and tagged have that of beam
    translated+=("$name")
    for ((shard = 1; shard <= shards; shard++)); do
        parts+=("$exp/shard-$name-$shard") options+=(--shards+ "$exp/shard-$name-$shard")
        stage "$at_text" "Translate, $name, shard $shard" --in "$exp/mono-$language/shard-$shard.tsv" \
            ${bundle:+"$bundle"} --out "$exp/shard-$name-$shard" -- \
            python -m decode.backtranslate --shard "$exp/mono-$language/shard-$shard.tsv" \
            ${bundle:+--bundle "$bundle"} --method "$method" --out "$exp/shard-$name-$shard"
    done
    [[ $method != copy ]] || options+=(--filters '[]') # each of them is a copy
    stage "$at_text" "Filter, $name" --in "$exp/bitext" "${parts[@]}" --out "$exp/synthetic-$name" -- \
        python -m decode.synthetic "${options[@]}" --language "$language" \
        --bitext "$exp/bitext" --out "$exp/synthetic-$name"
}

# translate_sets NAME: dev and test, by the model of each seed, and their scores.
translate_sets() {
    local name=$1 set
    translate_one() {
        for set in dev test; do
            stage "$at_test" "Translate $set, $name, seed $1" --in "$exp/bundle-$name-$1" \
                "$exp/clean/$set.$src" --out "$exp/$set-$name-$1" -- \
                python -m decode.translate --bundle "$exp/bundle-$name-$1" \
                --input "$exp/clean/$set.$src" --out "$exp/$set-$name-$1"
        done
    }
    each_seed translate_one
    local systems=() inputs=() seed
    for seed in ${seeds//,/ }; do
        inputs+=("$exp/dev-$name-$seed")
        systems+=("--systems.$name-seed$seed" "$exp/dev-$name-$seed/hypotheses.txt")
    done
    stage "$at_test" "Score dev, $name" --in "$exp/clean/dev.$tgt" "${inputs[@]}" \
        --out "$exp/score-dev-$name" -- \
        python -m score.metrics --references "$exp/clean/dev.$tgt" --target-language "$tgt" \
        "${systems[@]}" --out "$exp/score-dev-$name"
}

# look_at NAME: how good a reverse model is, on dev.
look_at() {
    local name=$1
    stage "$at_test" "Translate dev, $name" --in "$exp/bundle-$name-$first" "$exp/clean/dev.$tgt" \
        --out "$exp/dev-$name" -- \
        python -m decode.translate --bundle "$exp/bundle-$name-$first" \
        --input "$exp/clean/dev.$tgt" --out "$exp/dev-$name"
    stage "$at_test" "Score dev, $name" --in "$exp/clean/dev.$src" "$exp/dev-$name" \
        --out "$exp/score-dev-$name" -- \
        python -m score.metrics --references "$exp/clean/dev.$src" --target-language "$src" \
        "--systems.$name" "$exp/dev-$name/hypotheses.txt" --out "$exp/score-dev-$name"
}

# The methods that train on one synthetic bitext: its name, and how it is combined.
real=(--upsample "$upsample")
reverse=$exp/bundle-reverse-$first

done_methods=(bitext)
train_on bitext
translate_sets bitext
train_on reverse --reverse true
look_at reverse

at_text=6 at_model=7 at_train=8 at_test=9
for method in $methods; do
    case $method in
    bitext | iterative) continue ;;
    noised | tagged)
        translate_mono beam "$tgt" beam "$reverse"
        flag=$([[ $method == noised ]] && echo --noise || echo --tag)
        train_on "$method" --synthetic+ "$exp/synthetic-beam" "${real[@]}" "$flag" true
        ;;
    forward)
        translate_mono forward "$src" beam "$exp/bundle-bitext-$first"
        train_on forward --synthetic+ "$exp/synthetic-forward" "${real[@]}"
        ;;
    copied)
        translate_mono copied "$tgt" copy
        train_on copied --synthetic+ "$exp/synthetic-copied" "${real[@]}"
        ;;
    beam | greedy | sampling | top-k)
        translate_mono "$method" "$tgt" "$method" "$reverse"
        train_on "$method" --synthetic+ "$exp/synthetic-$method" "${real[@]}"
        ;;
    esac
    translate_sets "$method"
    done_methods+=("$method")
done

# improves NAME BEFORE: whether the model is better on dev than the one before, by at least $gain.
improves() {
    [[ $_mode == run && -f $exp/score-dev-$1/scores.json && -f $exp/score-dev-$2/scores.json ]] ||
        return 0
    "$python" -m score.gain --new "$exp/score-dev-$1" --old "$exp/score-dev-$2" --least "$gain" ||
        { (($? == 3)) && return 1; exit 1; }
}

if [[ " $methods " == *" iterative "* ]]; then
    at_text=10 at_model=10 at_train=10 at_test=10 # round by round, with one number
    before=beam # the first round
    for ((round = 2; round <= rounds; round++)); do
        now=iterative-$round
        translate_mono "reverse-$round" "$src" beam "$exp/bundle-$before-$first"
        train_on "reverse-$round" --reverse true --synthetic+ "$exp/synthetic-reverse-$round" "${real[@]}"
        look_at "reverse-$round"
        translate_mono "$now" "$tgt" beam "$exp/bundle-reverse-$round-$first"
        train_on "$now" --synthetic+ "$exp/synthetic-$now" "${real[@]}"
        translate_sets "$now"
        done_methods+=("$now")
        improves "$now" "$before" || break
        before=$now
    done
fi

systems=() inputs=() parts=()
for name in "${done_methods[@]}"; do
    parts+=("$exp/score-dev-$name" "$exp/data-$name")
    for seed in ${seeds//,/ }; do
        inputs+=("$exp/test-$name-$seed")
        systems+=("--systems.$name-seed$seed" "$exp/test-$name-$seed/hypotheses.txt")
    done
done
stage 11 "Score test" --in "$exp/clean/test."{"$src","$tgt"} "${inputs[@]}" \
    --out "$exp/score-test" -- \
    python -m score.metrics --references "$exp/clean/test.$tgt" --target-language "$tgt" \
    --source "$exp/clean/test.$src" --by+ length "${systems[@]}" --baseline bitext --out "$exp/score-test"

stage 12 "Table" --in "$exp/score-test" "${parts[@]}" --out "$exp/table" -- \
    python -m score.methods --exp "$exp" --names "[$(IFS=, && echo "${done_methods[*]}")]" \
    --out "$exp/table"
[[ $_mode != run || $_last -lt 12 ]] || cat "$exp/table/table.txt"
page --source "$exp/clean/test.$src" --references "$exp/clean/test.$tgt"
