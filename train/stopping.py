"""Stops fairseq-train between two updates, with a checkpoint, when it is told to.

A scheduler that wants the machine back sends SIGTERM or SIGUSR1; so does Ctrl-C, through
`train.fairseq`. Also keeps what fairseq forgets when it resumes: which sentences were together in a
batch, and how long it has been waiting for a better dev loss.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.lines import read_lines
from pipeline.manifest import UNFINISHED, write_json
from train.checkpoints import keep_last
from train.curves import read_curves

LOG = "fairseq.log"

_received: list[int] = []


def listen() -> None:
    """Note the signals that ask for an end; Ctrl-C is the parent's to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda received, _: _received.append(received))


def asked() -> bool:
    """Whether any of the processes of this training was told to stop."""
    if not torch.distributed.is_initialized():
        return bool(_received)
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([float(bool(_received))], device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag.item())


def install(out: Path) -> None:
    """Look for a signal after each update, and write `out`/unfinished.json if one ends it."""
    from fairseq import checkpoint_utils
    from fairseq.tasks.fairseq_task import FairseqTask
    from fairseq_cli import train as cli

    FairseqTask.get_batch_iterator = _same_batches(FairseqTask.get_batch_iterator)
    original, resumed = cli.validate_and_save, [False]

    def validate_and_save(
        cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *arguments: Any
    ) -> tuple[list[float | None], bool]:
        if not resumed[0]:
            resumed[0] = True
            _remember_patience(out / LOG, cfg.checkpoint, trainer.get_num_updates(), cli)
        losses, stop = original(cfg, trainer, task, epoch_itr, *arguments)
        every = cfg.checkpoint.save_interval_updates
        # Asked before a checkpoint is read, which takes a while for a large model.
        due = every > 0 and epoch_itr.end_of_epoch() and trainer.get_num_updates() % every == 0
        if due and trainer.is_data_parallel_master:
            keep_last(out, every)
        if not stop and asked():
            checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
            stop = True
            if trainer.is_data_parallel_master:
                write_json(out / UNFINISHED, {"updates": trainer.get_num_updates()})
        return losses, stop

    cli.validate_and_save = validate_and_save


def _same_batches(original: Callable[..., Any]) -> Callable[..., Any]:
    """Put sentences into the batches of epoch 1, whichever epoch a training is resumed in.

    fairseq makes the batches once, with sentences of one length in an order that it draws from the
    number of the epoch at hand: after an interruption it would go on with others.
    """

    def get_batch_iterator(self: Any, dataset: Any, **given: Any) -> Any:
        if not (given.get("disable_iterator_cache") or given.get("update_epoch_batch_itr")):
            given["epoch"] = 1
        return original(self, dataset, **given)

    return get_batch_iterator


def _remember_patience(log: Path, options: Any, updates: int, cli: Any) -> None:
    """Put fairseq's early stopping where it was before the training was interrupted."""
    bests = [
        record[f"valid_{options.best_checkpoint_metric}"]
        for at, record in read_curves(read_lines(log)).valid.items()
        if at < updates
    ]
    if not bests:
        return
    best = (max if options.maximize_best_checkpoint_metric else min)(bests)
    cli.should_stop_early.best = best
    cli.should_stop_early.num_runs = len(bests) - 1 - bests.index(best)


def unfinished(out: Path) -> int | None:
    """After how many updates a training was told to stop, or None."""
    try:
        return int(json.loads((out / UNFINISHED).read_text())["updates"])
    except FileNotFoundError:
        return None
