#!/usr/bin/env bash
# A model of a few thousand pairs with the help of a related language: Spanish to Galician from a
# parent of Spanish to Catalan, learned from LibreOffice's help. One table: the child alone, and
# each way to use the parent's text.
#
#     recipes/transfer/run.sh --set pairs=1000 --set seeds=1,2,3
#     recipes/transfer/run.sh --set parent_tgt=pt --set methods="child match"
#     recipes/transfer/run.sh --set src=en --set tgt=lug --set parent_tgt=swa \
#         --set train='file:/corpora/lafand/en-lug/train.{lang}.gz' …

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

all_methods="child preset match nearest mapped shared parents multilingual adversarial backtranslation combined"
setting src=es "source language of the child"
setting tgt=gl "target language of the child"
setting parent_src= "source language of the parent (default: the child's)"
setting parent_tgt=ca "target language of the parent"
setting train=libreoffice-help "where the child's text is; see python -m preprocess.fetch --help"
setting dev= "the child's development set (empty: split off train)"
setting test= "the child's test set (empty: split off train)"
setting parent_train= "where the parent's text is (default: the same)"
setting parent_dev= "the parent's development set (empty: split off its train)"
setting parent_test= "the parent's test set (empty: split off its train)"
setting zero= "text in both target languages, for zero-shot translation (default: none, or libreoffice-help)"
setting pairs=2000 "pairs of the child to use, or all"
setting methods="$all_methods" "what to compare"
setting vocab_size=4000 "number of subwords of the parent, and of the child's own"
setting updates=600 "updates of a child"
setting preset_updates=3000 "updates of preset, whose learning rate rises for the first 1,000"
setting parent_updates=1200 "updates of the parent"
setting multilingual_updates= "updates of a multilingual model (default: those of parent and child)"
setting adversarial=0.1 "weight of the adversary"
setting mono=4000 "sentences to translate back"
setting train_config="$recipe/conf/train.yaml" "options of fairseq-train for all but preset"
setting threads= "cores for each training (default: all)"
setting seeds=1,2 "seeds of each child"
start "$@"

parent_src=${parent_src:-$src} parent_train=${parent_train:-$train}
whole vocab_size updates preset_updates parent_updates mono
: "${multilingual_updates:=$((updates + parent_updates))}"
whole multilingual_updates
for method in $methods; do
    [[ " $all_methods " == *" $method "* ]] || _fail "method '$method': there are $all_methods"
done
[[ " $methods " == *" child "* ]] || _fail "child must be among the methods: all are compared with it"
# wants METHOD ...: whether one of these is to be compared.
wants() {
    local method
    for method; do [[ " $methods " != *" $method "* ]] || return 0; done
    return 1
}

[[ $pairs != all ]] || ! wants backtranslation combined ||
    _fail "with pairs=all no text is left to translate back: leave backtranslation and combined out"

# fetch NAME SOURCE TARGET TRAIN DEV TEST
fetch() {
    stage 1 "Fetch, $1" --out "$exp/fetch-$1" -- \
        python -m preprocess.fetch --src "$2" --tgt "$3" --train "$4" \
        ${5:+--dev "$5"} ${6:+--test "$6"} --lock "$exp/sources.json" --out "$exp/fetch-$1"
}
# text NAME SOURCE TARGET TRAIN DEV TEST OPTION ...: fetched and cleaned.
text() {
    local name=$1
    fetch "${@:1:6}"
    shift 6
    stage 2 "Clean, $name" --in "$exp/fetch-$name" "${@/#--hold-out+=/}" --out "$exp/clean-$name" -- \
        python -m preprocess.clean --bitext "$exp/fetch-$name" --out "$exp/clean-$name" "$@"
}
# What is tested with, no model must have seen: neither the child's sets nor those of zero-shot
# translation between the two target languages.
held=()
if [[ $src == "$parent_src" ]]; then
    [[ $train$parent_train != libreoffice-helplibreoffice-help ]] || : "${zero:=$train}"
elif [[ $zero ]]; then
    _fail "--set zero needs a parent with the child's source language, for one model to have both"
fi
if [[ $zero ]]; then
    # All lines of a text of one's own are translated; of the help, those of its test pages.
    lines=$zero
    [[ $zero != libreoffice-help ]] || lines=''
    fetch zero "$parent_tgt" "$tgt" "$zero" "$lines" "$lines"
    held=(--hold-out+="$exp/fetch-zero")
fi
text child "$src" "$tgt" "$train" "$dev" "$test" ${held[@]+"${held[@]}"}
text parent "$parent_src" "$parent_tgt" "$parent_train" "$parent_dev" "$parent_test" \
    --hold-out+="$exp/fetch-child" ${held[@]+"${held[@]}"}
stage 2 "Take $pairs pairs" --in "$exp/clean-child" --out "$exp/bitext" -- \
    python -m preprocess.subset --bitext "$exp/clean-child" --out "$exp/bitext" --pairs "$pairs"

# Numbers of the stages that follow: what a method needs has a lower number than what it makes.
at_binary=4 at_train=5 at_test=6

# binarise NAME: fairseq's files of what was cut.
binarise() {
    stage "$at_binary" "Binarise, $1" --in "$exp/subword-$1" --out "$exp/binary-$1" -- \
        python -m preprocess.binarise --subwords "$exp/subword-$1" --out "$exp/binary-$1"
}
# data NAME BITEXT OPTION ...: cut and binarised.
data() {
    local name=$1 bitext=$2 option inputs=()
    shift 2
    for option; do [[ $option != "$exp/"* ]] || inputs+=("$option"); done
    stage 3 "Learn and apply subwords, $name" --in "$bitext" ${inputs[@]+"${inputs[@]}"} \
        --out "$exp/subword-$name" -- \
        python -m preprocess.subword --bitext "$bitext" --out "$exp/subword-$name" \
        --vocab-size "$vocab_size" "$@"
    binarise "$name"
}
data parent "$exp/clean-parent"
data own "$exp/bitext"
! wants parents || data parents "$exp/bitext" --model "$exp/subword-parent"
if wants shared multilingual adversarial; then
    stage 2 "Mix child and parent, both ways" --in "$exp/bitext" "$exp/clean-parent" \
        --out "$exp/mixed" -- python -m preprocess.mix --bitexts+ "$exp/bitext" \
        --bitexts+ "$exp/clean-parent" --both true --out "$exp/mixed"
    data mixed "$exp/mixed"
fi
if wants shared; then
    data shared-parent "$exp/clean-parent" --model "$exp/subword-mixed"
    data shared "$exp/bitext" --model "$exp/subword-mixed"
fi

# train_on NAME DATA SEED UPDATES INPUT -- OPTION ...
train_on() {
    local name=$1 data=$2 seed=$3 count=$4 input=$5
    shift 6
    stage "$at_train" "Train, $name, seed $seed" --resume --in "$exp/binary-$data" ${input:+"$input"} \
        --out "$exp/train-$name-$seed" -- \
        python -m train.fairseq --data "$exp/binary-$data" --out "$exp/train-$name-$seed" "$@" \
        --options.max-update "$count" ${threads:+--cpu-threads "$threads"} --seed "$seed"
}
# export_to BUNDLE TRAINED DATA OPTION ...
export_to() {
    local bundle=$1 trained=$2 data=$3
    shift 3
    stage "$at_test" "Export, ${bundle##*/bundle-}" --in "$trained/checkpoint.pt" "$exp/binary-$data" \
        "$exp/subword-$data" --out "$bundle" -- \
        python -m decode.export --checkpoint "$trained/checkpoint.pt" --data "$exp/binary-$data" \
        --subwords "$exp/subword-$data" --out "$bundle" "$@"
}
# translate NAME INPUT: by the bundle of that name.
translate() {
    stage "$at_test" "Translate, $1" --in "$exp/bundle-$1" "$2" --out "$exp/translate-$1" -- \
        python -m decode.translate --bundle "$exp/bundle-$1" --input "$2" --out "$exp/translate-$1"
}
schedule=(--config "$train_config" --options.total-num-update)
! wants match nearest mapped parents combined ||
    train_on parent parent 1 "$parent_updates" "" -- "${schedule[@]}" "$parent_updates"
! wants shared || train_on shared-parent shared-parent 1 "$parent_updates" "" -- \
    "${schedule[@]}" "$parent_updates"
parent=$exp/train-parent-1

# first_by NAME REST OPTION ...: the child's first checkpoint.
first_by() {
    local name=$1 rest=$2
    shift 2
    stage 5 "First checkpoint, $name" --in "$parent" "$exp/binary-own" ${1:+"$2"} \
        --out "$exp/first-$name" -- \
        python -m train.transfer --parent "$parent/checkpoint.pt" --data "$exp/binary-own" \
        --rest "$rest" "$@" --out "$exp/first-$name"
}
! wants match combined || first_by match random
! wants nearest || first_by nearest nearest
if wants mapped; then # the target side of all pairs, as if it were monolingual text
    stage 3 "Cut all text in $tgt" --in "$exp/clean-child" "$exp/subword-own" \
        --out "$exp/subword-all" -- python -m preprocess.subword --bitext "$exp/clean-child" \
        --model "$exp/subword-own" --out "$exp/subword-all"
    stage 5 "Learn vectors of subwords" --in "$exp/subword-all/train.$tgt" --out "$exp/vectors" -- \
        python -m train.embeddings --text "$exp/subword-all/train.$tgt" --out "$exp/vectors"
    first_by mapped mapped --vectors "$exp/vectors/vectors.txt"
fi

# synthetic: the pairs, and sentences translated back by a model of them.
synthetic() {
    local back=$exp/bundle-back name=backtranslation at_binary=7
    export_to "$back" "$exp/train-reverse-1" reverse
    stage "$at_test" "Clean monolingual text" --in "$exp/bitext" --out "$exp/mono" -- \
        python -m preprocess.monolingual --text "file:$exp/bitext/rest/$tgt" --language "$tgt" \
        --bitext "$exp/bitext" --out "$exp/mono" --limit "$mono"
    stage "$at_test" "Translate back" --in "$exp/mono/shard-1.tsv" "$back" --out "$exp/back" -- \
        python -m decode.backtranslate --shard "$exp/mono/shard-1.tsv" --bundle "$back" \
        --method beam --out "$exp/back"
    stage "$at_test" "Filter" --in "$exp/bitext" "$exp/back" --out "$exp/synthetic" -- \
        python -m decode.synthetic --shards+ "$exp/back" --language "$tgt" \
        --bitext "$exp/bitext" --out "$exp/synthetic"
    stage "$at_binary" "Combine" --in "$exp/subword-own" "$exp/synthetic" \
        --out "$exp/subword-$name" -- \
        python -m preprocess.combine --subwords "$exp/subword-own" \
        --synthetic+ "$exp/synthetic" --upsample 2 --out "$exp/subword-$name"
    binarise "$name"
}
if wants backtranslation combined; then
    stage 4 "Turn the pairs around" --in "$exp/subword-own" --out "$exp/subword-reverse" -- \
        python -m preprocess.combine --subwords "$exp/subword-own" --reverse true \
        --out "$exp/subword-reverse"
    binarise reverse
    train_on reverse reverse 1 "$updates" "" -- "${schedule[@]}" "$updates"
fi

systems=() inputs=()
# compare METHOD: trained with each seed, and the test set translated.
compare() {
    local method=$1 data=own first='' count=$updates more=()
    case $method in
    match | nearest | mapped) first=$exp/first-$method ;;
    parents) data=parents first=$parent ;;
    shared) data=shared first=$exp/train-shared-parent-1 ;;
    multilingual) data=mixed count=$multilingual_updates ;;
    adversarial) data=mixed count=$multilingual_updates more=(--adversarial "$adversarial") ;;
    backtranslation) data=backtranslation ;;
    combined) data=backtranslation first=$exp/first-match ;;
    preset) count=$preset_updates ;;
    esac
    # Options come after the file that they change.
    if [[ $method == preset ]]; then more+=(--preset few); else more+=("${schedule[@]}" "$count"); fi
    [[ -z $first ]] || more+=(--options.finetune-from-model "$first/checkpoint.pt")
    one() {
        local name=$method-$1
        train_on "$method" "$data" "$1" "$count" "$first" -- "${more[@]}"
        export_to "$exp/bundle-$name" "$exp/train-$name" "$data"
        translate "$name" "$exp/bitext/test.$src"
    }
    each_seed one
    for seed in ${seeds//,/ }; do
        inputs+=("$exp/translate-$method-$seed")
        systems+=("--systems.$method-seed$seed" "$exp/translate-$method-$seed/hypotheses.txt")
    done
}
for method in $methods; do
    [[ $method == backtranslation || $method == combined ]] || compare "$method"
done
! wants backtranslation combined || synthetic
at_train=8 at_test=9
! wants backtranslation || compare backtranslation
! wants combined || compare combined

baselines 10 "$exp/bitext"
stage 10 "Score" --in "$exp/bitext/test."{"$src","$tgt"} "$exp/baselines" "${inputs[@]}" \
    --out "$exp/score" -- \
    python -m score.metrics --references "$exp/bitext/test.$tgt" --target-language "$tgt" \
    --source "$exp/bitext/test.$src" --baseline child --test randomisation --by+ length \
    "${systems[@]}" --out "$exp/score"

# Directions that no pair of the training text has: between the two target languages.
at_test=11 zero=()
zero_shot() {
    local method=$1
    one() {
        local pair trained=$exp/train-$method-$1
        for pair in "$parent_tgt-$tgt" "$tgt-$parent_tgt"; do
            export_to "$exp/bundle-$method-$pair-$1" "$trained" mixed --direction "$pair"
            translate "$method-$pair-$1" "$exp/fetch-zero/test.${pair%-*}"
        done
        stage 11 "Retrieve, $method, seed $1" --in "$trained" "$exp/fetch-zero" \
            --out "$exp/retrieval-$method-$1" -- \
            python -m score.retrieval --checkpoint "$trained/checkpoint.pt" \
            --data "$exp/binary-mixed" --subwords "$exp/subword-mixed" \
            --one "$exp/fetch-zero/test.$parent_tgt" --other "$exp/fetch-zero/test.$tgt" \
            --directions "[$parent_tgt-$src, $tgt-$src]" --out "$exp/retrieval-$method-$1"
    }
    each_seed one
    zero+=("$method")
}
if ((${#held[@]})) && wants multilingual adversarial; then
    for method in multilingual adversarial; do ! wants $method || zero_shot $method; done
    for pair in "$parent_tgt-$tgt" "$tgt-$parent_tgt"; do
        to=${pair#*-} systems=() inputs=()
        for method in "${zero[@]}"; do
            for seed in ${seeds//,/ }; do
                inputs+=("$exp/translate-$method-$pair-$seed")
                systems+=("--systems.$method-seed$seed"
                    "$exp/translate-$method-$pair-$seed/hypotheses.txt")
            done
        done
        stage 11 "Score zero-shot, $pair" --in "$exp/fetch-zero" "${inputs[@]}" \
            --out "$exp/score-zero-$pair" -- \
            python -m score.metrics --references "$exp/fetch-zero/test.$to" \
            --source "$exp/fetch-zero/test.${pair%-*}" --target-language "$to" \
            --systems.copy "$exp/fetch-zero/test.${pair%-*}" "${systems[@]}" \
            --baseline "${zero[0]}" --test randomisation --out "$exp/score-zero-$pair"
        stage 11 "Off target, $pair" --in "$exp/fetch-zero" "${inputs[@]}" \
            --out "$exp/off-target-$pair" -- \
            python -m score.off_target --references "$exp/fetch-zero/test.$to" "${systems[@]}" \
            --target-language "$to" --among "['$src', '$tgt', '$parent_tgt']" \
            --out "$exp/off-target-$pair"
    done
fi

results --source "$exp/bitext/test.$src" --references "$exp/bitext/test.$tgt" \
    --hypotheses "$exp/translate-${methods%% *}-${seeds%%,*}/hypotheses.txt"
