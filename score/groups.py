"""Scores of parts of a test set: by length, rare words, or a label that each line has."""

from collections import Counter
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


# Occurrences in the training text, from.
_OCCURRENCES = (0, 1, 10, 100, 1000)


def labels(
    kind: str,
    references: Sequence[str],
    sources: Sequence[str] | None = None,
    train: Path | None = None,
) -> list[str]:
    """The part that each line belongs to: `length`, `rarest`, or what a file says, line by line.

    `rarest` goes by how often the training text has the rarest word of the source, as words stand
    between spaces. Raises RecipeError if the file has not as many lines.
    """
    if kind == "length":
        return [_range(len(line.split()), [0, *(end + 1 for end in _LENGTHS)])
                for line in references]  # fmt: skip
    if kind == "rarest":
        if sources is None or train is None:
            raise RecipeError("--by rarest needs --source, and --train: the text trained on")
        known = Counter(word for line in read_lines(train) for word in line.split())
        rarest = (min((known[word] for word in line.split()), default=0) for line in sources)
        return [_range(count, _OCCURRENCES) for count in rarest]
    found = list(read_lines(Path(kind)))
    if len(found) != len(references):
        raise RecipeError(
            f"{kind} has {len(found):,} labels for {len(references):,} lines; "
            "it is either `length`, or a file with a label for each line"
        )
    return found


def _range(number: int, starts: Sequence[int]) -> str:
    """The one of these ranges that a number is in, such as `6–10`."""
    place = sum(number >= start for start in starts) - 1
    if place + 1 == len(starts):
        return f"{starts[place]}–"
    end = starts[place + 1] - 1
    return f"{starts[place]}–{end}" if end > starts[place] else str(end)


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
    return int(start) if start.isdecimal() else 0
