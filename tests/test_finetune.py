"""The recipe that pretrains and fine-tunes models of Hugging Face, on toy data."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import toy
from conftest import REPOSITORY

CONFIG = "learning_rate: 0.003\nbatch_size: 32\nmax_length: 64\nevaluate_every: 10\npatience: 0\n"


@pytest.mark.slow
def test_the_recipe_from_text_to_the_table(tmp_path: Path) -> None:
    tmp_path = tmp_path / "a dir, with comma é"
    tmp_path.mkdir()
    (tmp_path / "train.yaml").write_text(CONFIG)
    settings = {
        "train": f"file:{toy.write_tsv(tmp_path / 'child.tsv', 400, seed=3)}",
        "parent_train": f"file:{toy.write_tsv(tmp_path / 'parent.tsv', 500)}",
        "pairs": "150", "vocab_size": "90", "layers": "1", "dimensions": "16", "seeds": "1",
        "pretrain_updates": "10", "updates": "10", "threads": "1",
        "train_config": str(tmp_path / "train.yaml"),
    }  # fmt: skip
    recipe = REPOSITORY / "recipes" / "finetune" / "run.sh"
    command = [str(recipe), "--exp-dir", str(tmp_path / "exp")]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for row in ("pretrained", "scratch"):
        assert re.search(rf"^{row} +\d+\.\d\d \[", done.stdout, re.MULTILINE)
    assert "report: " in done.stdout
    card = (tmp_path / "exp" / "bundle-pretrained-1" / "MODEL_CARD.md").read_text()
    assert "- model: m2m_100 of Hugging Face, pretrained: " in card and "train-parent-1" in card
    again = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
    assert "never run" not in again.stdout and again.stdout.count(" done") == 15
    # A model of the hub has no pretraining and no row from nothing.
    hub = [*command, "--set", "model=google/mt5-small", "--set", "lora=2", "--list"]
    listed = subprocess.run(hub, capture_output=True, text=True, check=True).stdout
    titles = [re.split("  +", line.strip())[1] for line in listed.strip().split("\n")]
    assert titles[:4] == ["Fetch, child", "Clean, child", "Take 150 pairs",
                          "Train, pretrained, seed 1"]  # fmt: skip
    assert "Train, lora, seed 1" in titles and "Train, scratch, seed 1" not in titles


@pytest.mark.parametrize(("settings", "trainings", "options"), [
    (["model=m2m_100"], 5, ""), (["model=google/mt5-small"], 2, ""),
    (["model=marian"], 5, "--learning-rate 0.001 "), (["model=bert"], 5, "--learning-rate 0.001 "),
    (["model=t5"], 6, "--optimizer adafactor --learning-rate 0.02 "),
    (["model=t5", "train_config=mine.yaml"], 6, ""),
])  # fmt: skip
def test_families_have_options_of_their_own(
    tmp_path: Path, settings: list[str], trainings: int, options: str
) -> None:
    """Unless the user's own file says what they are; and low-rank updates have none."""
    recipe = [REPOSITORY / "recipes/finetune/run.sh", "--dry-run", "--exp-dir", tmp_path / "exp"]
    chosen = [word for setting in [*settings, "lora=2"] for word in ("--set", setting)]
    shown = subprocess.run([*recipe, *chosen], capture_output=True, text=True, check=True).stdout
    trained = [shlex.split(line) for line in shown.split("\n") if "train.huggingface" in line]
    assert len(trained) == trainings + 2  # and two seeds of low rank
    begins = []
    for words in trained:
        config, bitext, model = (words.index(name) for name in ("--config", "--bitext", "--model"))
        assert words[config + 2 : bitext] == ([] if "--lora" in words else options.split())
        begins.append((Path(words[bitext + 1]).name, words[model + 1].partition("/exp/")[2]))
    if settings == ["model=bert"]:
        assert begins[:2] == [("clean-parent", "both-masked"), ("bitext", "train-parent-1/model")]
