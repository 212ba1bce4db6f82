# The shell half of the stage runner (the other half is pipeline/stage.py). A recipe sources this,
# declares its settings, hands over its command line, and lists its stages:
#
#     source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
#     setting vocab_size=4000 "number of subwords"
#     start "$@"
#     stage 3 "Learn subwords" --in "$exp/clean" --out "$exp/subword" -- \
#         python -m preprocess.subword --bitext "$exp/clean" --out "$exp/subword" \
#         --vocab-size "$vocab_size"

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
recipe=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
exp=$recipe/exp

# Once for all stages: with a busy core, spinning threads halve the speed of training.
export OMP_WAIT_POLICY=PASSIVE
# A folder called "train" where the user happens to stand must not hide our module of that name.
export PYTHONSAFEPATH=1

_setting_help=() _setting_names=()
_first=1 _last=999 _force=() _numbers='' _set=() _mode=run _stale=() _launcher=local _stopped=0

# setting NAME=DEFAULT "what it is": a variable that --set NAME=VALUE changes.
setting() {
    printf -v "${1%%=*}" %s "${1#*=}"
    _setting_names+=("${1%%=*}")
    _setting_help+=("$(printf '  %-28s %s' "$1" "$2")")
}

_usage() {
    # The comment at the head of the recipe says what it does.
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$recipe/run.sh"
    cat <<END
usage: $0 [OPTION ...]

  --stage N            begin with stage N
  --stop-stage M       end after stage M
  --force N            run stage N even if it is up to date (may be given again)
  --exp-dir DIR        where everything is written (default: $exp)
  --set KEY=VALUE      change a setting (may be given again)
  --launcher slurm     each stage as a job of srun, the seeds beside each other (default: local);
                       options of srun by its variables: SLURM_PARTITION=gpu SLURM_GRES=gpu:1
  --list               show the stages and their state, run nothing
  --dry-run            print each stage's command, ready to paste, run nothing
  --help               this text

settings and their defaults:
$(printf '%s\n' "${_setting_help[@]}")

example: $0 --exp-dir /tmp/try --set ${_setting_names[0]-KEY}=VALUE --stage 3
END
}

_fail() {
    echo "error: $1" >&2
    exit 2
}

# start "$@": read the command line, make the environment, take the directory's lock.
start() {
    local name
    while (($#)); do
        case $1 in
        --stage | --stop-stage | --force | --exp-dir | --set | --launcher)
            (($# > 1)) || _fail "$1 needs a value; see $0 --help"
            ;;&
        --stage | --stop-stage | --force)
            [[ $2 =~ ^[0-9]+$ ]] || _fail "$1 needs the number of a stage, not '$2'; see $0 --list"
            ;;&
        --stage) _first=$((10#$2)) && shift 2 ;;
        --stop-stage) _last=$((10#$2)) && shift 2 ;;
        --force) _force+=("$((10#$2))") && shift 2 ;;
        --exp-dir) exp=$2 && shift 2 ;;
        --set)
            name=${2%%=*}
            [[ $2 == *=* && " ${_setting_names[*]} " == *" $name "* ]] ||
                _fail "--set $2: the settings are ${_setting_names[*]}; write --set KEY=VALUE"
            printf -v "$name" %s "${2#*=}"
            _set+=("$2") && shift 2
            ;;
        --launcher)
            [[ $2 == local || $2 == slurm ]] || _fail "--launcher is local or slurm, not '$2'"
            [[ $2 == local ]] || command -v srun >/dev/null ||
                _fail "--launcher slurm needs the command srun, which is not here"
            _launcher=$2 && shift 2
            ;;
        --list) _mode=list && shift ;;
        --dry-run) _mode=dry-run && shift ;;
        -h | --help) _usage && exit ;;
        *) _fail "unknown option '$1'; see $0 --help" ;;
        esac
    done
    [[ " ${_setting_names[*]-} " != *" seeds "* || $seeds =~ ^[0-9]+(,[0-9]+)*$ ]] ||
        _fail "--set seeds=$seeds: give whole numbers with commas between them, as 1,2,3"
    for name in ${_force[@]+"${_force[@]}"}; do
        ((name >= _first && name <= _last)) ||
            _fail "--force $name: only stages $_first to $_last are to run"
    done
    ensure_environment
    mkdir -p "$exp"
    exp=$(cd "$exp" && pwd)
    # Children keep the lock open, so that it holds as long as anything still writes there.
    if [[ $_mode == run ]] && command -v flock >/dev/null; then
        exec 9>>"$exp/.lock"
        flock --wait 2 9 ||
            _fail "another run is at work in $exp; wait for it, or choose another --exp-dir"
    fi
    [[ $_mode != run ]] || : >"$exp/.stages"
}

# whole NAME ...: an error if one of these settings is no whole number.
whole() {
    local name
    for name; do
        [[ ${!name} =~ ^[0-9]+$ ]] || _fail "--set $name=${!name}: give a whole number"
    done
}

# stage NUMBER "Title" [--resume] --in PATH ... --out DIR -- COMMAND ...: see pipeline/stage.py.
# --resume says that the command can go on in its half-written directory.
stage() {
    local number=$1 title=$2 out='' arguments=() status=0
    shift 2
    while [[ $1 != -- ]]; do
        [[ $1 == --out ]] && out=${2%/}
        arguments+=("$1") && shift
    done
    shift
    _numbers+=" $number "
    # A file, because seeds may be processes of their own.
    [[ $_mode != run ]] || echo "${out##*/}" >>"$exp/.stages"
    ((number >= _first && number <= _last)) || return 0
    [[ $1 == python ]] && shift && set -- "$python" "$@"
    [[ " ${_force[*]-} " == *" $number "* ]] && arguments+=(--force)
    [[ $_mode != run ]] && arguments+=(--mode "$_mode")
    # --list: whatever depends on a stage that would run, will run too.
    [[ $_mode == list ]] && arguments+=(--stale ${_stale[@]+"${_stale[@]}"})
    set -- "$python" -m pipeline.stage "$number" "$title" --exp "$exp" "${arguments[@]}" -- "$@"
    _to_slurm "$@" && set -- srun --quiet --ntasks=1 --input=none --job-name="$title" "$@"
    "$@" &
    _await $! || status=$?
    case $status in
    0) ;;
    10) _stale+=("$out") ;;
    11) exit "$_stopped" ;; # told to stop: a scheduler that starts the recipe again gets the rest
    *) exit "$status" ;;
    esac
}

# Whether a stage is to be a job: only if it would run.
_to_slurm() {
    local arguments=() status=0
    [[ $_mode == run && $_launcher == slurm ]] || return 1
    while [[ $1 != -- ]]; do arguments+=("$1") && shift; done
    "${arguments[@]}" --mode list "$@" &>/dev/null || status=$?
    ((status == 10))
}

# each_seed FUNCTION: call it with each of $seeds; as jobs of Slurm, with all at once.
each_seed() {
    local seed status=0 jobs=()
    for seed in ${seeds//,/ }; do
        if [[ $_mode == run && $_launcher == slurm ]]; then
            (_stopped=11 && "$1" "$seed") > >(sed -u "s/^/[seed $seed] /") 2>&1 &
            jobs+=($!)
        else
            "$1" "$seed"
        fi
    done
    ((${#jobs[@]})) || return 0
    _await "${jobs[@]}" || status=$?
    ((status == 11)) && exit "$_stopped"
    ((status == 0)) || exit "$status"
}

# baselines NUMBER BITEXT: a stage that translates the test set in ways that a model has to beat, and
# their rows among the systems to be scored. Two of these need what may not be there, so --dry-run
# leaves them out as long as score.baselines has not written them.
baselines() {
    local name
    stage "$1" "Translate by baselines" --in "$2" --out "$exp/baselines" -- \
        python -m score.baselines --bitext "$2" --out "$exp/baselines"
    for name in apertium transliteration copy memory punctuation; do
        [[ ! -f $exp/baselines/$name.txt && $name == [at]* ]] ||
            systems+=("--systems.$name" "$exp/baselines/$name.txt")
    done
}

# Wait for processes. Bash hears signals only while it waits: SIGTERM and SIGUSR1, with which a
# scheduler asks for the machine, are passed on; Ctrl-C a process has got already, but a job has not.
# Returns 0, or 11 if one was told to stop, or the code of one that failed.
_await() {
    local process code status=0
    trap '[[ $_launcher == local ]] || kill -USR1 "$@" 2>/dev/null || :' INT
    trap 'kill -USR1 "$@" 2>/dev/null || :' TERM USR1 # srun passes on USR1, but not TERM
    for process; do
        while true; do
            code=0
            wait "$process" || code=$?
            kill -0 "$process" 2>/dev/null || break
        done
        ((code == 0 || (code == 11 && status))) || status=$code
    done
    trap - INT TERM USR1
    return "$status"
}

# Numbers are known at the end of a recipe; not those of Slurm's jobs, as seeds have counted theirs
# in shells of their own.
_complete() {
    local number found=''
    for number in $_numbers; do
        ((number < _first || number > _last)) || found=yes
    done
    [[ $found || $_launcher == slurm ]] ||
        _fail "no stage has a number from $_first to $_last; see $0 --list"
    [[ $_mode == run ]] && ((_last == 999))
}
# Last of all, when nothing is lost by it.
_check_force() {
    local number
    for number in ${_force[@]+"${_force[@]}"}; do
        [[ $_launcher == slurm || $_numbers == *" $number "* ]] ||
            _fail "--force $number: no stage has this number; see $0 --list"
    done
}

# _leave: what this run was, for tables and pages: they show the stages that it had, and not what
# other settings have left in the same directory.
_leave() {
    local option
    mv "$exp/.stages" "$exp/stages.txt"
    if [[ ${RUN_AS-} ]]; then # by another recipe, whose words these are
        mapfile -t run <<<"$RUN_AS"
    else
        run=("$0")
        [[ $exp != "$recipe/exp" ]] && run+=(--exp-dir "$exp")
        for option in ${_set[@]+"${_set[@]}"}; do run+=(--set "$option"); done
    fi
    "$python" -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' "${run[@]}" >"$exp/command.txt"
}

# page --source FILE --references FILE: at the end of a complete run, write report.html.
page() {
    local run
    _complete || { _check_force && return; }
    [[ ! -f $exp/.stages ]] || _leave # unless results has
    "$python" -m score.page --exp "$exp" --out "$exp/report.html" "$@"
    _check_force
}

# results --source FILE --references FILE --hypotheses FILE: at the end of a complete run, print
# scores, samples, times and what to do next, and write report.html.
results() {
    local run scores bundle=${6%/*}
    _complete || { _check_force && return; }
    _leave
    bundle=$exp/bundle${bundle#"$exp/translate"} # by which translate-NAME/hypotheses.txt was made
    [[ -d $bundle ]] || bundle=$exp/$(grep -m 1 '^bundle' "$exp/stages.txt" || :)
    scores=$exp/$(grep -m 1 '^score' "$exp/stages.txt" || :)/scores.json
    "$python" -m score.report --exp "$exp" "$@"
    echo
    page "${@:1:4}"
    cat <<END

Next:
  translate a sentence of your own:
    echo "..." | $(printf '%q ' "$python" -m decode.translate --bundle "$bundle")
  train again, and what follows from it:
    $(printf '%q ' "${run[@]}" --force 5)
  see where the scores come from, down to the raw files:
    $(printf '%q ' "$python" -m pipeline.manifest "$scores")
  start a recipe of your own:
    $(printf '%q ' cp -r "$repository/recipes/template" "$repository/recipes/mine")
END
}
