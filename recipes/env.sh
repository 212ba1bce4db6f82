# Creates the project's environment, .venv, on first use. Sourced by stages.sh and tests/run.sh;
# sets $python. Safe to run again and at once from two shells; half-made environments are redone.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$repository/.venv/bin/python

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3 python; do
        if "$candidate" -c 'import sys, venv, ensurepip
sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: Python 3.11 or 3.12 with its venv module is needed and none was found;" \
        "on Debian or Ubuntu: apt install python3.11-venv" >&2
    return 1
}

make_environment() {
    local started=$SECONDS base log=$repository/.venv/install.log torch_index=()
    local pip=("$python" -m pip --disable-pip-version-check --no-input)
    base=$(find_python) || return 1
    echo "Making the environment $repository/.venv with $("$base" --version):"
    echo "about 2.0 GB, 2 to 4 minutes with a fast network, once."
    rm -rf "$repository/.venv"
    "$base" -m venv "$repository/.venv" || return 1
    # Without a GPU, torch's CPU build saves 4 GB; its index is only asked where it answers.
    if ! command -v nvidia-smi >/dev/null && "$python" - 2>/dev/null <<'PYTHON'
import urllib.request
urllib.request.urlopen("https://download.pytorch.org/whl/cpu/torch/", timeout=5)
PYTHON
    then
        torch_index=(--extra-index-url https://download.pytorch.org/whl/cpu)
    fi
    {
        echo "  1/2  fairseq, checked against its recorded digest" >&3
        "${pip[@]}" install --no-deps --require-hashes -r "$repository/fairseq.txt" &&
            echo "  2/2  PyTorch, CTranslate2, sacreBLEU and the rest, as pinned" >&3 &&
            "${pip[@]}" install ${torch_index[@]+"${torch_index[@]}"} \
                -c "$repository/constraints.txt" -e "$repository[test]"
    } 3>&1 >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        echo "error: the installation failed; whole log: $log" >&2
        return 1
    }
    environment_key >"$repository/.venv/complete"
    echo "Environment ready after $((SECONDS - started)) s."
}

environment_key() {
    cat "$repository"/{setup.cfg,constraints.txt,fairseq.txt} "$repository/recipes/env.sh" | cksum
    echo "$repository" # a moved environment does not work
}

_is_made() {
    [[ $(cat "$repository/.venv/complete" 2>/dev/null) == "$(environment_key)" ]]
}

# Make the environment if it is not there, or was made of other files. Whoever uses it holds a
# shared lock to his end, with his children, so that nobody takes it away from under a training.
ensure_environment() {
    local lock=$repository/.venv.lock
    if ! command -v flock >/dev/null || ! { : >>"$lock"; } 2>/dev/null; then
        _is_made || make_environment
        return
    fi
    exec 8>>"$lock"
    flock --shared --nonblock 8 || {
        echo "Another shell is making the environment; waiting for it." >&2
        flock --shared 8
    }
    _is_made && return
    flock --unlock 8
    flock --exclusive --nonblock 8 || {
        echo "The environment is to be made anew; waiting for those that use it to end." >&2
        flock --exclusive 8
    }
    _is_made || make_environment || return 1 # another shell may have made it while we waited
    flock --shared 8
}
