"""Numbers about the characters of many lines at once, by table look-up instead of loops."""

import re
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
    "Tfng": "TIFINAGH", "Nkoo": "NKO", "Olck": "OL",
}  # fmt: skip
# Blocks of one script, all of them letters.
_BLOCKS = ((0x3400, 0x4DBF, "Hani"), (0x4E00, 0x9FFF, "Hani"), (0xAC00, 0xD7A3, "Hang"),
           (0x20000, 0x2A6DF, "Hani"), (0x2A700, 0x2EBE0, "Hani"))  # fmt: skip
SCRIPTS = ("other", *_SCRIPT_NAMES)
# Instead of a place in SCRIPTS, of what is no letter.
NO_SCRIPT = 255
# Scripts that one language writes together.
_COMPOSITE = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Hani", "Hira", "Kana"),
              "Hang": ("Hang", "Hani")}  # fmt: skip


_KINDS = ("space", "punctuation", "digit", "word", "composed", "hidden", "odd space")
# Characters that show nothing: controls, soft hyphen, zero-width space, word joiner, as a set of
# a regular expression. The joiners U+200C and U+200D are parts of letters in many scripts.
HIDDEN = "\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff"


@cache
def _kinds() -> NDArray[np.uint8]:
    """For each code point, one bit for each of _KINDS that it is of."""
    kinds_of = {"M": ("word",), "P": ("punctuation",), "S": ("punctuation",),
                "L": ("word",), "N": ("word",), "Nd": ("digit", "word")}  # fmt: skip
    chars = [chr(code) for code in range(_CODES)]
    categories = list(map(unicodedata.category, chars))
    bits = {
        category: sum(
            1 << _KINDS.index(kind)
            for kind in kinds_of.get(category, kinds_of.get(category[0], ()))
        )
        for category in set(categories)
    }
    spaces = [char for char in chars if char.isspace()]
    table = np.fromiter(map(bits.__getitem__, categories), np.uint8, _CODES)
    for kind, found in (
        ("space", spaces),
        ("odd space", [char for char in spaces if char not in " \n"]),
        ("composed", [c for c in chars if unicodedata.decomposition(c)[:1] not in ("", "<")]),
        ("hidden", re.findall(f"[{HIDDEN}]", "".join(chars))),
    ):
        table[list(map(ord, found))] |= 1 << _KINDS.index(kind)
    return table


@cache
def _digit_values() -> NDArray[np.uint8]:
    """For each code point, the digit that it is, or 0."""
    return np.fromiter((unicodedata.decimal(chr(c), 0) for c in range(_CODES)), np.uint8, _CODES)


@cache
def _scripts() -> NDArray[np.uint8]:
    """For each code point, the number in SCRIPTS of its script, or NO_SCRIPT if it is no letter."""
    numbers = {name: SCRIPTS.index(code) for code, name in _SCRIPT_NAMES.items()}
    table = np.full(_CODES, NO_SCRIPT, np.uint8)
    for first, last, script in _BLOCKS:  # names of 120,000 characters take their time
        table[first : last + 1] = SCRIPTS.index(script)
    for code in np.flatnonzero(table == NO_SCRIPT).tolist():
        if chr(code).isalpha():
            word = re.split("[ -]", unicodedata.name(chr(code), ""))[0]
            table[code] = numbers.get(word, NO_SCRIPT if word in ("MODIFIER", "COMBINING") else 0)
    table[0x3005] = SCRIPTS.index("Hani")  # 々
    table[[0xAA, 0xBA, 0xB5]] = NO_SCRIPT  # ª º µ belong to no text's script
    return table


def script_of(char: str) -> int:
    """The number of a letter's script in SCRIPTS, or NO_SCRIPT."""
    return int(_scripts()[ord(char)]) if ord(char) < _CODES else NO_SCRIPT


def script_columns(script: str) -> list[int]:
    """The columns of `Side.scripts` that text in a language of this script may use."""
    return [SCRIPTS.index(name) for name in _COMPOSITE.get(script, (script,)) if name in SCRIPTS]


@cache
def _last_kinds() -> NDArray[np.uint8]:
    """For each code point, which of the signs that end a sentence or clause it is, or 0."""
    table = np.zeros(_CODES, np.uint8)
    for kind, signs in enumerate((".。।۔։።|", "?？؟;", "!！", ":：፦", ",،、，፣", "…"), start=1):
        table[[ord(sign) for sign in signs]] = kind
    return table


class Side:
    """The lines of one side of a block of bitext; a line holds no line separator."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    @cached_property
    def text(self) -> str:
        """All lines, each with a newline."""
        return "\n".join(self.lines) + "\n" if self.lines else ""

    @cached_property
    def _codes(self) -> NDArray[np.intp]:
        # Of numpy's own index type: the tables are looked up in it again and again.
        return np.frombuffer(self.text.encode("utf-32-le"), np.int32).astype(np.intp)

    def _look_up(self, table: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = np.take(table, self._codes, mode="clip")
        return found

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        ends = np.flatnonzero(self._codes == _NEWLINE)
        return np.concatenate([[0], ends + 1])[:-1]

    def _per_line(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        # Each line counts at least its newline, so that no segment is empty.
        if not mask.any():
            return np.zeros(len(self.lines), np.int32)
        return np.add.reduceat(mask, self._starts, dtype=np.int32)

    @cached_property
    def characters(self) -> NDArray[np.int32]:
        """Code points in each line."""
        return np.diff(self._starts, append=len(self._codes)).astype(np.int32) - 1

    @cached_property
    def _bits(self) -> NDArray[np.uint8]:
        return self._look_up(_kinds())

    @cached_property
    def _space(self) -> NDArray[np.bool_]:
        return self._mask("space")

    def _mask(self, kind: str) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = (self._bits & (1 << _KINDS.index(kind))) != 0
        return mask

    def count(self, kind: str) -> NDArray[np.int32]:
        """Characters of a kind in each line.

        Kinds are `space`, `punctuation`, `digit`, `word` (letters, marks and numbers),
        `composed` (letters that NFD takes apart, but for Hangul), `hidden` (see HIDDEN) and
        `odd space` (all but U+0020).
        """
        counts = self._per_line(self._mask(kind))
        return counts - 1 if kind == "space" else counts  # but for the newline

    @cached_property
    def _word_starts(self) -> NDArray[np.bool_]:
        starts = ~self._space
        starts[1:] &= self._space[:-1]
        return starts

    @cached_property
    def words(self) -> NDArray[np.int32]:
        """Words between white space in each line, as `len(line.split())`."""
        return self._per_line(self._word_starts)

    @cached_property
    def untidy(self) -> NDArray[np.bool_]:
        """Lines with outer or double spaces, or with other spaces than U+0020."""
        if not self.lines:
            return np.zeros(0, bool)
        # Two spaces in a row, where the newlines count as spaces but not two of them.
        wrong = self._space.copy()
        wrong[1:] &= self._space[:-1]
        places = np.flatnonzero(wrong)
        before = np.where(places > 0, self._codes[places - 1], _NEWLINE)
        wrong[places[(self._codes[places] == _NEWLINE) & (before == _NEWLINE)]] = False
        return self._per_line(wrong | self._mask("odd space")) > 0

    @cached_property
    def longest_word(self) -> NDArray[np.int32]:
        """Characters of the longest word in each line."""
        edges = np.flatnonzero(self._space)
        lengths = (np.diff(edges, prepend=-1) - 1).astype(np.int32)
        first = np.searchsorted(edges, self._starts)
        return np.maximum.reduceat(lengths, first) if self.lines else lengths

    @cached_property
    def scripts(self) -> NDArray[np.int32]:
        """Letters of each of SCRIPTS (columns) in each line (rows)."""
        scripts = self._look_up(_scripts())
        found = scripts.tobytes()
        result = np.zeros((len(self.lines), len(SCRIPTS)), np.int32)
        for number in range(len(SCRIPTS)):
            if bytes([number]) not in found:
                continue
            result[:, number] = self._per_line(scripts == number)
        return result

    @cached_property
    def last_kind(self) -> NDArray[np.uint8]:
        """A number for the last character of each line, equal for `.` and `।` but not `?`."""
        # The character before the newline; of an empty line that is the one before it.
        ends = self._starts + self.characters - 1
        return np.where(
            self.characters > 0, _last_kinds()[np.minimum(self._codes[ends], _CODES - 1)], 0
        ).astype(np.uint8)

    def matches(self, pattern: re.Pattern[str], *needs: str) -> int:
        """Lines in which a pattern is found that needs one of `needs`, and never a newline."""
        if not any(need in self.text for need in needs):
            return 0
        places = [match.start() for match in pattern.finditer(self.text)]
        return len(np.unique(np.searchsorted(self._starts, places, side="right")))

    @cached_property
    def squashed(self) -> list[str]:
        """The lines without what hides an overlap; see `squash`."""
        return squash(self.lines)

    @cached_property
    def _sums(self) -> NDArray[np.uint64]:
        return _prefix_sums(self._codes)

    @cached_property
    def hashes(self) -> NDArray[np.int64]:
        """A number for each line, equal for equal lines, and hardly ever for others.

        (For strings made to that end it is: this is to count with, not to drop lines by.)
        """
        return _hashes(self._sums, self._starts, self._starts + self.characters)

    @cached_property
    def word_hashes(self) -> NDArray[np.int64]:
        """A number for each word in the order of the text, equal for equal words."""
        ends = np.flatnonzero(self._space[1:] & ~self._space[:-1]) + 1
        return _hashes(self._sums, np.flatnonzero(self._word_starts), ends)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """A number for each line, equal for lines with the same digit runs; 0 for none.

        The digits of all scripts are the same, and the order of the runs does not matter.
        """
        digit = self._mask("digit")
        edges = np.flatnonzero(np.diff(digit, prepend=False))  # the text ends in a newline
        starts, ends = edges[::2], edges[1::2]
        values = self._look_up(_digit_values())
        # Added up within each line.
        runs = np.concatenate([[0], np.cumsum(_hashes(_prefix_sums(values), starts, ends))])
        bounds = np.searchsorted(starts, np.append(self._starts, len(self._codes)))
        return np.diff(runs[bounds])


_BASE, _FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_power_table = np.ones((2, 1), np.uint64)


def _prefix_sums(values: NDArray[Any]) -> NDArray[np.uint64]:
    terms = (values.astype(np.uint64) + np.uint64(1)) * _FACTOR * _powers(len(values))[0]
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])


def _hashes(
    sums: NDArray[np.uint64], starts: NDArray[np.intp], ends: NDArray[np.intp]
) -> NDArray[np.int64]:
    # A polynomial modulo 2^64; powers of an odd number can be divided away again, so that a piece
    # of text has the same hash wherever it stands (Karp & Rabin 1987).
    hashes: NDArray[np.uint64] = (sums[ends] - sums[starts]) * _powers(len(sums))[1][starts]
    # Mixed, so that sums of hashes tell 1 and 3 from 2 and 2 (Stafford's variant 13).
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    return (hashes ^ (hashes >> np.uint64(31))).view(np.int64)


def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of the hash's base, and of its inverse, modulo 2^64."""
    global _power_table
    if _power_table.shape[1] < size:
        table = np.ones((2, 2 * size), np.uint64)
        table[0, 1:] = _BASE
        table[1, 1:] = pow(int(_BASE), -1, 2**64)
        _power_table = np.cumprod(table, axis=1, out=table)
    return _power_table[0, :size], _power_table[1, :size]


def squash(lines: Sequence[str]) -> list[str]:
    """Lines without letter case, compatibility forms, spaces and punctuation.

    A line of nothing but punctuation stays as it is: else all of them would be equal.
    """
    text = "\n".join(
        line if line.isascii() else unicodedata.normalize("NFKC", line) for line in lines
    )
    codes = np.frombuffer(text.casefold().encode("utf-32-le"), np.uint32)
    word = np.take(_kinds(), codes, mode="clip") & (1 << _KINDS.index("word"))
    keep = (word != 0) | (codes == _NEWLINE)
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
