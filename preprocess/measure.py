"""Counts over text, made block by block on all cores and added up; no judgement."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

import numpy as np
from numpy.typing import NDArray

from pipeline.lines import portions, read_lines
from pipeline.parallel import parallel_map
from pipeline.progress import progress
from preprocess.escape import RESERVED
from preprocess.features import SCRIPTS, Side

# Histograms: words a line up to this many, and twentieths of a doubling of the length.
LONGEST, STEPS = 100, 20
# Every so many lines, one is kept to look at its language, and fewer of a large text.
_EVERY, _SAMPLE, _BLOCK = 5, 20_000, 20_000

_MOJIBAKE = re.compile("[ÂÃÄÅâ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œ]")
_REPLACED = re.compile("\ufffd")
_ENTITY = re.compile(r"&(?:[a-z]{2,6}|#\d{1,5}|#x[0-9a-f]{1,4});", re.IGNORECASE)


@dataclass
class SideMeasures:
    """One side of a text: `sums` and histograms to add up, `rows` with one number a line."""

    sums: Counter[str] = field(default_factory=Counter)
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LONGEST + 1, np.int64))
    scripts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SCRIPTS), np.int64))
    longest: int = 0
    rows: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    # Hashes of the distinct words, and how often each stands in the text.
    words: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)
    thinned: int = 1

    def add(self, other: "SideMeasures") -> None:
        """Take in what was counted in the next block."""
        self.sums.update(other.sums)
        self.lengths += other.lengths
        self.scripts += other.scripts
        self.longest = max(self.longest, other.longest)
        for name, parts in other.rows.items():
            self.rows.setdefault(name, []).extend(parts)
        self.words.extend(other.words)
        if len(self.words) > 64:
            self.words = [self.vocabulary()]
        self.sample += other.sample[:: self.thinned]
        if len(self.sample) > _SAMPLE:
            self.sample = self.sample[::2]
            self.thinned *= 2

    def row(self, name: str) -> NDArray[Any]:
        """A number for each line: `hash`, `squashed` (hash), or one of the signs of a shift."""
        parts = self.rows.get(name, [])
        if len(parts) > 1:
            self.rows[name] = parts = [np.concatenate(parts)]
        return parts[0] if parts else np.zeros(0, np.int64)

    def vocabulary(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hashes of all distinct words, sorted, and how often each stands in the text."""
        if not self.words:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        hashes = np.concatenate([part[0] for part in self.words])
        counts = np.concatenate([part[1] for part in self.words])
        distinct, place = np.unique(hashes, return_inverse=True)
        return distinct, np.bincount(place, counts, len(distinct)).astype(np.int64)


@dataclass
class Measures:
    """A bitext (two sides) or a monolingual text (one), measured."""

    sides: list[SideMeasures]
    counts: list[int] = field(default_factory=list)  # lines of each file
    sums: Counter[str] = field(default_factory=Counter)
    ratios: NDArray[np.int64] = field(default_factory=lambda: np.zeros(8 * STEPS + 1, np.int64))

    @property
    def lines(self) -> int:
        """Lines, or pairs of lines."""
        return self.sides[0].sums["lines"]


def measure(files: Sequence[Path], changes: Counter[str], workers: int | None = None) -> Measures:
    """Measure a file, or two parallel ones; `changes` counts what the reader mended."""
    counts = [0 for _ in files]
    blocks = _blocks(files, changes, counts)

    total = measure_block(tuple([] for _ in files))  # makes the tables before the fork
    name = " and ".join(file.name for file in files)
    for part in progress(parallel_map(measure_block, blocks, workers), f"reading {name}", "blocks"):
        for side, more in zip(total.sides, part.sides, strict=True):
            side.add(more)
        total.sums.update(part.sums)
        total.ratios += part.ratios
    total.counts = counts
    return total


def _blocks(
    files: Sequence[Path], changes: Counter[str], counts: list[int]
) -> Iterator[tuple[list[str], ...]]:
    """Blocks of lines that stand beside each other, until the shorter file ends.

    `counts` gets the lines of each file. Here, unlike everywhere else, they may differ: it is
    what this is to find the reason of.
    """
    sides = [read_lines(file, changes) for file in files]
    while True:
        block = [list(islice(side, _BLOCK)) for side in sides]
        for place, lines in enumerate(block):
            counts[place] += len(lines)
        size = min(map(len, block))
        if size:
            yield from map(tuple, portions([lines[:size] for lines in block]))
        if size < _BLOCK:
            for place, side in enumerate(sides):
                counts[place] += sum(1 for _ in side)
            return


def measure_block(block: tuple[list[str], ...]) -> Measures:
    """Measure some lines, or some pairs of lines."""
    texts = [Side(lines) for lines in block]
    result = Measures([_side(text) for text in texts])
    if len(texts) == 1:
        return result
    source, target = texts
    filled = [text.words > 0 for text in texts]
    both = filled[0] & filled[1]
    doublings = np.log2((target.characters + 1) / (source.characters + 1))
    long = both & (np.maximum(source.characters, target.characters) > 20)
    steps = np.clip(np.rint(doublings[long] * STEPS) + 4 * STEPS, 0, 8 * STEPS).astype(int)
    result.ratios += np.bincount(steps, minlength=8 * STEPS + 1)
    result.sums.update(
        one_side_empty=int((filled[0] != filled[1]).sum()),
        both_sides_empty=int((~filled[0] & ~filled[1]).sum()),
        copies=int(((source.hashes == target.hashes) & both).sum()),
        numbers_differ=int((source.numbers != target.numbers).sum()),
    )
    return result


def _side(text: Side) -> SideMeasures:
    lines = text.lines
    scripts = text.scripts
    # From 0.5 to 1.5 with either sign, equal for equal numbers, or 0 for none: different numbers
    # on the two sides add up to nothing.
    fraction = (text.numbers >> 40) / 2**23
    numbers = np.where(text.numbers != 0, fraction + np.where(fraction < 0, -0.5, 0.5), 0)
    result = SideMeasures(
        lengths=np.bincount(np.minimum(text.words, LONGEST), minlength=LONGEST + 1),
        scripts=scripts.sum(axis=0, dtype=np.int64),
        longest=int(text.words.max(initial=0)),
        rows={
            "hash": [text.hashes],
            "squashed": [np.fromiter(map(hash, text.squashed), np.int64, len(lines))],
            "length": [np.log(text.characters + 1, dtype=np.float32)],
            "numbers": [numbers.astype(np.float32)],
            "last": [text.last_kind],
        },
        words=[np.unique(text.word_hashes, return_counts=True)],
        sample=list(lines[::_EVERY]),
    )
    result.sums.update(
        lines=len(lines),
        words=int(text.words.sum()),
        characters=int(text.characters.sum()),
        empty=int((text.words == 0).sum()),
        mixed_scripts=int(((scripts[:, 1:] > 0).sum(axis=1) > 1).sum()),
        reserved=text.matches(RESERVED, "<", "@@", "▁"),
        mojibake=text.matches(_MOJIBAKE, *"ÂÃÄÅâ"),
        replaced=text.matches(_REPLACED, "\ufffd"),
        entities=text.matches(_ENTITY, "&"),
        composed=int((text.count("composed") > 0).sum()),
        decomposed=_not_nfc(lines),
    )
    return result


def _not_nfc(lines: Sequence[str]) -> int:
    if is_normalized("NFC", "\n".join(lines)):
        return 0
    return sum(1 for line in lines if not is_normalized("NFC", line))
