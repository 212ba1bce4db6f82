"""Numbers about the characters of many lines at once, by table look-up instead of loops."""

import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Nothing is assigned above but private use, tags and variation selectors.
_CODES = 0x33480
_NEWLINE = 10

# Script, as ISO 15924 calls it → the first words of its letters' Unicode names.
_SCRIPT_NAMES = {
    "Latn": "LATIN", "Cyrl": "CYRILLIC", "Grek": "GREEK", "Arab": "ARABIC", "Hebr": "HEBREW",
    "Deva": "DEVANAGARI", "Beng": "BENGALI", "Gujr": "GUJARATI", "Guru": "GURMUKHI",
    "Orya": "ORIYA", "Taml": "TAMIL", "Telu": "TELUGU", "Knda": "KANNADA", "Mlym": "MALAYALAM",
    "Sinh": "SINHALA", "Thai": "THAI", "Laoo": "LAO", "Tibt": "TIBETAN", "Mymr": "MYANMAR",
    "Geor": "GEORGIAN", "Ethi": "ETHIOPIC", "Khmr": "KHMER", "Armn": "ARMENIAN",
    "Hang": "HANGUL", "Hani": "CJK", "Hira": "HIRAGANA", "Kana": "KATAKANA",
    "Tfng": "TIFINAGH", "Nkoo": "NKO",
}  # fmt: skip
SCRIPTS = ("other", *_SCRIPT_NAMES)
# Scripts that one language writes together.
_COMPOSITE = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Hani", "Hira", "Kana"),
              "Hang": ("Hang", "Hani")}  # fmt: skip


@cache
def _table(kind: str) -> NDArray[np.bool_]:
    """For each code point, whether it is of a kind: space, mark, punctuation, digit, word."""
    tests: dict[str, Any] = {
        "space": lambda char, category: char.isspace(),
        "mark": lambda char, category: category[0] == "M",
        "punctuation": lambda char, category: category[0] in "PS",
        "digit": lambda char, category: category == "Nd",
        "word": lambda char, category: category[0] in "LMN",
    }
    test = tests[kind]
    chars = map(chr, range(_CODES))
    return np.fromiter((test(c, unicodedata.category(c)) for c in chars), bool, _CODES)


@cache
def _scripts() -> NDArray[np.uint8]:
    """For each code point, the number of its script in SCRIPTS if it is a letter, else 255."""
    numbers = {name: SCRIPTS.index(code) for code, name in _SCRIPT_NAMES.items()}
    table = np.full(_CODES, 255, np.uint8)
    for code in range(_CODES):
        if chr(code).isalpha():
            first = unicodedata.name(chr(code), "").partition(" ")[0]
            table[code] = numbers.get(first, 255 if first in ("MODIFIER", "COMBINING") else 0)
    table[[0xAA, 0xBA, 0xB5]] = 255  # ª º µ belong to no text's script
    return table


def script_columns(script: str) -> list[int]:
    """The columns of `Side.scripts` that text in a language of this script may use."""
    return [SCRIPTS.index(name) for name in _COMPOSITE.get(script, (script,)) if name in SCRIPTS]


class Side:
    """The lines of one side of a block of bitext; a line holds no line separator."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        text = "\n".join(self.lines) + "\n"
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        return np.minimum(codes, _CODES - 1)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        ends = np.flatnonzero(self._codes == _NEWLINE)
        return np.concatenate([[0], ends[:-1] + 1])

    def _per_line(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        # Each line counts at least its newline, so that no segment is empty.
        if not self.lines:
            return np.zeros(0, np.int32)
        return np.add.reduceat(mask, self._starts, dtype=np.int32)

    @cached_property
    def characters(self) -> NDArray[np.int32]:
        """Code points in each line."""
        return np.diff(self._starts, append=len(self._codes)).astype(np.int32) - 1

    def count(self, kind: str) -> NDArray[np.int32]:
        """Characters of a kind in each line: `space`, `mark`, `punctuation`, `digit`, `word`."""
        mask = _table(kind)[self._codes]
        if kind == "space":
            mask &= self._codes != _NEWLINE
        return self._per_line(mask)

    @cached_property
    def _word_starts(self) -> NDArray[np.bool_]:
        space = _table("space")[self._codes]
        starts = ~space
        starts[1:] &= space[:-1]
        return starts

    @cached_property
    def words(self) -> NDArray[np.int32]:
        """Words between white space in each line, as `len(line.split())`."""
        return self._per_line(self._word_starts)

    @cached_property
    def longest_word(self) -> NDArray[np.int32]:
        """Characters of the longest word in each line."""
        space = _table("space")[self._codes]
        edges = np.flatnonzero(space)
        lengths = np.zeros(len(self._codes), np.int32)
        lengths[edges] = np.diff(edges, prepend=-1) - 1
        return np.maximum.reduceat(lengths, self._starts) if self.lines else lengths

    @cached_property
    def scripts(self) -> NDArray[np.int32]:
        """Letters of each of SCRIPTS (columns) in each line (rows)."""
        scripts = _scripts()[self._codes]
        letters = np.flatnonzero(scripts != 255)
        line = np.searchsorted(self._starts, letters, side="right") - 1
        cells = line * len(SCRIPTS) + scripts[letters]
        size = len(self.lines) * len(SCRIPTS)
        return np.bincount(cells, minlength=size).reshape(-1, len(SCRIPTS)).astype(np.int32)

    @cached_property
    def squashed(self) -> list[str]:
        """The lines without what hides an overlap; see `squash`."""
        return squash(self.lines)

    @cached_property
    def hashes(self) -> NDArray[np.int64]:
        """A number for each line, equal for equal lines, in this process and its forks only."""
        return np.fromiter(map(hash, self.lines), np.int64, len(self.lines))


def squash(lines: Sequence[str]) -> list[str]:
    """Lines without letter case, compatibility forms, spaces and punctuation.

    A line of nothing but punctuation stays as it is: else all of them would be equal.
    """
    text = "\n".join(lines)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    codes = np.frombuffer(text.casefold().encode("utf-32-le"), np.uint32)
    keep = _table("word")[np.minimum(codes, _CODES - 1)] | (codes == _NEWLINE)
    bare = codes[keep].tobytes().decode("utf-32-le").split("\n")
    return [short or line for short, line in zip(bare, lines, strict=True)] if lines else []


def earlier_equal(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each key, how many equal ones stand before it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(keys) else ordered == 0
    position = np.arange(len(keys))
    first = np.maximum.accumulate(np.where(new, position, 0)) if len(keys) else position
    result = np.empty(len(keys), np.int64)
    result[order] = position - first
    return result
