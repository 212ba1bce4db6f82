"""Marian through the same settings: options, its log, kills, and a bundle of its model."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from math import cos, sin
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, Recipe

from decode.bundle import Bundle
from decode.export import export
from decode.search import Search
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess.binarise import read_dictionary
from preprocess.subword import subword
from train.curves import read_curves
from train.marian import _keep, _restore, average, marian_options, parse_record, train
from train.marian_files import of_dictionary, read_vocabulary, write_vocabulary
from train.transfer import transfer

installed = pytest.mark.skipif(
    importlib.util.find_spec("_pymarian") is None,
    reason="the extra marian (pymarian, 600 MB) is not installed",
)
TOY: dict[str, Any] = yaml.safe_load((REPOSITORY / "tests" / "toy.yaml").read_text())["options"]
OPTIONS = {**TOY, "lr-scheduler": "inverse_sqrt", "max-update": 60, "save-interval-updates": 20}


def test_settings_become_marian_s() -> None:
    paper = yaml.safe_load((REPOSITORY / "recipes/multi30k/conf/paper.yaml").read_text())
    ours = marian_options(paper["options"], {"exponential-smoothing": 1e-4})
    expected = {
        "type": "transformer", "enc-depth": 4, "dec-depth": 4, "dim-emb": 128,
        "transformer-dim-ffn": 256, "transformer-heads": 4, "tied-embeddings-all": True,
        "transformer-dropout": 0.3, "label-smoothing": 0.1, "optimizer-params": [0.9, 0.98],
        "learn-rate": 0.005, "lr-decay-inv-sqrt": 2000, "lr-warmup": 2000,
        "mini-batch-words": 8192, "after": "8000u", "early-stopping": 10,
        "clip-norm": 0,
        "transformer-postprocess": "dan", "transformer-ffn-activation": "relu",
        "exponential-smoothing": 1e-4,
    }  # fmt: skip
    assert expected.items() <= ours.items()


def test_what_marian_has_not_is_refused_together() -> None:
    options = {**OPTIONS, "lr-scheduler": "polynomial_decay", "encoder-layerdrop": 0.1}
    with pytest.raises(
        RecipeError, match="no counterpart of encoder-layerdrop, lr-scheduler: polynomial_decay;"
    ):
        marian_options(options, {})


def test_records_of_its_log() -> None:
    line = (
        "[2026-11-25 17:50:05] Ep. 1 : Up. 1,010 : Sen. 2,697 : Cost 0.69314718 : Time 23.49s : "
        "1574.60 words/s : gNorm 2.8612"
    )
    parsed = parse_record(line)
    assert parsed is not None
    kind, record = parsed
    assert kind == "train_inner" and record["num_updates"] == 1010 and record["wps"] == 1574.6
    assert record["nll_loss"] == pytest.approx(1.0)  # ln 2 is a bit
    parsed = parse_record("[…] [valid] Ep. 1 : Up. 20 : ce-mean-words : 1.38629 : new best")
    assert parsed is not None and parsed[0] == "valid"
    assert parsed[1]["valid_ppl"] == pytest.approx(4.0, rel=1e-4)
    assert parse_record("[config] lr-warmup: 10") is None


def test_average_by_hand(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 4.0)):
        np.savez(tmp_path / f"{name}.npz", Wemb=np.full((1, 4), value, np.float32),
                 **{"special:model.yml": np.array([65, 66, 0, 0, 0], np.int8)})  # fmt: skip
    average([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "mean.npz")
    with np.load(tmp_path / "mean.npz") as model:
        assert model["Wemb"].tolist() == [[2.5] * 4] and model["Wemb"].dtype == np.float32
        # Position 3 of four dimensions: sines, then cosines, with wavelengths 1 and 10,000.
        expected = [sin(3), sin(3e-4), cos(3), cos(3e-4)]
        np.testing.assert_allclose(model["Wpos"][3], expected, rtol=1e-6)
        assert model["special:model.yml"].tolist() == [65, 66, 0]


@installed
@pytest.mark.slow
def test_from_subwords_to_translations(finished: Recipe, tmp_path: Path) -> None:
    subwords, out = finished.exp / "subword", tmp_path / "a dir, with comma"
    train(subwords, out, {**OPTIONS, "max-update": 400}, average_last=2)
    record = json.loads((out / "train.json").read_text())
    assert record["averaged"] == ["model.iter380.npz", "model.iter400.npz"]
    losses = [
        record["valid_nll_loss"]
        for record in read_curves(read_lines(out / "marian.log"), parse_record).valid.values()
    ]
    assert losses[-1] < losses[0] - 0.2
    assert not list(out.glob("model*"))
    export(out / "checkpoint.npz", subwords, tmp_path / "bundle")
    bundle = Bundle.load(tmp_path / "bundle", search=Search(beam=1))
    source = list(read_lines(finished.exp / "clean" / "test.es"))
    hypotheses = bundle.translate(source)
    assert len(hypotheses) == len(source) and any(hypotheses)
    # Marian's own decoder, on the same model and subwords.
    text = tmp_path / "test.sp"
    pieces = bundle.codec.encode(source, "es")
    text.write_text("".join(" ".join(line) + "\n" for line in pieces))
    done = subprocess.run(
        [sys.executable, "-c", "import sys, _pymarian; _pymarian.main(sys.argv[1:])", "decode",
         "-m", str(out / "checkpoint.npz"), "-v", str(out / "vocab.yml"), str(out / "vocab.yml"),
         "-i", str(text), "-b", "1", "--cpu-threads", "1", "--quiet"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = [bundle.codec.restore(line.split(" "), "ca") for line in done.stdout.split("\n")[:-1]]
    # So small a model does not always find an end, and the two cut at different lengths.
    equal = sum(
        a == b or (len(a) > 60 and a[:60] == b[:60])
        for a, b in zip(hypotheses, theirs, strict=True)
    )
    assert equal == len(source), list(zip(hypotheses, theirs, strict=True))
    with pytest.raises(RecipeError, match="hold different subwords"):
        words = read_vocabulary(out / "vocab.yml")
        write_vocabulary([*words[:2], words[3], words[2], *words[4:]], out / "vocab.yml")
        export(out / "checkpoint.npz", subwords, tmp_path / "o")


@installed
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_goes_on(finished: Recipe, tmp_path: Path, number: int) -> None:
    out = tmp_path / "train"
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"options": {**OPTIONS, "max-update": 150}}))
    command = [sys.executable, "-m", "train.marian", "--subwords", str(finished.exp / "subword"),
               "--out", str(out), "--config", str(config)]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not (out / "safe").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    if number == signal.SIGTERM:
        assert process.returncode == 0 and "run it again to go on" in output
    elif number == signal.SIGINT:
        assert process.returncode == 130
    if number != signal.SIGKILL:  # what was saved when it was told to stop is what it goes on from
        name = "model.npz.progress.yml"
        assert (out / "safe" / name).read_bytes() == (out / name).read_bytes()
    else:
        (out / "model.npz").write_bytes(b"cut by the kill")
    assert not (out / "checkpoint.npz").exists()
    subprocess.run(command, check=True, capture_output=True)
    log = (out / "marian.log").read_text()
    assert "[training] Model reloaded" in log or "Loading model from" in log
    assert max(read_curves(read_lines(out / "marian.log"), parse_record).train) == 150


@installed
def test_a_wrong_option_of_marian_s_is_shown(finished_subwords: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not expected: enc-dept"):
        train(finished_subwords, tmp_path / "o", OPTIONS, {"enc-dept": 3})


@pytest.fixture
def finished_subwords(tmp_path: Path) -> Path:
    """A few subwords, without the whole toy experiment."""
    from test_preprocess import make_bitext

    pairs = [(f"el gat número {n}", f"the cat number {n}") for n in range(60)]
    make_bitext(tmp_path / "in", train=pairs, dev=pairs[:5], test=pairs[:5])
    subword(tmp_path / "in", tmp_path / "subword", vocab_size=40)
    return tmp_path / "subword"


def test_a_whole_state_is_always_there(tmp_path: Path) -> None:
    """Killed between putting the old state away and the new one in its place."""
    (tmp_path / "model.npz").write_bytes(b"one")
    _keep(tmp_path, 2)
    (tmp_path / "model.npz").write_bytes(b"two")
    _keep(tmp_path, 2)
    for present, expected in ((("safe", "safe.old"), b"two"), (("safe.old",), b"one")):
        if "safe" not in present:
            shutil.rmtree(tmp_path / "safe")
        (tmp_path / "model.npz").write_bytes(b"cut")
        _restore(tmp_path)
        assert (tmp_path / "model.npz").read_bytes() == expected
    shutil.rmtree(tmp_path / "safe.old")
    _restore(tmp_path)  # nothing to go on from: Marian begins anew
    assert not (tmp_path / "model.npz").exists()


def marian_parent(directory: Path, words: list[str]) -> Path:
    """A model whose rows are 10, 11, 12, …, with biases of -1, -2, -3 and so on."""
    directory.mkdir()
    write_vocabulary(["</s>", "<unk>", *words], directory / "vocab.yml")
    count = 2 + len(words)
    arrays = {
        "Wemb": np.arange(10, 10 + count, dtype=np.float32)[:, None].repeat(3, 1),
        "decoder_ff_logit_out_b": -np.arange(1, 1 + count, dtype=np.float32)[None],
        "encoder_l1_ffn_W1": np.full((3, 5), 7, np.float32),
        "Wpos": np.zeros((4, 3), np.float32),
        "special:model.yml": np.array([65, 0], np.int8),
    }
    with open(directory / "checkpoint.npz", "wb") as file:
        np.savez(file, **arrays)
    return directory / "checkpoint.npz"


def test_a_parent_s_rows_follow_their_strings(tmp_path: Path) -> None:
    parent = marian_parent(tmp_path / "parent", ["▁a", "▁ab", "▁b"])
    child = tmp_path / "child"
    child.mkdir()
    (child / "dict.txt").write_text("▁b 5\n▁abc 5\n▁a 5\nжж 5\n", encoding="utf-8")
    transfer(parent, child, tmp_path / "first", rest="nearest")
    words = ["</s>", "<unk>", "▁b", "▁abc", "▁a", "жж"]
    assert read_vocabulary(tmp_path / "first" / "vocab.yml") == words
    with np.load(tmp_path / "first" / "checkpoint.npz") as model:
        assert sorted(model.files) == ["Wemb", "decoder_ff_logit_out_b", "encoder_l1_ffn_W1"]
        # The new one is the mean of the three that share letters with it; жж shares none.
        assert model["Wemb"][:5].tolist() == [[n] * 3 for n in (10, 11, 14, 13, 12)]
        assert model["decoder_ff_logit_out_b"][0, :5].tolist() == [-1, -2, -5, -4, -3]
        assert -8 < model["decoder_ff_logit_out_b"][0, 5] < -1  # those of the parent: -4 ±1
        assert model["encoder_l1_ffn_W1"].tolist() == [[7] * 5] * 3
    facts = json.loads((tmp_path / "first" / "facts.json").read_text())
    assert facts["from_parent"] == 2
    transfer(parent, child, tmp_path / "random")
    with np.load(tmp_path / "random" / "checkpoint.npz") as model:
        assert model["Wemb"][[2, 4]].tolist() == [[14] * 3, [12] * 3]
        assert len(set(model["Wemb"][3].tolist())) == 3
        assert ((model["decoder_ff_logit_out_b"][0, [3, 5]] > -8) &
                (model["decoder_ff_logit_out_b"][0, [3, 5]] < -1)).all()  # fmt: skip
    with pytest.raises(RecipeError, match=r"is Marian's, of one pair; leave out --direction"):
        transfer(parent, child, tmp_path / "o", direction="es-ca")


def test_a_damaged_parent(tmp_path: Path) -> None:
    parent = marian_parent(tmp_path / "parent", ["▁a"])
    (parent.parent / "vocab.yml").write_text('"</s>": 0\n"<unk>": 2\n')
    with pytest.raises(RecipeError, match=r'vocab\.yml, line 2: expected "subword": 1'):
        read_vocabulary(parent.parent / "vocab.yml")
    write_vocabulary(["</s>", "<unk>", "▁a"], parent.parent / "vocab.yml")
    (tmp_path / "dict.txt").write_text("▁b 5\n", encoding="utf-8")
    parent.write_bytes(parent.read_bytes()[:100])
    with pytest.raises(RecipeError, match="no model of Marian's, or cut off"):
        transfer(parent, tmp_path, tmp_path / "o")


@installed
@pytest.mark.slow
def test_a_child_begins_with_its_parent(finished: Recipe, tmp_path: Path) -> None:
    theirs = finished.exp / "subword"
    train(theirs, tmp_path / "parent", {**OPTIONS, "max-update": 200}, average_last=1)
    parent = tmp_path / "parent" / "checkpoint.npz"
    # As good at once as the parent was at its end, with the same subwords and in another order.
    still = {**OPTIONS, "lr": 1e-9, "max-update": 20}
    train(theirs, tmp_path / "same", still, parent=parent)
    own = tmp_path / "own"
    shutil.copytree(theirs, own)
    lines = list(read_lines(theirs / "dict.txt"))
    (own / "dict.txt").write_text("\n".join([*reversed(lines), "new 1\n"]), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"hold different subwords; .* train\.transfer"):
        train(own, tmp_path / "wrong", OPTIONS, parent=parent)
    assert not (tmp_path / "wrong").exists()
    transfer(parent, own, tmp_path / "first", rest="nearest")
    first = tmp_path / "first" / "checkpoint.npz"
    train(own, tmp_path / "moved", still, parent=first)
    losses = [
        json.loads((tmp_path / name / "train.json").read_text())["valid"][-1]["valid_nll_loss"]
        for name in ("parent", "same", "moved")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert losses[2] == pytest.approx(losses[0], abs=0.05)  # one subword more to choose from


def test_a_cut_model_leaves_the_bundle_that_was_there(
    finished_subwords: Path, tmp_path: Path
) -> None:
    words = read_dictionary(finished_subwords / "dict.txt")
    write_vocabulary(of_dictionary(words), tmp_path / "vocab.yml")
    (tmp_path / "checkpoint.npz").write_bytes(b"PK cut")
    before = tmp_path / "bundle" / "bundle.json"
    before.parent.mkdir()
    before.write_text("{}")
    with pytest.raises(RecipeError, match="cannot be converted by CTranslate2"):
        export(tmp_path / "checkpoint.npz", finished_subwords, before.parent)
    assert [path.name for path in before.parent.iterdir()] == ["bundle.json"]
