#!/usr/bin/env bash
# A model of a few thousand pairs with the help of a related language: Spanish to Galician from a
# parent of Spanish to Catalan, learned from LibreOffice's help. One table: the child alone, and
# each way to begin with the parent, for as many updates.
#
#     recipes/transfer/run.sh --set pairs=1000 --set seeds=1,2,3
#     recipes/transfer/run.sh --set parent_tgt=pt --set methods="child match"

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

setting src=es "source language of both"
setting tgt=gl "target language of the child"
setting parent_tgt=ca "target language of the parent"
setting train=libreoffice-help "where the child's text is; see python -m preprocess.fetch --help"
setting parent_train= "where the parent's is (default: the same)"
setting pairs=2000 "pairs of the child to use"
setting methods="child preset match nearest parents" "what to compare"
setting vocab_size=4000 "number of subwords of the parent, and of the child's own"
setting updates=600 "updates of a child"
setting parent_updates=1200 "updates of the parent"
setting train_config="$recipe/conf/train.yaml" "options of fairseq-train for all but preset"
setting threads= "cores for each training (default: all)"
setting seeds=1,2 "seeds of each child"
start "$@"

for method in $methods; do
    [[ " child preset match nearest parents " == *" $method "* ]] ||
        _fail "method '$method': there are child, preset, match, nearest and parents"
done
[[ " $methods " == *" child "* ]] || _fail "child must be among the methods: all are compared with it"

# text NAME TARGET WHERE OPTION ...: fetched and cleaned.
text() {
    local name=$1 target=$2 where=$3
    shift 3
    stage 1 "Fetch, $name" --out "$exp/fetch-$name" -- \
        python -m preprocess.fetch --src "$src" --tgt "$target" --train "$where" \
        --lock "$exp/sources.json" --out "$exp/fetch-$name"
    stage 2 "Clean, $name" --in "$exp/fetch-$name" "$exp/fetch-child" --out "$exp/clean-$name" -- \
        python -m preprocess.clean --bitext "$exp/fetch-$name" --out "$exp/clean-$name" "$@"
}
text child "$tgt" "$train"
# What the child is tested with, its parent must not have seen either.
text parent "$parent_tgt" "${parent_train:-$train}" --hold-out+ "$exp/fetch-child"
stage 2 "Take $pairs pairs" --in "$exp/clean-child" --out "$exp/bitext" -- \
    python -m preprocess.subset --bitext "$exp/clean-child" --out "$exp/bitext" --pairs "$pairs"

# data NAME BITEXT OPTION ...: cut and binarised.
data() {
    local name=$1 bitext=$2 option inputs=()
    shift 2
    for option; do [[ $option != "$exp/"* ]] || inputs+=("$option"); done
    stage 3 "Learn and apply subwords, $name" --in "$bitext" ${inputs[@]+"${inputs[@]}"} \
        --out "$exp/subword-$name" -- \
        python -m preprocess.subword --bitext "$bitext" --out "$exp/subword-$name" \
        --vocab-size "$vocab_size" "$@"
    stage 4 "Binarise, $name" --in "$exp/subword-$name" --out "$exp/binary-$name" -- \
        python -m preprocess.binarise --subwords "$exp/subword-$name" --out "$exp/binary-$name"
}
data parent "$exp/clean-parent"
data own "$exp/bitext"
data parents "$exp/bitext" --model "$exp/subword-parent"

# train_on NAME DATA SEED UPDATES INPUT -- OPTION ...
train_on() {
    local name=$1 data=$2 seed=$3 count=$4 input=$5
    shift 6
    stage 5 "Train, $name, seed $seed" --resume --in "$exp/binary-$data" ${input:+"$input"} \
        --out "$exp/train-$name-$seed" -- \
        python -m train.fairseq --data "$exp/binary-$data" --out "$exp/train-$name-$seed" "$@" \
        --options.max-update "$count" ${threads:+--cpu-threads "$threads"} --seed "$seed"
}
schedule=(--config "$train_config" --options.total-num-update)
[[ ! " $methods " =~ \ (match|nearest|parents)\  ]] ||
    train_on parent parent 1 "$parent_updates" "" -- "${schedule[@]}" "$parent_updates"
parent=$exp/train-parent-1

for method in match nearest; do
    [[ " $methods " == *" $method "* ]] || continue
    rest=random
    [[ $method == match ]] || rest=nearest
    stage 5 "First checkpoint, $method" --in "$parent" "$exp/binary-own" --out "$exp/first-$method" -- \
        python -m train.transfer --parent "$parent/checkpoint.pt" --data "$exp/binary-own" \
        --rest "$rest" --out "$exp/first-$method"
done

systems=() inputs=()
for method in $methods; do
    child() {
        local seed=$1 data=own
        [[ $method != parents ]] || data=parents
        case $method in
        preset) train_on preset own "$seed" "$updates" "" -- --preset few ;;
        child) train_on child own "$seed" "$updates" "" -- "${schedule[@]}" "$updates" ;;
        *)
            local first=$exp/first-$method
            [[ $method != parents ]] || first=$parent
            train_on "$method" "$data" "$seed" "$updates" "$first" -- "${schedule[@]}" "$updates" \
                --options.finetune-from-model "$first/checkpoint.pt"
            ;;
        esac
        stage 6 "Export, $method, seed $seed" --in "$exp/train-$method-$seed/checkpoint.pt" \
            "$exp/binary-$data" "$exp/subword-$data" --out "$exp/bundle-$method-$seed" -- \
            python -m decode.export --checkpoint "$exp/train-$method-$seed/checkpoint.pt" \
            --data "$exp/binary-$data" --subwords "$exp/subword-$data" \
            --out "$exp/bundle-$method-$seed"
        stage 6 "Translate, $method, seed $seed" --in "$exp/bundle-$method-$seed" \
            "$exp/bitext/test.$src" --out "$exp/translate-$method-$seed" -- \
            python -m decode.translate --bundle "$exp/bundle-$method-$seed" \
            --input "$exp/bitext/test.$src" --out "$exp/translate-$method-$seed"
    }
    each_seed child
    for seed in ${seeds//,/ }; do
        inputs+=("$exp/translate-$method-$seed")
        systems+=("--systems.$method-seed$seed" "$exp/translate-$method-$seed/hypotheses.txt")
    done
done

stage 7 "Translate by two baselines" --in "$exp/bitext" --out "$exp/baselines" -- \
    python -m score.baselines --bitext "$exp/bitext" --out "$exp/baselines"

stage 7 "Score" --in "$exp/bitext/test."{"$src","$tgt"} "$exp/baselines" "${inputs[@]}" \
    --out "$exp/score" -- \
    python -m score.metrics --references "$exp/bitext/test.$tgt" --target-language "$tgt" \
    --source "$exp/bitext/test.$src" --baseline child --test randomisation --by+ length \
    "${systems[@]}" --systems.copy "$exp/baselines/copy.txt" \
    --systems.memory "$exp/baselines/memory.txt" --out "$exp/score"

results --source "$exp/bitext/test.$src" --references "$exp/bitext/test.$tgt" \
    --hypotheses "$exp/translate-${methods%% *}-${seeds%%,*}/hypotheses.txt"
