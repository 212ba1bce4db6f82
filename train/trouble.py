"""What went wrong in a training, and what to change, from fairseq's last words."""

import re
import signal
from collections.abc import Sequence
from math import log2
from pathlib import Path

from pipeline.lines import read_lines
from train.curves import Record

# Of the training loss, bits a subword: this much worse than guessing, so many records in a row.
_WORSE_BY, _IN_A_ROW, _FROM_UPDATE = 1.0, 5, 50

_CAUSES = {
    r"Nan/Inf|NaN or Inf|loss is nan|Minimum loss scale reached": (
        "the gradients are no longer numbers: the training diverged; lower lr, raise "
        "warmup-updates, or set clip-norm: 1.0"
    ),
    r"out of memory|can't allocate memory|Cannot allocate memory|MemoryError|bad_alloc": (
        "there is not enough memory for a batch; lower max-tokens and raise update-freq by the "
        "same factor, which keeps the result"
    ),
    r"index out of range in self|device-side assert": (
        "the data holds a subword number that the dictionary does not have; binarise again with "
        "the dictionary beside the data"
    ),
    r"size mismatch for .*embed_tokens|Cannot load model parameters": (
        "the checkpoint to start from was trained with another dictionary or other layers; use "
        "the dictionary and the sizes of its own training"
    ),
    r"No space left on device|PytorchStreamWriter failed|file write failed": (
        "the disk is full; free some space and run again: training goes on from its last checkpoint"
    ),
}


def explain(lines: Sequence[str], exit_code: int) -> str | None:
    """The cause of a failure and what to change, or None if it is not one that we know.

    `lines` are the last of the log; `exit_code` is negative for a signal, as subprocess has it.
    """
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
        for pattern, cause in _CAUSES.items():
            if re.search(pattern, line, re.IGNORECASE):
                return cause
    if exit_code == -signal.SIGKILL:
        return (
            "fairseq-train was killed, perhaps for want of memory: then lower max-tokens and "
            "raise update-freq by the same factor"
        )
    return None


def last_run(log: Path) -> list[str]:
    """Lines of a training's log since it was started last, without blank ones."""
    lines = [line for line in read_lines(log) if line.strip()]
    return lines[max(n for n, line in enumerate(lines) if line.startswith("$ ")) :]


class DivergenceWatch:
    """Notices a training that has become worse than guessing."""

    def __init__(self, words: int) -> None:
        """`words` is the size of the target dictionary."""
        self._guessing = log2(words)
        self._worse = 0

    def sees(self, record: Record) -> str | None:
        """Look at a record of training; a sentence once it has diverged."""
        loss, updates = record["nll_loss"], int(record["num_updates"])
        bad = not loss <= self._guessing + _WORSE_BY  # also true of a loss that is no number
        self._worse = self._worse + 1 if bad and updates >= _FROM_UPDATE else 0
        if self._worse < _IN_A_ROW and loss == loss:
            return None
        return (
            f"the training diverged: its loss is {loss:.1f} bits a subword after {updates:,} "
            f"updates, and guessing has {self._guessing:.1f}; lower lr, raise warmup-updates, or "
            "set clip-norm: 1.0"
        )
