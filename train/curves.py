"""What fairseq's log says of a training: its records, curves and a plot."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass
class Curves:
    """Records by number of updates: of training (`train_inner`) and of validation (`valid`).

    `seconds` is the time from each start to its last record, by the clock of the log: fairseq's
    own count begins anew, or stands still, where a training is resumed.
    """

    train: dict[int, Record]
    valid: dict[int, Record]
    seconds: float = 0.0


def parse_record(line: str) -> tuple[str, Record] | None:
    """(kind, record) of a line of fairseq's log, if it is one of its JSON records.

    Lines look like `2026-11-25 04:39:23 | INFO | train_inner | {"epoch": 1, …}`.
    """
    parts = line.split(" | ", 3)
    if len(parts) < 4 or parts[2] not in ("train_inner", "valid") or not parts[3].startswith("{"):
        return None
    try:
        record: Record = json.loads(parts[3])
    except ValueError:  # the line was cut by a kill
        return None
    record = {name: _number(value) for name, value in record.items()}
    for name in ("loss", "valid_loss"):
        if name in record:  # without label smoothing, fairseq gives the loss alone
            record.setdefault(name.replace("loss", "nll_loss"), record[name])
    return parts[2], record


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def read_curves(
    lines: Iterable[str], parse: Callable[[str], tuple[str, Record] | None] = parse_record
) -> Curves:
    """The curves of a log, also of one to which a resumed training was appended.

    What was trained again after a kill replaces what was lost.
    """
    train: dict[int, Record] = {}
    valid: dict[int, Record] = {}
    seconds, last = 0.0, None
    for line in lines:
        if line.startswith("$ "):  # a start
            last = None
            continue
        parsed = parse(line)
        if (parsed or last is None) and (now := _clock(line)):
            seconds += (now - last).total_seconds() if last else 0.0
            last = now
        if parsed:
            kind, record = parsed
            if kind == "train_inner":
                train[int(record["num_updates"])] = record
            else:
                valid[int(record["valid_num_updates"])] = record
    return Curves(dict(sorted(train.items())), dict(sorted(valid.items())), seconds)


def _clock(line: str) -> datetime | None:
    try:
        return datetime.fromisoformat(line[:19])
    except ValueError:
        return None


def parameters(lines: Iterable[str]) -> int | None:
    """Parameters of the model, shared ones once, as fairseq's log has them."""
    for line in lines:
        if found := re.search(r"num. shared model params: ([\d,]+)", line):
            return int(found[1].replace(",", ""))
    return None


def plot(curves: Curves, path: Path) -> None:
    """Draw training and dev loss (bits a subword, without label smoothing) against updates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(list(curves.train), [r["nll_loss"] for r in curves.train.values()], label="train")
    axes.plot(
        list(curves.valid),
        [r["valid_nll_loss"] for r in curves.valid.values()],
        marker="o",
        label="dev",
    )
    axes.set(xlabel="updates", ylabel="loss (bits a subword)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
