"""A progress bar for whatever takes over five seconds."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def on_terminal() -> bool:
    """Whether a person is watching, directly or through the stage runner."""
    return os.environ.get("RECIPES_TERMINAL") == "1" or sys.stderr.isatty()


def progress(
    items: Iterable[Item], title: str, unit: str, total: int | None = None
) -> Iterator[Item]:
    """Yield `items`, drawing a bar with rate and time left once five seconds have passed.

    Off a terminal (in a log file) the bar becomes one line every half minute.
    """
    yield from tqdm(
        items,
        desc=title,
        unit=f" {unit}",
        total=total,
        delay=5,
        mininterval=0.5 if on_terminal() else 30,
        unit_scale=True,
        dynamic_ncols=sys.stderr.isatty(),
        ascii=not on_terminal(),
    )
