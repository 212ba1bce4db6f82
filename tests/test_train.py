"""The wrapper around fairseq-train: options, checkpoints, curves, and the dropped-batch trap."""

import argparse
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.errors import RecipeError
from preprocess import bitext
from train.checkpoints import average, is_whole, keep_last, load, mend_last, numbered
from train.curves import parse_record, read_curves
from train.fairseq import arguments, train

LOG = """$ fairseq-train …
2026-11-25 04:39:23 | INFO | fairseq.trainer | {"not": "ours"}
2026-11-25 04:39:23 | INFO | train_inner | {"epoch": 1, "nll_loss": "7.5", "wps": "900", "num_updates": "10"}
2026-11-25 04:39:24 | INFO | train_inner | {"epoch": 1, "nll_loss": "6.5", "wps": "901", "num_updates": "20"}
2026-11-25 04:39:25 | INFO | valid | {"epoch": 1, "valid_nll_loss": "6", "valid_num_updates": "20"}
2026-11-25 04:39:26 | INFO | train_inner | {"epoch": 1, "nll_lo
$ fairseq-train …
2026-11-25 04:39:24 | INFO | train_inner | {"epoch": 1, "nll_loss": "6.25", "wps": "901", "num_updates": "20"}
2026-11-25 04:39:24 | INFO | train_inner | {"epoch": 1, "nll_loss": "5", "wps": "901", "num_updates": "30"}
"""  # noqa: E501


def test_curves_of_a_log_with_a_kill_in_it() -> None:
    curves = read_curves(LOG.split("\n"))
    assert {n: record["nll_loss"] for n, record in curves.train.items()} == {
        10: 7.5,
        20: 6.25,
        30: 5.0,
    }
    assert list(curves.valid) == [20]
    assert curves.seconds == 2  # to the last whole record, and then none: what was lost is no gain


def test_time_goes_on_after_an_interruption() -> None:
    start = "$ fairseq-train …\n2026-11-25 {}:00 | INFO | fairseq.tasks | ready\n"
    inner = '2026-11-25 {} | INFO | train_inner | {{"num_updates": "{}", "wall": "{}"}}\n'
    log = (
        start.format("23:58") + inner.format("23:59:30", 10, 80) + start.format("09:00")
        + inner.format("09:00:20", 20, 0) + inner.format("09:01:05", 30, 0)
    )  # fmt: skip
    assert read_curves(log.split("\n")).seconds == 90 + 65


def test_a_loss_without_smoothing_is_the_likelihood() -> None:
    parsed = parse_record('a | b | valid | {"valid_loss": "4.5", "valid_num_updates": "1"}')
    assert parsed and parsed[1]["valid_nll_loss"] == 4.5


@pytest.mark.slow
def test_an_unknown_option_is_refused_before_anything_starts(finished, tmp_path: Path) -> None:
    options = {"arch": "transformer", "encoder-layer": 3, "lr": 0.1}
    with pytest.raises(
        RecipeError, match=r"no option encoder-layer; did you mean encoder-layers\?"
    ):
        train(finished.exp / "binary", tmp_path / "out", options)
    assert not list((tmp_path / "out").glob("*.pt"))


def test_lines_that_are_no_records() -> None:
    assert parse_record("") is None
    assert parse_record("a | b | train_inner | {") is None


def test_options_become_fairseq_s(tmp_path: Path) -> None:
    bitext.write_languages(tmp_path, "es", "ca")
    options = {"lr": 0.004, "share_all_embeddings": True, "no-save": False, "patience": None}
    line = arguments(tmp_path, tmp_path / "o", options, {"seed": 7})
    assert line[0] == str(tmp_path)
    assert {"--lr=0.004", "--share-all-embeddings", "--seed=7", "--source-lang=es"} <= set(line)
    assert "--required-batch-size-multiple=1" in line
    assert not any("no-save" in word or "patience" in word for word in line)
    with pytest.raises(RecipeError, match="seed is set by"):
        arguments(tmp_path, tmp_path / "o", {"seed": 3}, {"seed": 7})


def save(path: Path, value: float) -> None:
    model = {"w": torch.full((2,), value), "version": torch.tensor([3.0])}
    state = {"args": argparse.Namespace(), "model": model, "extra_state": {"time": value},
             "optimizer_history": [], "last_optimizer_state": {"big": torch.zeros(9)}}  # fmt: skip
    torch.save(state, path)


def test_average_by_hand(tmp_path: Path) -> None:
    for name, value in (("a.pt", 1.0), ("b.pt", 2.0), ("c.pt", 6.0)):
        save(tmp_path / name, value)
    average([tmp_path / n for n in ("a.pt", "b.pt", "c.pt")], tmp_path / "checkpoint.pt")
    state = load(tmp_path / "checkpoint.pt")
    assert state["model"]["w"].tolist() == [3.0, 3.0]
    assert "last_optimizer_state" not in state
    # Nothing in it depends on the time: the same training gives the same bytes.
    first = (tmp_path / "checkpoint.pt").read_bytes()
    average([tmp_path / n for n in ("a.pt", "b.pt", "c.pt")], tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").read_bytes() == first


def test_shared_embeddings_are_averaged_once_and_stay_shared(tmp_path: Path) -> None:
    for name, value in (("a.pt", 1.0), ("b.pt", 3.0)):
        shared = torch.full((4, 2), value)
        model = {"encoder": shared, "decoder": shared, "other": torch.full((4, 2), 5 * value),
                 "empty": torch.empty(0), "none": torch.empty(0, 2)}  # fmt: skip
        torch.save({"model": model}, tmp_path / name)
    average([tmp_path / "a.pt", tmp_path / "b.pt"], tmp_path / "mean.pt")
    model = load(tmp_path / "mean.pt")["model"]
    assert model["encoder"].unique().tolist() == model["decoder"].unique().tolist() == [2.0]
    assert model["encoder"].data_ptr() == model["decoder"].data_ptr() != model["other"].data_ptr()
    assert model["other"].unique().tolist() == [10.0]
    assert (model["empty"].shape, model["none"].shape) == ((0,), (0, 2))


def test_a_checkpoint_at_the_end_of_an_epoch_is_kept(tmp_path: Path) -> None:
    def last(updates: int) -> None:
        torch.save({"optimizer_history": [{"num_updates": updates}],
                    "extra_state": {"train_iterator": {"epoch": 4, "iterations_in_epoch": 0}}},
                   tmp_path / "checkpoint_last.pt")  # fmt: skip

    for updates in (100, 150, 200, 200):
        last(updates)
        keep_last(tmp_path, 100)
    assert [path.name for path in numbered(tmp_path)] == [
        "checkpoint_3_100.pt",
        "checkpoint_3_200.pt",
    ]
    last(300)
    keep_last(tmp_path, 0)
    assert len(numbered(tmp_path)) == 2


def test_a_cut_last_checkpoint_gives_way_to_the_newest_whole_one(tmp_path: Path) -> None:
    for updates, value in ((100, 1.0), (200, 2.0), (1000, 3.0), (1100, 4.0)):
        save(tmp_path / f"checkpoint_1_{updates}.pt", value)
    for name in ("checkpoint_last.pt", "checkpoint_1_1100.pt"):  # both cut by the same kill
        whole = (tmp_path / "checkpoint_1_1100.pt").read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert [path.name for path in numbered(tmp_path)][-1] == "checkpoint_1_1000.pt"
    mend_last(tmp_path)
    assert load(tmp_path / "checkpoint_last.pt")["model"]["w"][0] == 3.0
    for path in tmp_path.glob("checkpoint_1_*"):
        path.unlink()
    (tmp_path / "checkpoint_last.pt").write_bytes(b"cut")
    mend_last(tmp_path)  # nothing to go on from: training begins anew
    assert not (tmp_path / "checkpoint_last.pt").exists()


class Evil:
    """A pickle that would run a command when read."""

    def __reduce__(self):
        return subprocess.getoutput, ("touch /tmp/nmt-recipes-evil",)


def test_a_checkpoint_with_a_payload_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": {}, "x": Evil()}, path)
    with pytest.raises(RecipeError, match="damaged or not a plain checkpoint"):
        load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RecipeError, match="damaged or not a plain checkpoint"):
        load(path)
    assert not Path("/tmp/nmt-recipes-evil").exists()
    assert not is_whole(path)


@pytest.mark.slow
def test_a_wrong_option_is_shown_in_fairseq_s_words(finished, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"argument --max-tokens: invalid .* value: 'many'"):
        train(
            finished.exp / "binary", tmp_path / "o", {"arch": "transformer", "max-tokens": "many"}
        )


@pytest.mark.slow
def test_no_sentence_is_dropped_from_training_or_validation(finished) -> None:
    """Fairseq's default drops the last batch if it is not a multiple of eight."""
    counts = {
        name: len((finished.exp / "binary" / f"{name}.es-ca.es.idx").read_bytes())
        for name in ("train", "valid")
    }
    script = (
        "import sys; from fairseq.data.data_utils import batch_by_size; import numpy as np;"
        "sizes = np.arange(5, 105);"
        "batches = batch_by_size(np.arange(100), lambda i: sizes[i], max_tokens=2000,"
        " required_batch_size_multiple=int(sys.argv[1])); print(sum(map(len, batches)))"
    )
    sentences = {
        multiple: int(
            subprocess.run(
                [sys.executable, "-c", script, multiple], capture_output=True, text=True, check=True
            ).stdout
        )
        for multiple in ("1", "8")
    }
    assert sentences == {"1": 100, "8": 96}  # the trap, and the remedy
    log = (finished.exp / "train-1" / "fairseq.log").read_text()
    assert "required_batch_size_multiple': 1" in log
    assert counts["train"] > counts["valid"] > 0
