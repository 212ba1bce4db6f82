"""Byte-pair encoding (Sennrich et al. 2016), as subword-nmt does it, on all words at once.

`learn` finds the merges of `subword-nmt learn-bpe`, and `Encoder` cuts as its `apply-bpe`, to the
byte. Both work on the distinct words of a text, with numpy's loops instead of Python's.
"""

import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from subword_nmt.apply_bpe import check_vocab_and_split, isolate_glossary

from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines

Merge = tuple[str, str]
SEPARATOR = "@@"
_END = "</w>"
_VERSION = "#version: 0.2"
# Beyond this many words the cache starts afresh; they take about 500 MB.
_CACHE_WORDS = 2_000_000
_NONE = np.iinfo(np.int64).max


class _Symbols:
    """Numbers for symbols; two symbols of the same text share one, however they came about."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self.numbers:
            self.numbers[text] = len(self.texts)
            self.texts.append(text)
        return self.numbers[text]

    def split(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The symbols of non-empty words one after the other, and where each word begins."""
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32).astype(np.int64)
        codes[starts + lengths - 1] += 0x110000  # a word's last character is another symbol
        distinct, where = np.unique(codes, return_inverse=True)
        texts = [chr(c) if c < 0x110000 else chr(c - 0x110000) + _END for c in distinct.tolist()]
        return np.array([self.number(text) for text in texts], np.int64)[where], starts


class _Corpus:
    """Distinct words as linked symbols, and for each pair of symbols where it may stand."""

    def __init__(self, words: Sequence[str], counts: NDArray[np.int64], merges: int) -> None:
        self.symbols = _Symbols()
        self.text, starts = self.symbols.split(words)
        size = len(self.text)
        # Keys of pairs are left * base + right; a merge adds at most one symbol.
        self.base = len(self.symbols.texts) + merges + 1
        self.weight = np.repeat(counts, np.diff(starts, append=size))
        # Position `size` stands for "no neighbour".
        self.after = np.arange(1, size + 1)
        self.after[starts[1:] - 1] = size
        self.before = np.arange(-1, size)
        self.before[starts] = size
        self.text = np.append(self.text, -1)
        self.after = np.append(self.after, size)
        self.places: dict[int, list[NDArray[np.int64]]] = {}
        self.counts = self._found(np.flatnonzero(self.after[:-1] != size))

    def _by_key(
        self, left: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int], list[int]]:
        """Places of pairs in the order of their keys, where each key begins, and its count."""
        keys = self.text[left] * self.base + self.text[self.after[left]]
        order = keys.argsort(kind="stable")
        keys, left = keys[order], left[order]
        starts = np.flatnonzero(_changes(keys))
        sums = np.add.reduceat(self.weight[left], starts) if len(left) else keys
        return left, starts, keys[starts].tolist(), sums.tolist()

    def _found(self, left: NDArray[np.int64]) -> dict[int, int]:
        """Remember where new pairs stand; returns their counts."""
        left, starts, keys, sums = self._by_key(left)
        ends = [*starts.tolist(), len(left)]
        for key, begin, end in zip(keys, ends, ends[1:], strict=False):
            self.places.setdefault(key, []).append(left[begin:end])
        return dict(zip(keys, sums, strict=True))

    def merge(self, key: int) -> tuple[dict[int, int], dict[int, int]]:
        """Merge a pair wherever it stands; returns the counts of lost and of new pairs."""
        left, right = divmod(key, self.base)
        place = np.concatenate(self.places.pop(key))
        # Earlier merges may have used up a symbol, or made the pair twice at one place.
        place = place[(self.text[place] == left) & (self.text[self.after[place]] == right)]
        place = _distinct(place)
        if left == right:
            place = place[_every_other(place, self.before)]
        new = self.symbols.number(self.symbols.texts[left] + self.symbols.texts[right])
        end = len(self.text) - 1
        used = self.after[place]
        touched = _distinct(np.concatenate([self.before[place], place, used]))
        _, _, keys, sums = self._by_key(touched[self.after[touched] != end])
        behind = self.after[used]
        self.text[place] = new
        self.text[used] = -1
        self.after[place] = behind
        self.before[behind] = place
        self.after[used] = end
        touched = _distinct(np.concatenate([self.before[place], place]))
        made = self._found(touched[self.after[touched] != end])
        return dict(zip(keys, sums, strict=True)), made


def _changes(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return new


def _distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers.sort()
    return numbers[_changes(numbers)]


def _every_other(place: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of overlapping places, as in `a a a`, the first, the third and so on of each run."""
    if not len(place):
        return np.zeros(0, bool)
    index = np.arange(len(place))
    # Places are in order, so the one before in the text is the one before in the list.
    starts = np.append(True, before[place[1:]] != place[:-1])
    odd: NDArray[np.bool_] = (index - np.maximum.accumulate(np.where(starts, index, 0))) % 2 == 0
    return odd


def learn(word_counts: Mapping[str, int], merges: int, min_frequency: int = 2) -> list[Merge]:
    """The merges that `subword-nmt learn-bpe --symbols merges` finds in words and their counts.

    The most frequent pair is merged first, of equally frequent ones the last in the alphabet.
    Learning ends early where no pair is as frequent as `min_frequency`. Like the tool it sets
    rare pairs aside and forgets, until it looks at them again, that some have become frequent
    since: the same text can arise by two different merges.
    """
    words = [word for word in word_counts if word]
    if not words:
        return []
    corpus = _Corpus(words, np.array([word_counts[word] for word in words], np.int64), merges)
    texts, base = corpus.symbols.texts, corpus.base
    stats = defaultdict(int, corpus.counts)
    everything = dict(stats)
    if not stats:
        return []
    inverted: list[str] = []

    def entry(key: int) -> tuple[int, str, str, int]:
        while len(inverted) < len(texts):  # so that the last in the alphabet comes first
            text = texts[len(inverted)]
            inverted.append("".join(chr(0x10FFFF - ord(c)) for c in text) + "\U0010ffff")
        left, right = divmod(key, base)
        return -stats[key], inverted[left], inverted[right], key

    heap: list[tuple[int, str, str, int]] = []

    def best() -> int | None:
        while heap:
            count, _, _, key = heap[0]
            if stats.get(key) == -count:
                return key
            heapq.heappop(heap)
        return None

    def set_aside(threshold: float) -> None:
        for key, count in list(stats.items()):
            if count < threshold:
                del stats[key]
                everything[key] = count if count >= 0 else everything.get(key, 0) + count

    def refill() -> None:
        heap[:] = [entry(key) for key in stats]
        heapq.heapify(heap)

    threshold: float = max(stats.values()) / 10
    refill()
    found: list[Merge] = []
    for step in range(merges):
        top = best()
        if top is None or (step and stats[top] < threshold):
            set_aside(threshold)
            stats = defaultdict(int, everything)
            refill()
            top = best()
            if top is None:
                break
            threshold = stats[top] * step / (step + 10000.0)
            set_aside(threshold)
        if stats[top] < min_frequency:
            break
        found.append((texts[top // base], texts[top % base]))
        lost, made = corpus.merge(top)
        stats[top] = 0
        for key, count in lost.items():
            stats[key] -= count
        for key, count in made.items():
            stats[key] += count
        stats[top] = 0
        for key in lost.keys() | made.keys():
            # Pairs below the threshold are set aside before they could be the best.
            if stats[key] > 0 and stats[key] >= threshold:
                heapq.heappush(heap, entry(key))
        if not step % 100:
            set_aside(threshold)
    return found


def write_codes(path: Path, merges: Iterable[Merge]) -> None:
    """Write merges as a codes file of subword-nmt."""
    write_lines(path, [_VERSION, *(f"{left} {right}" for left, right in merges)])


def read_codes(path: Path) -> list[Merge]:
    """Read a codes file of subword-nmt (version 0.2).

    Raises RecipeError with file and line for another version and for lines that do not hold
    two units.
    """
    lines = read_lines(path)
    if next(lines, "") != _VERSION:
        raise RecipeError(f"{path}, line 1: expected {_VERSION!r}; older codes are not read")
    merges = []
    for number, line in enumerate(lines, start=2):
        units = line.strip(" ").split(" ")
        if len(units) != 2:
            raise RecipeError(f"{path}, line {number}: expected two units, not {line!r}")
        merges.append((units[0], units[1]))
    return merges


def all_units(merges: Iterable[Merge], cut: Iterable[str]) -> list[str]:
    """Every unit that BPE-dropout can make of a text; `cut` holds the units it has without."""
    characters = {char for unit in cut for char in unit.removesuffix(SEPARATOR)}
    units = {char + end for char in characters for end in ("", SEPARATOR)}
    for left, right in merges:
        for text in (left, right, left + right):
            final = text.endswith(_END)
            units.add(text.removesuffix(_END) if final else text + SEPARATOR)
    return sorted(units)


class Encoder:
    """Cuts lines as `subword-nmt apply-bpe` does.

    `vocabulary` holds units, with `@@` where a word goes on; others are cut further. Words that
    match one of the regular expressions in `glossaries` stay whole.
    """

    def __init__(
        self,
        merges: Sequence[Merge],
        vocabulary: Set[str] = frozenset(),
        glossaries: Sequence[str] = (),
    ) -> None:
        ranks = {merge: rank for rank, merge in reversed(list(enumerate(merges)))}
        # Of two merges to one text the tool remembers the first, as its loop runs backwards.
        self._parts = {left + right: (left, right) for left, right in ranks}
        self._vocabulary = vocabulary
        self._glossaries = list(glossaries)
        self._whole = re.compile(f"^({'|'.join(glossaries)})$") if glossaries else None
        self._symbols = _Symbols()
        for left, right in merges:
            for text in (left, right, left + right):
                self._symbols.number(text)
        self._known = len(self._symbols.texts)
        number = self._symbols.numbers
        keyed = sorted(
            (number[left] * self._known + number[right], rank, number[left + right])
            for (left, right), rank in ranks.items()
        )
        columns = np.array(keyed or [(-1, 0, 0)], np.int64)
        self._keys, self._ranks, self._results = np.ascontiguousarray(columns.T)
        self._cache: dict[str, str] = {"": "", "\n": "\n"}

    def encode(self, lines: Sequence[str]) -> list[str]:
        """Cut lines into units separated by spaces."""
        # The tool leaves outer spaces as they are, and squashes inner ones.
        odd = [i for i, line in enumerate(lines) if "  " in line or line != line.strip("\r ")]
        if odd:
            bare = list(lines)
            for i in odd:
                bare[i] = " ".join(filter(None, lines[i].strip("\r ").split(" ")))
            cut = self.encode(bare)
            for i in odd:
                cut[i] = _with_spaces(lines[i], cut[i])
            return cut
        # One pass over the words of all lines; the line ends are words among them.
        words = "\n".join(lines).replace("\n", " \n ").split(" ")
        new = set(words) - self._cache.keys()
        if len(self._cache) + len(new) > _CACHE_WORDS:
            self._cache = {"": "", "\n": "\n"}
            new = set(words) - self._cache.keys()
        distinct = list(new)
        self._cache.update(zip(distinct, self._cut(distinct), strict=True))
        joined = " ".join(map(self._cache.__getitem__, words))
        return joined.replace(" \n ", "\n").split("\n") if lines else []

    def sample(
        self, lines: Sequence[str], dropout: float, generator: np.random.Generator
    ) -> list[str]:
        """Cut lines with BPE-dropout (Provilkov et al. 2020): each time another way.

        At each step each possible merge is left out with probability `dropout`.
        """
        split = [[word for word in line.split(" ") if word] for line in lines]
        cut = iter(self._cut([word for words in split for word in words], dropout, generator))
        return [" ".join(next(cut) for _ in words) for words in split]

    def _cut(
        self,
        words: Sequence[str],
        dropout: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> list[str]:
        segments = [[word] for word in words]
        if self._glossaries:
            segments = [self._isolated(word) for word in words]
        flat = [segment for parts in segments for segment in parts]
        plain = [s for s in flat if not (self._whole and self._whole.match(s))]
        cut = dict(enumerate(self._merged(plain, dropout, generator)))
        units, done = [], 0
        for parts in segments:
            pieces: list[str] = []
            for segment in parts:
                if self._whole and self._whole.match(segment):
                    pieces.append(segment)
                    continue
                own = cut[done]
                done += 1
                if self._vocabulary and len(segment) > 1:
                    own = check_vocab_and_split(own, self._parts, self._vocabulary, SEPARATOR)
                pieces += own
            units.append((SEPARATOR + " ").join(pieces))
        return units

    def _isolated(self, word: str) -> list[str]:
        parts = [word]
        for glossary in self._glossaries:
            parts = [piece for part in parts for piece in isolate_glossary(part, glossary)]
        return parts

    def _merged(
        self, words: Sequence[str], dropout: float, generator: np.random.Generator | None
    ) -> list[list[str]]:
        """The units of each word: in each round, each word merges its first pair everywhere."""
        if not words:
            return []
        text, starts = self._symbols.split(words)
        word = np.repeat(np.arange(len(words)), np.diff(starts, append=len(text)))
        done: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        while True:
            # The last symbol of a word has no pair; nor has a symbol that no merge knows.
            same = np.append(word[1:] == word[:-1], False)
            right = np.append(text[1:], 0)
            able = same & (text < self._known) & (right < self._known)
            keys = np.where(able, text * self._known + right, -2)
            found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            ranks = np.where(self._keys[found] == keys, self._ranks[found], _NONE)
            if generator is not None:
                ranks[generator.random(len(ranks)) < dropout] = _NONE
            first = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
            lowest = np.minimum.reduceat(ranks, first)
            lengths = np.diff(first, append=len(word))
            active = np.repeat(lowest != _NONE, lengths)
            done.append((word[~active], text[~active]))
            if not active.any():
                break
            place = np.flatnonzero(active & (ranks == np.repeat(lowest, lengths)))
            place = place[_every_other(place, np.arange(-1, len(text)))]
            text = text.copy()
            text[place] = self._results[found[place]]
            active[place + 1] = False
            text, word = text[active], word[active]
        owner = np.concatenate([part[0] for part in done])
        order = np.argsort(owner, kind="stable")
        symbols = np.concatenate([part[1] for part in done])[order].tolist()
        texts = self._symbols.texts
        bounds = np.cumsum(np.bincount(owner, minlength=len(words))).tolist()
        result, begin = [], 0
        for end in bounds:
            units = [texts[number] for number in symbols[begin:end]]
            units[-1] = units[-1].removesuffix(_END)
            result.append(units if units[-1] else units[:-1])
            begin = end
        return result


def _with_spaces(line: str, text: str) -> str:
    """`text` with the outer white space of `line`; of a blank line the tool keeps the front."""
    front = len(line) - len(line.lstrip("\r "))
    back = len(line) - len(line.rstrip("\r "))
    return line[:front] + text + (line[-back:] if back and back != len(line) else "")
