"""TER's edits of many lines at once.

TER (Snover et al. 2006) takes as many edits as words must be put in, left out or exchanged, after
parts were moved, at an edit each. sacreBLEU tries moves one after the other. For most lines there
is nothing to try, and this can be told from two numbers: the edits without moves, and the edits if
moving were free. If they differ by one at most, moving, at one edit, gains nothing, and the former
is what sacreBLEU finds. All other lines are left to sacreBLEU.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.lib_ter import _BEAM_WIDTH, translation_edit_rate

Words = Sequence[str]

_LINES = 256  # at a time: their tables stay in the processor's cache


def edits(hypotheses: Sequence[Words], references: Sequence[Words]) -> NDArray[np.float64]:
    """Edits from each hypothesis to its reference, as sacreBLEU's TER counts them."""
    found = np.zeros(len(hypotheses))
    by_length = sorted(range(len(hypotheses)), key=lambda line: len(hypotheses[line]))
    for start in range(0, len(by_length), _LINES):
        lines = by_length[start : start + _LINES]
        unmoved = distances([hypotheses[n] for n in lines], [references[n] for n in lines])
        for line, distance in zip(lines, unmoved.tolist(), strict=True):
            ours, wanted = hypotheses[line], references[line]
            # sacreBLEU looks at a band of its table only: a path of few edits stays in it.
            seen = len(wanted) < _BEAM_WIDTH or 2 * distance + 1 < _BEAM_WIDTH
            if wanted and seen and distance <= _moving_free(ours, wanted) + 1:
                found[line] = distance
            else:
                found[line] = translation_edit_rate(list(ours), list(wanted))[0]
    return found


def _moving_free(hypothesis: Words, reference: Words) -> int:
    shared = (Counter(hypothesis) & Counter(reference)).total()
    return max(len(hypothesis), len(reference)) - shared


def distances(hypotheses: Sequence[Words], references: Sequence[Words]) -> NDArray[np.int32]:
    """Levenshtein's distance in words, of each hypothesis to its reference."""
    numbers: dict[str, int] = {}

    def table(side: Sequence[Words]) -> NDArray[np.int32]:
        rows = np.full((len(side), max(map(len, side), default=0)), -1, np.int32)
        for row, words in zip(rows, side, strict=True):
            row[: len(words)] = [numbers.setdefault(word, len(numbers)) for word in words]
        return rows

    ours, wanted = table(hypotheses), table(references)
    every, columns = np.arange(len(ours)), np.arange(wanted.shape[1] + 1, dtype=np.int32)
    ends, lengths = np.array([len(w) for w in references]), np.array([len(w) for w in hypotheses])
    row = np.tile(columns, (len(ours), 1))
    found: NDArray[np.int32] = row[every, ends]
    for at in range(ours.shape[1]):
        new = row + 1  # a word is put in
        np.minimum(new[:, 1:], row[:, :-1] + (ours[:, at, None] != wanted), out=new[:, 1:])
        # One left out costs one more than the place before: all of them in one pass.
        row = np.minimum.accumulate(new - columns, axis=1) + columns
        found = np.where(lengths == at + 1, row[every, ends], found)
    return found
