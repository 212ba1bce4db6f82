#!/usr/bin/env bash
# A pretrained model of Hugging Face, fine-tuned on a few thousand pairs of Spanish to Galician from
# LibreOffice's help, beside the same model from nothing, for as many updates. Without a network for
# the hub, the recipe pretrains a small model itself, and takes it as any other.
#
#     recipes/finetune/run.sh --set model=t5 --set seeds=1,2,3
#     recipes/finetune/run.sh --set model=google/mt5-small --set lora=8

source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

setting src=es "source language"
setting tgt=gl "target language"
setting parent_tgt=ca "language that pretraining sees beside the source"
setting train=libreoffice-help "where the text is; see python -m preprocess.fetch --help"
setting parent_train= "where that for pretraining is (default: the same)"
setting pairs=2000 "pairs to fine-tune on"
setting model=m2m_100 "t5, marian, m2m_100 or bert, made here; or a directory, or a name on the hub"
setting vocab_size=4000 "number of subwords of a model made here"
setting layers=3 "layers of its encoder, and of its decoder"
setting dimensions=128 "its dimensions"
setting pretrain_updates=1500 "updates of its pretraining"
setting updates=600 "updates of each row"
setting lora=0 "rank of one row more, with low-rank updates alone (Hu et al. 2022); 0: no such row"
setting train_config= "options of train.huggingface instead of conf/small.yaml (of the hub: conf/hub.yaml) and what a family has beside it"
setting threads= "cores for each training (default: all)"
setting seeds=1,2 "seeds of each row"
start "$@"

made='' config=hub options=()
case $model in
    m2m_100) made=yes config=small ;;
    # At that file's rate, with a norm after each layer, they learn little.
    marian | bert) made=yes config=small options=(--learning-rate 0.001) ;;
    # Adam has one rate for its large embeddings and its small matrices.
    t5) made=yes config=small options=(--optimizer adafactor --learning-rate 0.02) ;;
esac
[[ ! $train_config ]] || options=()
: "${train_config:=$recipe/conf/$config.yaml}"

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
# What the model is tested with, its pretraining must not have seen either.
[[ ! $made ]] || text parent "$parent_tgt" "${parent_train:-$train}" --hold-out+ "$exp/fetch-child"
stage 2 "Take $pairs pairs" --in "$exp/clean-child" --out "$exp/bitext" -- \
    python -m preprocess.subset --bitext "$exp/clean-child" --out "$exp/bitext" --pairs "$pairs"

# tune NAME BITEXT MODEL UPDATES SEED OPTION ...
tune() {
    local name=$1 bitext=$2 from=$3 count=$4 seed=$5 inputs=("$2")
    shift 5
    [[ ! -e $from ]] && [[ $from != "$exp/"* ]] || inputs+=("$from")
    stage 5 "Train, $name, seed $seed" --resume --in "${inputs[@]}" --out "$exp/train-$name-$seed" -- \
        python -m train.huggingface --config "$train_config" ${options[@]+"${options[@]}"} \
        --bitext "$bitext" --model "$from" \
        --updates "$count" ${threads:+--cpu-threads "$threads"} --seed "$seed" \
        --out "$exp/train-$name-$seed" "$@"
}

pretrained=$model scratch=
if [[ $made ]]; then
    texts=("$exp/clean-parent/train."{"$src","$parent_tgt"} "$exp/bitext/train."{"$src","$tgt"})
    named=()
    for text in "${texts[@]}"; do named+=(--text+ "$text"); done
    stage 3 "Make a model with random weights" --in "${texts[@]}" --out "$exp/fresh" -- \
        python -m train.fresh --family "$model" "${named[@]}" --vocab-size "$vocab_size" \
        --layers "$layers" --dimensions "$dimensions" --out "$exp/fresh"
    scratch=$exp/fresh pretrained=$exp/train-parent-1/model
    case $model in
    t5)
        stage 4 "Take words out of the text" --in "${texts[@]}" --out "$exp/gaps" -- \
            python -m preprocess.denoise "${named[@]}" --out "$exp/gaps"
        tune gaps "$exp/gaps" "$scratch" "$pretrain_updates" 1
        tune parent "$exp/clean-parent" "$exp/train-gaps-1/model" "$pretrain_updates" 1
        ;;
    bert)
        stage 5 "Pretrain a masked language model" --in "$exp/fresh" "${texts[@]}" \
            --out "$exp/masked" -- \
            python -m train.masked --model "$exp/fresh" "${named[@]}" \
            --updates "$pretrain_updates" --out "$exp/masked"
        for name in fresh masked; do
            stage 5 "Encoder and decoder, $name" --in "$exp/$name" --out "$exp/both-$name" -- \
                python -m train.warmstart --encoder "$exp/$name" --out "$exp/both-$name"
        done
        tune parent "$exp/clean-parent" "$exp/both-masked" "$pretrain_updates" 1
        scratch=$exp/both-fresh
        ;;
    *) tune parent "$exp/clean-parent" "$scratch" "$pretrain_updates" 1 ;;
    esac
fi

systems=() inputs=()
for row in pretrained ${scratch:+scratch} lora; do
    [[ $row != lora || $lora != 0 ]] || continue
    one() {
        local seed=$1 from=$pretrained low_rank=()
        [[ $row != scratch ]] || from=$scratch
        # What begins at zero, as LoRA does, takes no step relative to its size.
        [[ $row != lora ]] || { local options=() && low_rank=(--lora "$lora"); }
        tune "$row" "$exp/bitext" "$from" "$updates" "$seed" ${low_rank[@]+"${low_rank[@]}"}
        stage 6 "Export, $row, seed $seed" --in "$exp/train-$row-$seed" \
            --out "$exp/bundle-$row-$seed" -- \
            python -m decode.export --checkpoint "$exp/train-$row-$seed/model" \
            --out "$exp/bundle-$row-$seed"
        stage 6 "Translate, $row, seed $seed" --in "$exp/bundle-$row-$seed" "$exp/bitext/test.$src" \
            --out "$exp/translate-$row-$seed" -- \
            python -m decode.translate --bundle "$exp/bundle-$row-$seed" \
            --input "$exp/bitext/test.$src" --out "$exp/translate-$row-$seed"
    }
    each_seed one
    for seed in ${seeds//,/ }; do
        inputs+=("$exp/translate-$row-$seed")
        systems+=("--systems.$row-seed$seed" "$exp/translate-$row-$seed/hypotheses.txt")
    done
done

baselines 7 "$exp/bitext"

baseline=copy
[[ ! $scratch ]] || baseline=scratch
stage 7 "Score" --in "$exp/bitext/test."{"$src","$tgt"} "$exp/baselines" "${inputs[@]}" \
    --out "$exp/score" -- \
    python -m score.metrics --references "$exp/bitext/test.$tgt" --target-language "$tgt" \
    --source "$exp/bitext/test.$src" --baseline "$baseline" --test randomisation --by+ length \
    "${systems[@]}" --out "$exp/score"

results --source "$exp/bitext/test.$src" --references "$exp/bitext/test.$tgt" \
    --hypotheses "$exp/translate-pretrained-${seeds%%,*}/hypotheses.txt"
