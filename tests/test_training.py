"""Whole trainings on the toy data: told to stop, killed, on two processes, stopped by a score."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import REPOSITORY, Recipe
from sacrebleu import corpus_chrf

from decode.bundle import Bundle
from decode.export import export
from decode.search import Search
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from train.checkpoints import load
from train.curves import read_curves
from train.fairseq import train

pytestmark = pytest.mark.slow

TOY: dict[str, Any] = yaml.safe_load((REPOSITORY / "tests" / "toy.yaml").read_text())["options"]
# Long enough to be interrupted, with dropout, so that the random numbers matter.
OPTIONS = {**TOY, "max-update": 60, "total-num-update": 60, "dropout": 0.1}


@pytest.fixture(scope="module")
def whole(finished: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "train"
    train(finished.exp / "binary", out, OPTIONS, average_last=2)
    return out


def command(finished: Recipe, out: Path, *more: str) -> list[str]:
    options = [f"--options.{name}={value}" for name, value in OPTIONS.items()]
    data = str(finished.exp / "binary")
    start = [sys.executable, "-m", "train.fairseq", "--data", data, "--out", str(out)]
    return [*start, *options, "--average-last=2", *more]


def parameters(out: Path) -> dict[str, torch.Tensor]:
    return dict(load(out / "checkpoint.pt")["model"])


def same(left: Path, right: Path) -> bool:
    a, b = parameters(left), parameters(right)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def wait_for_update(out: Path, updates: int, process: "subprocess.Popen[str]") -> None:
    log, deadline = out / "fairseq.log", time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "over before it could be stopped"
        if log.exists() and max(read_curves(read_lines(log)).train, default=0) >= updates:
            return
        time.sleep(0.01)
    raise AssertionError(f"no update {updates} in 90 s")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_told_to_stop_it_saves_and_goes_on_to_the_same_end(
    finished: Recipe, whole: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "train"
    process = subprocess.Popen(
        command(finished, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for_update(out, 20, process)  # in the second epoch
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == (130 if number == signal.SIGINT else 0), output
    updates = json.loads((out / "unfinished.json").read_text())["updates"]
    assert 20 <= updates < 60 and not (out / "checkpoint.pt").exists()
    if number != signal.SIGINT:
        assert f"stopped when told to, after {updates} updates; run it again to go on" in output
    subprocess.run(command(finished, out), check=True, capture_output=True)
    log = (out / "fairseq.log").read_text()
    assert re.search(rf"Loaded checkpoint .* @ {updates} updates", log)  # not from an earlier one
    assert same(out, whole)


def test_told_to_stop_before_it_listens(finished: Recipe, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    process = subprocess.Popen(command(finished, out), stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not ((out / "fairseq.log").exists() and children.read_text()):
        time.sleep(0.01)
    time.sleep(0.2)  # by now it is passed on; fairseq itself still has to be imported
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "after 0 updates; run it again to go on" in output
    subprocess.run(command(finished, out), check=True, capture_output=True)
    assert same(out, whole)


def test_a_recipe_told_to_stop_ends_well_and_goes_on(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path)
    start = recipe.command("--set", "updates=200", "--stop-stage", "5")
    process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    partial = recipe.exp / "train-1.partial"
    wait_for_update(partial, 10, process)
    process.send_signal(signal.SIGUSR1)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "stopped when told to" in output and not (recipe.exp / "train-1").exists()
    # With another setting it would have to start anew, which nobody asked for.
    refused = recipe.run("--set", "updates=300", "--stop-stage", "5", code=1)
    assert "--options.max-update changed from 200 to 300" in refused and "--force 5" in refused
    output = recipe.run("--set", "updates=200", "--stop-stage", "5")
    assert "goes on where it was interrupted" in output and "200 updates" in output
    assert not (recipe.exp / "train-1" / "unfinished.json").exists()


def test_killed_at_random_moments_it_ends_the_same(
    finished: Recipe, whole: Path, tmp_path: Path
) -> None:
    """As many trainings as it takes for the kills that were asked for."""
    dice, wanted, kills = random.Random(1), int(os.environ.get("KILLS", "2")), 0
    while kills < wanted:
        out, reached = tmp_path / f"train-{kills}", 0
        while reached < 60 and kills < wanted:
            process = subprocess.Popen(
                command(finished, out),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            # In any of its five epochs, or after the last update.
            reached = dice.randrange(reached, 60, 10) + 10
            wait_for_update(out, reached, process)
            time.sleep(dice.uniform(0, 0.3))
            process.kill()
            process.wait()
            kills += 1
        subprocess.run(command(finished, out), check=True, capture_output=True)
        assert same(out, whole)
        curves = [read_curves(read_lines(path / "fairseq.log")) for path in (out, whole)]
        losses = [[r["valid_loss"] for r in curve.valid.values()] for curve in curves]
        assert losses[0] == losses[1]


def test_killed_after_the_last_update_it_does_not_train_on(
    finished: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "train", {**OPTIONS, "max-update": 20}
    with monkeypatch.context() as patch:
        patch.setattr("train.fairseq.plot", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            train(finished.exp / "binary", out, options)
    (out / "trained").unlink()
    train(finished.exp / "binary", out, options)
    assert (out / "fairseq.log").read_text().count("$ fairseq-train") == 1
    assert (out / "checkpoint.pt").exists() and not (out / "trained").exists()


def test_patience_survives_an_interruption(
    finished: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an update that helps, both end after the same one; fairseq itself forgets."""
    data = finished.exp / "binary"
    options = {**OPTIONS, "lr": 1e-9, "patience": 4, "lr-scheduler": "fixed", "warmup-updates": 0}
    del options["total-num-update"]
    # Killed when patience had ended it, it does not train on.
    with monkeypatch.context() as patch:
        patch.setattr("train.fairseq.plot", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            train(data, tmp_path / "whole", options)
    (tmp_path / "whole" / "trained").unlink()
    train(data, tmp_path / "whole", options)
    assert (tmp_path / "whole" / "fairseq.log").read_text().count("$ fairseq-train") == 1
    assert max(read_curves(read_lines(tmp_path / "whole" / "fairseq.log")).valid) < 60
    # The same, cut after 30 updates as a kill would: without the last steps of train.fairseq.
    parts = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "train.fairseq", "--data", str(data), "--out", str(parts),
         *(f"--options.{name}={value}" for name, value in options.items())],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    wait_for_update(parts, 20, process)
    process.terminate()
    process.wait(60)
    assert (parts / "unfinished.json").exists()
    train(data, parts, options)
    ends = [
        max(read_curves(read_lines(tmp_path / name / "fairseq.log")).valid)
        for name in ("whole", "cut")
    ]
    assert ends[0] == ends[1]


def test_other_settings_are_refused_for_a_training(
    finished: Recipe, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "train"
    process = subprocess.Popen(command(finished, out), stdout=subprocess.DEVNULL, text=True)
    wait_for_update(out, 10, process)
    process.terminate()
    process.wait(60)
    for directory in (out, whole):
        with pytest.raises(RecipeError, match=r"with other settings: lr from 0\.005 to 0\.1\."):
            train(finished.exp / "binary", directory, {**OPTIONS, "lr": 0.1}, average_last=2)


def test_two_processes_stay_together_and_learn_what_one_does(
    finished: Recipe, tmp_path: Path
) -> None:
    options = {**OPTIONS, "max-update": 20}
    data = finished.exp / "binary"
    train(data, tmp_path / "two", options, average_last=1, processes=2)
    train(data, tmp_path / "one", {**options, "update-freq": 2}, average_last=1)
    losses = [
        [r["valid_loss"] for r in read_curves(read_lines(log)).valid.values()]
        for log in (tmp_path / "two" / "fairseq.log", tmp_path / "one" / "fairseq.log")
    ]
    # Dropout differs between the two; batches, updates and learning rate do not.
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and len(losses[0]) == 4
    # The same training once more, to see the parameters of both.
    words = json.loads((tmp_path / "two" / "train.json").read_text())["command"][1:]
    words = [word.replace(str(tmp_path / "two"), str(tmp_path / "again")) for word in words]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "fairseq.log").touch()
    settings = json.dumps({"out": str(tmp_path / "again")})
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(REPOSITORY / "tests" / "ranks.py"), str(tmp_path), settings, *words],
        check=True, capture_output=True,
    )  # fmt: skip
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    saved = load(tmp_path / "two" / "checkpoint.pt")["model"]
    assert all(torch.equal(first[name], saved[name]) for name in saved)


def test_stopped_by_chrf_which_is_what_the_bundle_gets(finished: Recipe, tmp_path: Path) -> None:
    data, subwords, out = finished.exp / "binary", finished.exp / "subword", tmp_path / "train"
    train(data, out, OPTIONS, average_last=1, stop_on="chrf", subwords=subwords)
    curves = read_curves(read_lines(out / "fairseq.log"))
    assert "'best_checkpoint_metric': 'chrf'" in (out / "fairseq.log").read_text()
    # The last checkpoint is the one before the end, at an interval; see what it scores by itself.
    state = json.loads((out / "train.json").read_text())["averaged"]
    updates = int(state[0].removesuffix(".pt").rsplit("_", 1)[1])
    export(out / "checkpoint.pt", subwords, tmp_path / "bundle", data)
    bundle = Bundle.load(tmp_path / "bundle", search=Search(beam=1))
    clean = finished.exp / "clean"
    hypotheses = bundle.translate(list(read_lines(clean / "dev.es")))
    expected = corpus_chrf(hypotheses, [list(read_lines(clean / "dev.ca"))]).score
    assert curves.valid[updates]["valid_chrf"] == pytest.approx(expected, abs=0.05)
    assert expected > 1


def test_the_best_checkpoints_are_averaged(finished: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "train"
    train(finished.exp / "binary", out, OPTIONS, average_best=2)
    record = json.loads((out / "train.json").read_text())
    losses = sorted(r["valid_loss"] for r in record["valid"])[:2]
    names = [f"checkpoint.best_loss_{loss:.3f}" for loss in losses]
    assert [name[: len(names[0])] for name in record["averaged"]] == names
    assert not list(out.glob("checkpoint.best_*"))


def test_checkpoints_of_epochs_are_averaged_and_interval_s_at_an_epoch_s_end_too(
    finished: Recipe, tmp_path: Path
) -> None:
    data = finished.exp / "binary"
    options = {name: value for name, value in OPTIONS.items() if name != "save-interval-updates"}
    train(data, tmp_path / "epochs", {**options, "max-update": 45}, average_last=2)
    log = (tmp_path / "epochs" / "fairseq.log").read_text()
    ends = {int(n): int(u) for n, u in re.findall(r"checkpoint(\d+)\.pt \(epoch \d+ @ (\d+) ", log)}
    record = json.loads((tmp_path / "epochs" / "train.json").read_text())
    assert record["averaged"] == [f"checkpoint{n}.pt" for n in sorted(ends)[-2:]]
    assert [path.name for path in (tmp_path / "epochs").glob("checkpoint*")] == ["checkpoint.pt"]
    # An epoch's length as the interval: fairseq itself would keep none of these.
    every = ends[1]
    options = {**OPTIONS, "save-interval-updates": every, "max-update": 3 * every}
    train(data, tmp_path / "interval", options, average_last=3)
    record = json.loads((tmp_path / "interval" / "train.json").read_text())
    assert record["averaged"] == [f"checkpoint_{n}_{n * every}.pt" for n in (1, 2, 3)]


def test_a_diverging_training_is_stopped_and_explained(finished: Recipe, tmp_path: Path) -> None:
    options = {**OPTIONS, "lr": 30, "warmup-updates": 1, "max-update": 5000, "patience": -1}
    with pytest.raises(RecipeError, match=r"diverged: .* lower lr") as error:
        train(finished.exp / "binary", tmp_path / "train", options)
    assert "Traceback" not in str(error.value)


def test_gradients_that_are_no_numbers(finished: Recipe, tmp_path: Path) -> None:
    options = {**OPTIONS, "lr": 1e38, "warmup-updates": 1, "clip-norm": 0.0}
    with pytest.raises(RecipeError, match=r"no longer numbers: the training diverged; lower lr"):
        train(finished.exp / "binary", tmp_path / "train", options)


OUT_OF_MEMORY = """
from fairseq.criterions import FairseqCriterion, register_criterion

@register_criterion("out_of_memory")
class OutOfMemory(FairseqCriterion):
    def forward(self, model, sample, reduce=True):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
"""


def test_without_memory_it_ends(finished: Recipe, tmp_path: Path) -> None:
    """By itself, fairseq would leave out every batch, and try for ever."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "__init__.py").write_text(OUT_OF_MEMORY)
    options = {**OPTIONS, "user-dir": str(tmp_path / "module"), "criterion": "out_of_memory",
               "label-smoothing": None}  # fmt: skip
    with pytest.raises(RecipeError, match="not enough memory for a batch; lower max-tokens"):
        train(finished.exp / "binary", tmp_path / "train", options)


def test_what_the_user_says_goes_before_the_preset(finished: Recipe, tmp_path: Path) -> None:
    small = {**OPTIONS, "max-update": 7.0, "save-interval-updates": 2}
    train(finished.exp / "binary", tmp_path, small, preset="few", average_last=1)
    record = json.loads((tmp_path / "train.json").read_text())
    assert record["averaged"] == ["checkpoint_1_6.pt"]  # the preset has 5
    assert record["updates"] == 7  # the log's records are of every tenth


def test_the_losses_are_plain_fairseq_s(finished: Recipe, tmp_path: Path) -> None:
    """The same batches, parameters and random numbers: every update's loss is the same."""
    options = {**OPTIONS, "max-update": 50, "dropout": 0.3}
    train(finished.exp / "binary", tmp_path / "ours", options, average_last=1)
    lines = list(read_lines(tmp_path / "ours" / "fairseq.log"))
    words = json.loads((tmp_path / "ours" / "train.json").read_text())["command"][1:]
    plain = [w for w in words if not w.startswith(("--save-dir", "--tensorboard"))]
    script = (
        "import argparse, torch; torch.serialization.add_safe_globals([argparse.Namespace]);"
        "from fairseq_cli.train import cli_main; cli_main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *plain, f"--save-dir={tmp_path / 'plain'}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours, theirs = read_curves(lines), read_curves((result.stdout + result.stderr).split("\n"))
    assert len(ours.train) == 5
    assert ours.train.keys() == theirs.train.keys() != set()
    for updates, record in theirs.train.items():
        assert ours.train[updates]["loss"] == pytest.approx(record["loss"], rel=1e-3)
        assert ours.train[updates]["gnorm"] == pytest.approx(record["gnorm"], rel=1e-2)
    for updates, record in theirs.valid.items():
        assert ours.valid[updates]["valid_loss"] == pytest.approx(record["valid_loss"], rel=1e-3)


def test_a_budget_of_minutes_and_of_threads(finished: Recipe, tmp_path: Path) -> None:
    """Over before the first interval: what there is then is the model."""
    options = {**OPTIONS, "max-update": 100_000, "save-interval-updates": 90_000}
    out = tmp_path / "train"
    train(finished.exp / "binary", out, options, minutes=0.05, cpu_threads=1)
    log = (out / "fairseq.log").read_text()
    assert "stop_time_hours: 0.00083" in log and "max_update: 100000" not in log
    assert json.loads((out / "train.json").read_text())["averaged"] == ["checkpoint_last.pt"]
    assert load(out / "checkpoint.pt")["model"]


@pytest.mark.parametrize("amp", ["tf32", "bf16", "fp16"])
def test_number_formats_of_gpus_need_one(finished: Recipe, tmp_path: Path, amp: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(RecipeError, match=f"amp={amp} is for GPUs, and there is none"):
        train(finished.exp / "binary", tmp_path / "o", OPTIONS, amp=amp)
