#!/usr/bin/env bash
# The test command: makes the environment if needed, then runs linters, fast tests and slow tests,
# the slow ones two files at a time, with a core each.
# Arguments go to pytest instead: tests/run.sh tests/test_lines.py -k crlf

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../recipes/env.sh"
ensure_environment
cd "$repository"
exec 8>&- # the recipes that tests run have a lock of their own on the environment
export OMP_WAIT_POLICY=PASSIVE

if (($#)); then
    exec "$python" -m pytest "$@"
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest -m "not slow"
OMP_NUM_THREADS=1 "$python" -m pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder
