"""COMET, by its own package in an environment of its own, with a model made here."""

import json
import re
import subprocess
from pathlib import Path
from statistics import mean

import pytest

from pipeline.errors import RecipeError
from score import comet
from score.metrics import score

# A model of the usual form with a tiny encoder: what it says means nothing, but is its own.
MAKE = """
import sys, torch, yaml, pathlib, pytorch_lightning
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast
from comet.models import RegressionMetric
out = pathlib.Path(sys.argv[1])
pieces = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "<mask>"]
tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(out / "encoder")
torch.manual_seed(1)
XLMRobertaModel(XLMRobertaConfig(
    vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=130)).save_pretrained(out / "encoder")
model = RegressionMetric(
    encoder_model="XLM-RoBERTa", pretrained_model=str(out / "encoder"), hidden_sizes=[8])
trainer = pytorch_lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.strategy.connect(model)
(out / "checkpoints").mkdir()
trainer.save_checkpoint(str(out / "checkpoints/model.ckpt"), weights_only=True)
(out / "hparams.yaml").write_text(
    yaml.safe_dump({**model.hparams, "class_identifier": "regression_metric"}))
"""

LINES = {
    "source": ["ein hund", "eine katze", "", "zwei voegel am see"],
    "reference": ["a dog", "a cat", "nothing", "two birds by a lake"],
    "one": ["a dog", "the cat", "", "two birds"],
    "two": ["dog a", "cats", "nothing", "a lake"],
}


def files(place: Path) -> dict[str, Path]:
    for name, lines in LINES.items():
        (place / name).write_text("\n".join(lines) + "\n")
    return {name: place / name for name in LINES}


@pytest.mark.slow
@pytest.mark.skipif(not comet.ENVIRONMENT.is_file(), reason="no .venv-comet; comet.txt says how")
def test_scores_are_those_of_comets_command(
    tmp_path: Path,
) -> None:
    subprocess.run([comet.ENVIRONMENT, "-c", MAKE, tmp_path / "tiny"], check=True)
    model, text = tmp_path / "tiny/checkpoints/model.ckpt", files(tmp_path)
    systems = {name: text[name] for name in ("one", "two")}
    score(systems, text["reference"], tmp_path / "score", "en", source=text["source"],
          comet=model, baseline="one", segments=True)  # fmt: skip
    written = json.loads((tmp_path / "score/scores.json").read_text())["systems"]
    for name, path in systems.items():
        theirs = subprocess.run(
            [comet.ENVIRONMENT.parent / "comet-score", "-s", text["source"], "-t", path,
             "-r", text["reference"], "--model", model, "--gpus", "0", "--quiet"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        lines = [float(number) for number in re.findall(r"Segment.*score: (\S+)", theirs)]
        assert len(lines) == 4
        (ours,) = (row for row in written[name]["scores"] if row["metric"] == "COMET")
        # The command computes in half precision, and we do not.
        assert ours["value"] == pytest.approx(100 * mean(lines), abs=0.05)
        assert ours["signature"].startswith("nrefs:1|model:tiny|sha256:")
        segments = (tmp_path / "score/segments.tsv").read_text().splitlines()[1:]
        found = [float(row.split("\t")[-1]) for row in segments if row.split("\t")[1] == name]
        assert found == pytest.approx([100 * number for number in lines], abs=0.05)
    assert written["two"]["scores"][-1]["p_value"] is not None


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = files(tmp_path)
    arguments = ({"one": text["one"]}, text["reference"], tmp_path / "score", "en")
    with pytest.raises(RecipeError, match="is no COMET model"):
        score(*arguments, source=text["source"], comet=tmp_path / "checkpoints/model.ckpt")
    with pytest.raises(RecipeError, match="add --source"):
        score(*arguments, comet=tmp_path / "model.ckpt")
    with pytest.raises(RecipeError, match="say --comet MODEL"):
        score(*arguments, metrics=["COMET"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/model.ckpt").touch()
    (tmp_path / "hparams.yaml").touch()
    monkeypatch.setattr(comet, "ENVIRONMENT", tmp_path / "none/bin/python")
    with pytest.raises(RecipeError, match=r"pip install -r comet\.txt"):
        score(*arguments, source=text["source"], comet=tmp_path / "checkpoints/model.ckpt")
    assert not (tmp_path / "score").exists()
