"""Scores of parts of a test set: by length, or by a label that each line has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from score.measures import Counts, Measure
from score.statistics import value

# Of a reference in words, up to and with.
_LENGTHS = (5, 10, 15, 20, 30, 50)


def labels(kind: str, references: Sequence[str]) -> list[str]:
    """The part that each line belongs to: `length`, or what a file says, line by line.

    Raises RecipeError if the file has not as many lines.
    """
    if kind == "length":
        return [_length(len(line.split())) for line in references]
    found = list(read_lines(Path(kind)))
    if len(found) != len(references):
        raise RecipeError(
            f"{kind} has {len(found):,} labels for {len(references):,} lines; "
            "it is either `length`, or a file with a label for each line"
        )
    return found


def _length(words: int) -> str:
    start = 0
    for end in _LENGTHS:
        if words <= end:
            return f"{start}–{end}"
        start = end + 1
    return f"{start}–"


def scored(
    parts: Sequence[str],
    counts: Mapping[tuple[str, str], Counts],
    measures: Mapping[str, Measure],
) -> dict[str, Any]:
    """For each part its lines, and the score of each system by each measure.

    `counts` are those of each system and measure. Lengths come in their order, others by size.
    """
    array = np.array(parts)
    found: dict[str, Any] = {}
    for part in sorted(set(parts), key=lambda name: (_start(name), -parts.count(name), name)):
        chosen = array == part
        scores: dict[str, dict[str, float]] = {}
        for (system, name), table in counts.items():
            scores.setdefault(system, {})[name] = value(measures[name], table[chosen])
        found[part] = {"lines": int(chosen.sum()), "scores": scores}
    return found


def _start(part: str) -> int:
    start = part.partition("–")[0]
    return int(start) if "–" in part and start.isdecimal() else 0
