"""What sacreBLEU computes line by line and sample by sample, for all of them at once.

The same numbers to the last digit, in the same precision; where a case is not simple (an order
without n-grams, a line of very many different letters), sacreBLEU's own functions are asked.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

Numbers = NDArray[Any]

# Lines whose n-grams are counted at a time: of usual length, they take some 10 MB.
_LINES = 4096


def bleu_scores(rows: Numbers, otherwise: Callable[[Numbers], float]) -> Numbers:
    """BLEU of rows of [hypothesis length, reference length, 4 × correct, 4 × total].

    `otherwise` scores rows one by one if in any of them an order has no match.
    """
    correct, total = rows[:, 2:6], rows[:, 6:10]
    if not (correct > 0).all():
        return np.array([otherwise(row) for row in rows])
    precisions = (100.0 * correct / total).tolist()
    # By math's functions, which differ from NumPy's in the last digit.
    return np.array(
        [
            (1.0 if ours >= wanted else math.exp(1 - wanted / ours))
            * math.exp(sum(map(math.log, four)) / 4)
            for (ours, wanted), four in zip(rows[:, :2].tolist(), precisions, strict=True)
        ]
    )


def chrf_scores(rows: Numbers, beta: int, otherwise: Callable[[Numbers], float]) -> Numbers:
    """Score, by chrF, rows of [n-grams of hypothesis, of reference, in both] for each order.

    `otherwise` scores rows one by one if in any of them an order has no match.
    """
    if not (rows > 0).all():
        return np.array([otherwise(row) for row in rows])
    ours, wanted, both = (rows[:, start::3] for start in range(3))
    orders = ours.shape[1]
    # Added up in order, as sacreBLEU does: NumPy's sum may add in another.
    precision, recall = (
        sum(share[:, order] for order in range(orders)) / orders
        for share in (both / ours, both / wanted)
    )
    factor = beta**2
    scores: Numbers = 100 * ((1 + factor) * precision * recall / (factor * precision + recall))
    return scores


def chrf_counts(hypotheses: Sequence[str], references: Sequence[str], metric: CHRF) -> Numbers:
    """For each line, what chrf_scores wants of each order of n-grams of letters."""
    parts = [
        _count(hypotheses[start : start + _LINES], references[start : start + _LINES], metric)
        for start in range(0, len(hypotheses), _LINES)
    ]
    return np.concatenate(parts)


def _count(hypotheses: Sequence[str], references: Sequence[str], metric: CHRF) -> Numbers:
    orders: int = metric.char_order
    count = len(hypotheses)
    texts = ["".join(line.split()) for line in (*hypotheses, *references)]
    letters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    sides = np.repeat(np.arange(2 * count), [len(text) for text in texts])
    line, is_reference = (sides % count).astype(np.uint64), sides >= count
    # A letter becomes its number among the different letters of its line, of both sides.
    different, numbers = np.unique((line << np.uint64(21)) | letters, return_inverse=True)
    first = np.searchsorted(different >> np.uint64(21), np.arange(count, dtype=np.uint64))
    numbers = (numbers - first[line.astype(np.int64)]).astype(np.uint64)
    bits = max(int(numbers.max(initial=1)).bit_length(), 1)
    if orders * bits + count.bit_length() + 1 > 64:
        counted = metric._extract_corpus_statistics(hypotheses, [references])
        return np.array(counted, dtype=np.float64)

    found = np.zeros((count, 3 * orders))
    grams = np.zeros(len(numbers), np.uint64)
    for order in range(1, orders + 1):
        # The n-gram that begins at each place: its line, and its letters' numbers side by side.
        ends = len(numbers) - order + 1
        if ends <= 0:
            break
        grams = (grams[:ends] << np.uint64(bits)) | numbers[order - 1 :]
        whole = sides[:ends] == sides[order - 1 :]
        keys = ((line[:ends] << np.uint64(bits * order)) | grams)[whole]
        of_reference = is_reference[:ends][whole].astype(np.uint64)
        keys = np.sort((keys << np.uint64(1)) | of_reference)
        at = np.flatnonzero(np.r_[True, keys[1:] >> np.uint64(1) != keys[:-1] >> np.uint64(1)])
        if not len(keys):
            break
        wanted = np.add.reduceat((keys & np.uint64(1)).astype(np.int64), at)
        ours = np.diff(np.r_[at, len(keys)]) - wanted
        place = (keys[at] >> np.uint64(bits * order + 1)).astype(np.int64)
        for column, number in enumerate((ours, wanted, np.minimum(ours, wanted))):
            found[:, 3 * (order - 1) + column] = np.bincount(place, number, count)
    # Where a reference is too short for an order, sacreBLEU counts none of the hypothesis.
    found[:, 0::3] *= found[:, 1::3] > 0
    return found
