"""The shell half of the stage runner, with a recipe of two stages."""

import subprocess
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


def run(directory: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    directory.mkdir(exist_ok=True)
    script, exp = directory / "run.sh", directory / "exp"
    script.write_text(RECIPE.format(stages=REPOSITORY / "recipes" / "stages.sh"))
    for name in ("bundle-back", "bundle-zebra", "bundle-yak"):
        (exp / name).mkdir(parents=True, exist_ok=True)
    (exp / "text").write_text("Obre el fitxer de text i desa'l.\n" * 3)
    options = [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(["bash", script, *options], capture_output=True, text=True)


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
