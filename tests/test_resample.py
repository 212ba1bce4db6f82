"""Training text that is cut anew in each epoch: really anew, always the same, and never dev."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset
from test_preprocess import make_bitext

from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from preprocess.binarise import binarise
from preprocess.bitext import languages, write_languages
from preprocess.codec import Codec
from preprocess.subword import subword
from train.checkpoints import load
from train.fairseq import arguments, train
from train.resample import write_epoch

PAIRS = [(f"abriremos la casa {n % 7} verde", f"obrirem la casa {n % 7} verda") for n in range(300)]
KINDS: list[dict[str, Any]] = [
    {"model_type": "unigram", "vocab_size": 60},
    {"model_type": "bpe", "vocab_size": 60},
    {"model_type": "subword-nmt", "vocab_size": 60, "sampled": True},
]


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.lines.BLOCK_BYTES", 2000)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind["model_type"])
def cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resample")
    make_bitext(path / "in", train=PAIRS, dev=PAIRS[:20])
    subword(path / "in", path / "subword", **request.param)
    binarise(path / "subword", path / "binary")
    return path


def sentences(directory: Path, dictionary: Path) -> list[list[str]]:
    entries = Dictionary.load(str(dictionary))
    data = MMapIndexedDataset(str(directory / "train.es-ca.es"))
    return [[entries[int(number)] for number in sentence[:-1]] for sentence in data]


def test_epochs_differ_and_stand_for_the_same_text(cut: Path, tmp_path: Path) -> None:
    codec, dictionary = Codec(cut / "subword"), cut / "binary" / "dict.es.txt"
    usual = sentences(cut / "binary", dictionary)
    amount = 0.02 if "unigram" in (cut / "subword" / "subword.json").read_text() else 0.3
    for name, epoch, seed in (("1", 1, 1), ("2", 2, 1), ("again", 2, 1), ("other", 2, 7)):
        write_epoch(cut / "subword", tmp_path / name, amount, seed, epoch)
    first, second = sentences(tmp_path / "1", dictionary), sentences(tmp_path / "2", dictionary)
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 150
    assert sum(a != b for a, b in zip(first, usual, strict=True)) > 150
    for ours in (first, second):
        assert [codec.decode(line) for line in ours] == [codec.decode(line) for line in usual]
        assert not any("<unk>" in line for line in ours)
    for file in (tmp_path / "2").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    assert sentences(tmp_path / "other", dictionary) != second


def test_a_dictionary_without_the_entries_is_refused(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=PAIRS)
    subword(tmp_path / "in", tmp_path / "subword", vocab_size=60, model_type="subword-nmt")
    with pytest.raises(RecipeError, match="--sampled true"):
        write_epoch(tmp_path / "subword", tmp_path / "out", 0.1, 1, 1)


def test_a_model_that_the_data_was_not_made_with_is_refused(cut: Path, tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=PAIRS[:50])
    subword(tmp_path / "in", tmp_path / "other", vocab_size=40)
    for directory, message in ((None, "need --subwords"), (tmp_path / "other", "differ;")):
        with pytest.raises(RecipeError, match=message):
            train(
                cut / "binary",
                tmp_path / "out",
                {"arch": "transformer"},
                subwords=directory,
                sampling=0.1,
            )


def test_text_that_the_data_was_not_made_from_is_refused(cut: Path, tmp_path: Path) -> None:
    """With the same dictionary: another number of lines would be trained on, without a word."""
    make_bitext(tmp_path / "in", train=PAIRS[:50])
    subword(tmp_path / "in", tmp_path / "other", model=cut / "subword")
    for directory, sampling, message in (
        (tmp_path / "other", 0.1, "was not made from"),
        (cut / "subword", -0.1, "above 0 and at most 1, not -0.1"),
    ):
        with pytest.raises(RecipeError, match=message):
            train(cut / "binary", tmp_path / "out", {}, subwords=directory, sampling=sampling)


def test_dev_is_scored_in_the_direction_of_the_data(cut: Path, tmp_path: Path) -> None:
    """The reverse model's directory has the same dictionary, and another language for target."""
    src, tgt = languages(cut / "subword")
    shutil.copytree(cut / "subword", tmp_path / "reverse")
    write_languages(tmp_path / "reverse", tgt, src)
    with pytest.raises(RecipeError, match="was not made from"):
        train(cut / "binary", tmp_path / "out", {}, subwords=tmp_path / "reverse", stop_on="bleu")
    with pytest.raises(RecipeError, match="typo/pair should hold the source and target"):
        train(cut / "binary", tmp_path / "out", {}, subwords=tmp_path / "typo", stop_on="bleu")


def test_blanks_stay_where_the_text_is_cut_anew(cut: Path, tmp_path: Path) -> None:
    """What stands for a word that noise took away is no text, at the beginning or within."""
    shutil.copytree(cut / "subword", tmp_path / "subword")
    settings = tmp_path / "subword" / "subword.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "symbols": ["<BLANK>"]}))
    with open(tmp_path / "subword" / "dict.txt", "a") as file:
        file.write("<BLANK> 1\n")
    pieces = [line.split(" ") for line in read_lines(cut / "subword" / "train.es")]
    # The last word begins where no subword continues the one before.
    codec = Codec(cut / "subword")
    end = [codec.cut([codec.decode(line).rpartition(" ")[2]], "es")[0] for line in pieces]
    start = [codec.cut([codec.decode(line).rpartition(" ")[0]], "es")[0] for line in pieces]
    blanked = [["<BLANK>", *a, "<BLANK>", "<BLANK>", *b] for a, b in zip(start, end, strict=True)]
    write_lines(tmp_path / "subword" / "train.es", (" ".join(line) for line in blanked))
    write_epoch(tmp_path / "subword", tmp_path / "out", 0.3, seed=1, epoch=1)
    found = sentences(tmp_path / "out", tmp_path / "subword" / "dict.txt")
    for line, plain in zip(found, pieces, strict=True):
        assert "<unk>" not in line and line[0] == "<BLANK>" and line.count("<BLANK>") == 3
        middle = line.index("<BLANK>", 1)
        assert line[middle + 1] == "<BLANK>"
        words = [codec.decode(part) for part in (line[1:middle], line[middle + 2 :])]
        assert " ".join(words) == codec.decode(plain)


OPTIONS = {"arch": "transformer", "encoder-layers": 1, "decoder-layers": 1,
           "encoder-embed-dim": 16, "decoder-embed-dim": 16, "encoder-ffn-embed-dim": 16,
           "decoder-ffn-embed-dim": 16, "encoder-attention-heads": 2, "dropout": 0.1,
           "decoder-attention-heads": 2, "share-all-embeddings": True, "optimizer": "adam",
           "lr": 0.01, "max-tokens": 1500}  # fmt: skip


def run(cut: Path, out: Path, updates: int) -> str:
    options = {**OPTIONS, "max-update": updates}
    command_line = arguments(cut / "binary", out, options, {"seed": 1})
    resample = [str(cut / "subword"), 0.2, 1, str(out / "resampled")]
    out.mkdir(exist_ok=True)
    (out / "fairseq.log").touch()
    settings = json.dumps({"resample": resample, "out": str(out)})
    result = subprocess.run(
        [sys.executable, "-m", "train.fairseq_main", settings, *command_line],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("cut", KINDS[2:], indirect=True, ids=["subword-nmt"])
def test_a_resumed_run_sees_what_it_would_have_seen(cut: Path, tmp_path: Path) -> None:
    log = run(cut, tmp_path / "whole", 25)
    assert len(set(re.findall(r"loading train data for epoch (\d+)", log))) >= 3
    # Stopped after 15 updates, in the middle of an epoch, and continued: the same parameters.
    run(cut, tmp_path / "parts", 15)
    run(cut, tmp_path / "parts", 25)
    models = [load(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", "parts")]
    for name, values in models[0].items():
        np.testing.assert_array_equal(values.numpy(), models[1][name].numpy(), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("cut", KINDS[2:], indirect=True, ids=["subword-nmt"])
def test_two_processes_train_on_the_same_cut(cut: Path, tmp_path: Path) -> None:
    """One writes each epoch, both read it: as many sentences as there are, and no damage."""
    options = {**OPTIONS, "max-update": 12}
    train(cut / "binary", tmp_path / "o", options, subwords=cut / "subword", sampling=0.2,
          average_last=1, processes=2)  # fmt: skip
    log = (tmp_path / "o" / "fairseq.log").read_text()
    assert len(set(re.findall(r"loading train data for epoch (\d+)", log))) >= 2
    assert not (tmp_path / "o" / "resampled").exists()
