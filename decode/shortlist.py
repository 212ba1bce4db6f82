"""Which target subwords a source subword may bring: the output layer then computes only those.

For each batch CTranslate2 takes the lists of its source subwords together (`vmap.txt`).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.lines import read_bitext, write_lines

FILE = "vmap.txt"
# Of the training text, so many pairs of subwords that stand in a sentence together (of which
# each takes some 140 bytes); more text adds little.
_TOGETHER, _ITERATIONS = 10_000_000, 4
_FOR_EACH, _FOR_ALL = 20, 200
_ALWAYS = ("<unk>", "<s>", "</s>")


def lexicon(
    sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], iterations: int
) -> tuple[list[tuple[str, str]], NDArray[np.float64], NDArray[np.float64]]:
    """IBM model 1 (Brown et al. 1993) without NULL, by units that stand together in a sentence.

    Returns pairs of a source and a target unit, the probability of the target given the source,
    and how often one was counted as the other's translation in the last iteration.
    """
    units = [list(dict.fromkeys(chain.from_iterable(side))) for side in (sources, targets)]
    number = [{unit: place for place, unit in enumerate(side)} for side in units]
    left, right, sentence = [], [], []
    for place, pair in enumerate(zip(sources, targets, strict=True)):
        source, target = (
            np.array([ids[unit] for unit in dict.fromkeys(side)], np.int64)
            for ids, side in zip(number, pair, strict=True)
        )
        left.append(np.repeat(source, len(target)))
        right.append(np.tile(target, len(source)))
        sentence.append(np.full(len(source) * len(target), place))
    size = len(units[1])
    columns = np.concatenate(right)
    entries, entry = np.unique(np.concatenate(left) * size + columns, return_inverse=True)
    # A target unit of a sentence shares its count among the source units there.
    shared = np.unique(np.concatenate(sentence) * size + columns, return_inverse=True)[1]
    probability: NDArray[Any] = np.ones(len(entries))
    counts = probability
    for _ in range(iterations):
        weights = probability[entry]
        counts = np.bincount(entry, weights / np.bincount(shared, weights)[shared])
        probability = counts / np.bincount(entries // size, counts)[entries // size]
    pairs = [(units[0][key // size], units[1][key % size]) for key in entries.tolist()]
    return pairs, probability, counts


def write_shortlist(source: Path, target: Path, out: Path) -> None:
    """Learn the lists from a training text in subwords, and write them as CTranslate2 reads them.

    Each source subword has the twenty best of its own, and itself, for what is copied; the 200
    most frequent target subwords are always there.
    """
    pairs: list[tuple[list[str], list[str]]] = []
    together = 0
    for pair in read_bitext(source, target):
        units = pair[0].split(), pair[1].split()
        together += len(units[0]) * len(units[1])
        if pairs and together > _TOGETHER:
            break
        if all(units):
            pairs.append(units)
    sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
    found, _, counts = lexicon(sources, targets, _ITERATIONS)
    known = Counter(chain.from_iterable(targets))
    lists: dict[str, list[str]] = {}
    for place in np.argsort(-counts, kind="stable").tolist():
        unit, translation = found[place]
        own = lists.setdefault(unit, [unit] if unit in known else [])
        if len(own) <= _FOR_EACH and translation not in own:
            own.append(translation)
    frequent = [unit for unit, _ in known.most_common(_FOR_ALL)]
    rows = [f"\t{' '.join([*_ALWAYS, *frequent])}"]
    write_lines(out, [*rows, *(f"{unit}\t{' '.join(own)}" for unit, own in lists.items())])
