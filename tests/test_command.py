"""What the command lines of all modules have in common."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_preprocess import make_bitext


def test_what_the_system_refuses_is_one_sentence(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=[("a", "b")])
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "preprocess.subset", "--bitext", tmp_path / "in", "--pairs", "1",
         "--out", tmp_path / "file"],
        capture_output=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path / 'file'}: File exists\n")


@pytest.mark.parametrize("order", ["after", "joined"])
def test_an_option_beats_the_config_wherever_it_stands(tmp_path: Path, order: str) -> None:
    """A file that came last would undo the options without a word, as in jsonargparse."""
    config = tmp_path / "a config.yaml"
    config.write_text("options:\n  lr: 5\n  arch: transformer\nseed: 7\n")
    then = {"after": ["--config", str(config)], "joined": [f"--config={config}"]}
    shown = subprocess.run(
        [sys.executable, "-m", "train.fairseq", "--data", "d", "--out", "o",
         "--options.lr", "0.1", *then[order], "--print-config"],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
    ).stdout  # fmt: skip
    assert "lr: 0.1\n" in shown and "arch: transformer\n" in shown and "seed: 7\n" in shown
