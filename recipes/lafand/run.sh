#!/usr/bin/env bash
# News in African languages, a few thousand pairs each, with Swahili as the parent: recipes/transfer
# on LAFAND-MT (Adelani et al. 2022; CC-BY-NC-4.0).
#
#     recipes/lafand/run.sh                                    # English to Luganda
#     recipes/lafand/run.sh --set child=zul --set seeds=1,2,3  # or yor, hau
#     recipes/lafand/run.sh --set data=/corpora/lafand         # a folder with en-lug/train.lug …
#
# Its own settings:
#   child=lug    target language: lug, zul, yor or hau, as they are called there
#   data=…       folder with en-lug/train.en, train.lug and so on, plain or .gz (default: the
#                files of GitHub's masakhane-io/lafand-mt)
# All others, and the options, are those of recipes/transfer:

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
child=lug
data=https://raw.githubusercontent.com/masakhane-io/lafand-mt/main/data/text_files
# What this recipe takes itself, what it hands on, and how tables will show that it was called.
given=() called=("$0")
while (($#)); do
    [[ $1 != --set && $1 != --exp-dir ]] || called+=("$1" "${2-}")
    case "$1 ${2-}" in
    "--set child="*) child=${2#child=} && shift 2 ;;
    "--set data="*) data=${2#data=} && shift 2 ;;
    "--help "* | "-h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && given+=("$1") && shift ;;
    *) given+=("$1") && shift ;;
    esac
done
RUN_AS=$(printf '%s\n' "${called[@]}")
export RUN_AS

# at PAIR SET: where a set of a pair is.
at() {
    local file=$data/en-$1/$2
    [[ $data == https:* ]] || file=file:$file
    [[ ! -f $data/en-$1/$2.en.gz ]] || set -- "$1" "$2" .gz
    echo "$file.{lang}${3-}"
}
# No sentence of these pairs translates between Luganda and Swahili, so zero-shot is not scored.
exec "$here/../transfer/run.sh" --exp-dir "$here/exp/$child" \
    --set src=en --set tgt="$child" --set parent_tgt=swa --set pairs=all \
    --set train="$(at "$child" train)" --set dev="$(at "$child" dev)" \
    --set test="$(at "$child" test)" --set parent_train="$(at swa train)" \
    --set parent_dev="$(at swa dev)" --set parent_test="$(at swa test)" \
    --set methods="child preset match nearest shared parents multilingual" ${given[@]+"${given[@]}"}
