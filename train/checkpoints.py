"""fairseq's checkpoint files: finding, checking and averaging them."""

import argparse
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import RecipeError

LAST = "checkpoint_last.pt"
_BEST = re.compile(r"checkpoint\.best_\w+_(-?\d+\.\d+)\.pt")
# Of an epoch, or of an epoch and an update.
_NUMBERED = re.compile(r"checkpoint(?:_\d+_)?(\d+)\.pt")


def load(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, on the CPU; only tensors and plain data are unpickled.

    Raises RecipeError for a damaged file and for one that holds anything else, as a
    checkpoint from a stranger may.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        reason = str(error).strip().split("\n")[0]
        raise RecipeError(f"{path} is damaged or not a plain checkpoint: {reason}") from error
    return state


def numbered(directory: Path) -> list[Path]:
    """The checkpoints of updates, or of epochs, that are whole, oldest first."""
    found = [
        (int(match[1]), path)
        for path in directory.glob("checkpoint*.pt")
        if (match := _NUMBERED.fullmatch(path.name)) and is_whole(path)
    ]
    return [path for _, path in sorted(found)]


def best(directory: Path, maximise: bool) -> list[Path]:
    """The checkpoints that fairseq kept for their dev score and that are whole, best first."""
    found = [
        (float(match[1]), path)
        for path in directory.glob("checkpoint.best_*.pt")
        if (match := _BEST.fullmatch(path.name)) and is_whole(path)
    ]
    return [path for _, path in sorted(found, reverse=maximise)]


def updates_of(path: Path) -> int:
    """After how many updates a checkpoint was saved."""
    return int(load(path)["optimizer_history"][-1]["num_updates"])


def is_whole(path: Path) -> bool:
    """Whether a file was written to its end: a zip's directory comes last."""
    return zipfile.is_zipfile(path)


def keep_last(directory: Path, every: int) -> None:
    """Keep the checkpoint of an interval that ends with an epoch, which fairseq leaves out.

    `every` is save-interval-updates.
    """
    last = directory / LAST
    if every <= 0 or not last.exists():
        return
    state = load(last)
    updates = int(state["optimizer_history"][-1]["num_updates"])
    if updates % every == 0 and not any(directory.glob(f"checkpoint_*_{updates}.pt")):
        place = state["extra_state"]["train_iterator"]
        # At the end of an epoch, fairseq is at the beginning of the next.
        epoch = place["epoch"] - (place["iterations_in_epoch"] == 0)
        partial = directory / "kept.partial"
        shutil.copyfile(last, partial)
        partial.rename(directory / f"checkpoint_{epoch}_{updates}.pt")


def mend_last(directory: Path) -> None:
    """Put the newest whole checkpoint in place of a `checkpoint_last.pt` that was cut by a kill.

    fairseq writes that file by a plain copy and cannot resume from half of it.
    """
    last = directory / LAST
    if last.exists() and is_whole(last):
        return
    last.unlink(missing_ok=True)
    for other in numbered(directory)[-1:]:
        partial = directory / "mended.partial"
        shutil.copyfile(other, partial)
        os.replace(partial, last)


def average(paths: Sequence[Path], out: Path) -> None:
    """Write a checkpoint with the mean of the parameters of several, ready for inference.

    Checkpoint averaging as in Vaswani et al. 2017, section 6.1; the sum is kept in float64.
    The optimiser's state and the times of the training are left out. Raises RecipeError if the
    models differ in shape.
    """
    state = load(paths[0])
    shapes = {name: value.shape for name, value in state["model"].items()}
    # Embeddings that are shared have several names, and stay shared: at half the size.
    first: dict[tuple[int, torch.Size], str] = {}
    owner = {n: first.setdefault((v.data_ptr(), v.shape), n) for n, v in state["model"].items()}
    total = {name: state["model"][name].double() for name in set(owner.values())}
    for path in paths[1:]:
        model = load(path)["model"]
        if {name: value.shape for name, value in model.items()} != shapes:
            raise RecipeError(f"{path} and {paths[0]} are not of the same model")
        for name, value in total.items():
            value += model[name].double()
    mean = {n: (v / len(paths)).to(state["model"][n].dtype) for n, v in total.items()}
    state["model"] = {name: mean[owner[name]] for name in shapes}
    state.pop("last_optimizer_state", None)
    state["extra_state"] = {}
    save(state, out)


def save(state: dict[str, Any], out: Path) -> None:
    """Write a checkpoint, as a whole or not at all."""
    partial = out.with_name(out.name + ".partial")
    torch.save(state, partial)
    os.replace(partial, out)
