"""Where do the two sides of a bitext stop being lines of each other?

Lines that translate each other agree in length, in their numbers and in their last character. In
windows of lines, the correlation of these over the pairs is far above chance; where it is not,
another offset is tried: one line missing on one side makes all that follows agree one line on.
(The signs are those of length-based alignment, Gale & Church 1993; here they check it.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 200
_OFFSETS = [offset * sign for offset in range(1, 51) for sign in (1, -1)]
# In standard deviations of what unrelated lines would give. No related text was seen below the
# first; chance passes the second once in a billion windows.
AGREE, _SURE, _BETTER = 5.0, 6.5, 4.0
_LIMIT = 2.0
_UNSURE = 1000  # stands for an offset
_CHUNK = 500

# One row for each sign (length, numbers, last character), one column for each line.
Signs = NDArray[np.float32]


@dataclass(frozen=True)
class Shift:
    """Source line i translates target line i + offset, for `first` ≤ i ≤ `last` (from 1)."""

    first: int
    last: int
    offset: int


@dataclass(frozen=True)
class Agreement:
    """How well two sides agree, window by window, and where they would agree better."""

    window: int
    scores: NDArray[np.float64]
    shifts: list[Shift]

    @property
    def unrelated(self) -> float:
        """Share of the windows in which the sides agree no better than by chance."""
        return float((self.scores < AGREE).mean()) if len(self.scores) else 0.0


def agreement(source: Signs, target: Signs) -> Agreement:
    """Compare two sides, as (signs, lines); fewer than 100 lines are too few to tell."""
    lines = source.shape[1]
    window = min(WINDOW, lines // 2)
    if window < 50:
        return Agreement(window, np.zeros(0), [])
    starts = np.append(np.arange(0, lines - window, window), lines - window)
    scores = _scores(source, target, starts, window, 0)
    low = np.flatnonzero(scores < AGREE)
    found: set[int] = set()
    for at in range(0, len(low), _CHUNK):
        chunk = low[at : at + _CHUNK]
        tried = np.stack([_scores(source, target, starts[chunk], window, o) for o in _OFFSETS])
        sure = tried.max(axis=0) > np.maximum(_SURE, scores[chunk] + _BETTER)
        found |= {_OFFSETS[number] for number in tried.argmax(axis=0)[sure]}
    # Those offsets are then compared in all windows: in a shifted stretch, a window or two may
    # agree by chance too, but not as well.
    best, highest = np.where(scores < AGREE, _UNSURE, 0), scores.copy()
    for offset in sorted(found):
        there = _scores(source, target, starts, window, offset)
        better = there > np.maximum(AGREE, highest + _BETTER * (highest == scores))
        best[better], highest[better] = offset, there[better]
    return Agreement(window, scores, _segments(best, starts, window, source, target))


def _standard(values: NDArray[Any]) -> NDArray[Any]:
    """In standard deviations from the mean along the last axis; rare values count for little.

    Without the limit, one long line, or one question mark on each side, would decide alone.
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = centred.std(axis=-1, keepdims=True)
    standard: NDArray[Any] = np.clip(
        centred / np.where(deviation > 1e-6, deviation, np.inf), -_LIMIT, _LIMIT
    )
    return standard


def _scores(
    source: Signs, target: Signs, starts: NDArray[np.intp], window: int, offset: int
) -> NDArray[np.float64]:
    """Agreement of the signs, over what chance makes of it; out of reach: -inf."""
    if len(starts) > _CHUNK:  # else all windows at once would take many times the signs' memory
        parts = [starts[at : at + _CHUNK] for at in range(0, len(starts), _CHUNK)]
        return np.concatenate([_scores(source, target, part, window, offset) for part in parts])
    rows = starts[:, None] + np.arange(window)
    inside = (starts + offset >= 0) & (starts + offset + window <= source.shape[1])
    shifted = np.clip(rows + offset, 0, source.shape[1] - 1)
    left, right = _standard(source[:, rows]), _standard(target[:, shifted])
    # Of unrelated sides, the products add up to zero with this variance.
    variance = window * ((left**2).mean(axis=-1) * (right**2).mean(axis=-1)).sum(axis=0)
    products = (left * right).sum(axis=(0, -1))
    scores = products / np.sqrt(np.maximum(variance, 1e-6))
    result: NDArray[np.float64] = np.where(inside, scores, -np.inf)
    return result


def _segments(
    best: NDArray[np.intp], starts: NDArray[np.intp], window: int, source: Signs, target: Signs
) -> list[Shift]:
    """Neighbouring windows that agree on an offset, with the lines at which they begin and end."""
    shifts: list[Shift] = []
    end, lines = 0, source.shape[1]
    for place in np.flatnonzero((best != 0) & (best != _UNSURE)).tolist():
        if place < end:
            continue
        offset = int(best[place])
        end = place
        while end < len(best) and best[end] in (offset, _UNSURE):
            end += 1
        last = lines - 1
        if end < len(best):
            while best[end - 1] == _UNSURE:
                end -= 1
            after = 0 if best[end] == _UNSURE else int(best[end])
            at = int(starts[end - 1])
            last = _turn(source, target, (at, at + 2 * window), offset, after) - 1
        at = int(starts[place])
        before = shifts[-1].offset if shifts and shifts[-1].last >= at - window else 0
        around = (at - window, at + window)
        first = _turn(source, target, around, before, offset) if place else 0
        shifts.append(Shift(first + 1, last + 1, offset))
    return shifts


def _turn(source: Signs, target: Signs, within: tuple[int, int], before: int, after: int) -> int:
    """The line from which offset `after` explains the lines better than `before`."""
    first = max(0, within[0], -before, -after)
    last = min(within[1], source.shape[1] - max(0, before, after))
    rows = np.arange(first, last)
    left = _standard(source[:, rows])
    agree = [(left * _standard(target[:, rows + o])).sum(axis=0) for o in (before, after)]
    gain = np.concatenate([[0], np.cumsum(agree[0] - agree[1])])
    return first + int(gain.argmax())
