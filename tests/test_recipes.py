"""The shell half of the stage runner, with a recipe of two stages."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY

RECIPE = """#!/usr/bin/env bash
# Scores one system.
source "{stages}"
setting system=zebra "its name"
setting updates=10 "how many"
setting seeds=1 "which"
start "$@"
whole updates
translated=$exp/translate-$system
stage 1 "Translate, $system" --in "$exp/text" --out "$translated" -- \\
    bash -c 'mkdir -p "$1" && cp "$2" "$1/hypotheses.txt"' _ "$translated" "$exp/text"
stage 2 "Score, $system" --in "$exp/text" "$translated" --out "$exp/score-$system" -- \\
    python -m score.metrics --references "$exp/text" --target-language ca --metrics+ chrF \\
    --systems.$system "$translated/hypotheses.txt" --out "$exp/score-$system"
results --source "$exp/text" --references "$exp/text" --hypotheses "$translated/hypotheses.txt"
"""


def run(
    directory: Path, *settings: str, more: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    directory.mkdir(exist_ok=True)
    script, exp = directory / "run.sh", directory / "exp"
    script.write_text(RECIPE.format(stages=REPOSITORY / "recipes" / "stages.sh"))
    for name in ("bundle-back", "bundle-zebra", "bundle-yak"):
        (exp / name).mkdir(parents=True, exist_ok=True)
    (exp / "text").write_text("Obre el fitxer de text i desa'l.\n" * 3)
    options = [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(
        ["bash", script, *options, *more],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_what_other_settings_have_left_is_not_shown(tmp_path: Path) -> None:
    directory = tmp_path / "a recipe"
    first = run(directory)
    assert first.returncode == 0, first.stderr
    assert "Score, zebra" in first.stdout and "chrF: nrefs:1" in first.stdout
    assert "--bundle " + str(directory / "exp" / "bundle-zebra").replace(" ", "\\ ") in first.stdout
    second = run(directory, "system=yak")
    assert "Score, yak" in second.stdout and "zebra" not in second.stdout
    assert "zebra" not in (directory / "exp" / "report.html").read_text()
    third = run(directory)
    assert third.stdout.count("up to date") == 2 and "yak" not in third.stdout
    assert "score-zebra/scores.json" in third.stdout


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seeds=1 2", "--set seeds=1 2: give whole numbers with commas between them, as 1,2,3"),
        ("seeds=", "--set seeds=: give whole numbers with commas between them, as 1,2,3"),
        ("updates=many", "--set updates=many: give a whole number"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, setting: str, message: str) -> None:
    done = run(tmp_path / "recipe", setting)
    assert done.returncode == 2 and done.stderr == f"error: {message}\n"


def test_numbers_of_stages(tmp_path: Path) -> None:
    """Also with a zero before them, which the shell would read as octal."""
    directory = tmp_path / "recipe"
    done = run(directory, more=["--stage", "08"])
    assert done.returncode == 2
    assert "error: no stage has a number from 8 to 999; see" in done.stderr
    assert run(directory, more=["--stop-stage", "01"]).stdout.count("done in") == 1
    assert run(directory).stdout.count("up to date") == 1
    again = run(directory, more=["--force", "02"])
    assert again.stdout.count("up to date") == 1 and "done in" in again.stdout
    done = run(directory, more=["--force", "3"])
    assert done.returncode == 2 and "error: --force 3: no stage has this number" in done.stderr
    assert "Score, zebra" in done.stdout  # what was done is shown before
    done = run(directory, more=["--force", "2", "--stop-stage", "1"])
    assert done.returncode == 2 and "--force 2: only stages 1 to 1 are to run" in done.stderr


def test_a_recipe_that_runs_another_is_what_to_run_again(tmp_path: Path) -> None:
    directory = tmp_path / "recipe"
    done = run(directory, RUN_AS="recipes/mine/run.sh\n--set\ndata=/a folder")
    line = "recipes/mine/run.sh --set 'data=/a folder'"
    assert (directory / "exp" / "command.txt").read_text() == line + "\n"
    assert "recipes/mine/run.sh --set data=/a\\ folder --force 5" in done.stdout


def test_the_environment_is_not_taken_away_from_under_a_run(tmp_path: Path) -> None:
    for name in ("setup.cfg", "constraints.txt", "fairseq.txt"):
        (tmp_path / name).write_text("1")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "env.sh").write_bytes((REPOSITORY / "recipes/env.sh").read_bytes())
    (tmp_path / ".venv").mkdir()
    script = """
        set -euo pipefail
        source recipes/env.sh
        make_environment() { echo made >>log; environment_key >.venv/complete; }
        ensure_environment
        echo "$1 begins" >>log; until [[ -f $2 ]]; do sleep 0.01; done; echo "$1 ends" >>log"""

    def start(name: str, until: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", script, "_", name, until],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    log = tmp_path / "log"
    first = start("first", "go")
    deadline = time.monotonic() + 30
    while "first begins" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = start("second", "setup.cfg")  # beside it, as nothing has changed
    assert second.wait() == 0
    (tmp_path / "setup.cfg").write_text("2")
    third = start("third", "setup.cfg")
    assert third.stderr and "waiting for those that use it to end" in third.stderr.readline()
    (tmp_path / "go").touch()
    assert first.wait() == third.wait() == 0
    assert log.read_text().split("\n")[:-1] == [
        "made", "first begins", "second begins", "second ends", "first ends",
        "made", "third begins", "third ends",
    ]  # fmt: skip


def test_the_template_takes_sets_of_one_s_own(tmp_path: Path) -> None:
    shown = subprocess.run(
        [REPOSITORY / "recipes/template/run.sh", "--exp-dir", tmp_path, "--dry-run",
         "--set", "dev=file:/a b/dev.{lang}", "--set", "test=file:t.{lang}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "--dev 'file:/a b/dev.{lang}' --test 'file:t.{lang}'" in shown
