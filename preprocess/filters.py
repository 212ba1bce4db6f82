"""Scores by which pairs are kept or dropped.

A filter is a score and the range it must lie in: `word_ratio: {max: 2.5}`. The functions here
only measure; the ranges stand in the recipe's YAML file, and preprocess.clean compares.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.languages import find
from preprocess.features import Side, script_columns

Scores = NDArray[Any]  # one number a pair, or a row of two: source and target

_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")


@dataclass
class Pairs:
    """One block of bitext, and what its scores may refer to."""

    source: Side
    target: Side
    source_language: str
    target_language: str
    held_out: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    external: dict[Path, list[list[str]]] | None = None
    first_line: int = 1
    usual_ratio: float = 1.0  # characters of the target over those of the source

    @property
    def sides(self) -> tuple[Side, Side]:
        """Source and target."""
        return self.source, self.target


def _both(values: list[Any]) -> Scores:
    return np.stack(values, axis=1)


def empty(pairs: Pairs) -> Scores:
    """1 for a side without any text."""
    return _both([side.words == 0 for side in pairs.sides]).astype(int)


def words(pairs: Pairs) -> Scores:
    """Words between spaces; no measure for languages that write none."""
    return _both([side.words for side in pairs.sides])


def characters(pairs: Pairs) -> Scores:
    """Unicode code points."""
    return _both([side.characters for side in pairs.sides])


def longest_word(pairs: Pairs) -> Scores:
    """Characters of the longest word."""
    return _both([side.longest_word for side in pairs.sides])


def subwords(pairs: Pairs, model: str) -> Scores:
    """Subwords by the model in a directory that preprocess.subword made."""
    codec = _codec(model)
    return _both(
        [
            [len(line) for line in codec.cut(side.lines, code)]
            for side, code in zip(pairs.sides, _languages(pairs), strict=True)
        ]
    )


@cache
def _codec(model: str) -> Any:
    from preprocess.codec import Codec

    return Codec(Path(model))


def word_ratio(pairs: Pairs, add: float = 3) -> Scores:
    """Words of the longer side over those of the shorter, after adding `add` to both.

    Two words against five are no sign of trouble; twenty against fifty are. With `add: 0` it is
    the ratio of Moses' clean-corpus-n.
    """
    return _ratio(pairs.source.words, pairs.target.words, add)


def character_ratio(pairs: Pairs, add: float = 15) -> Scores:
    """As `word_ratio`, in characters."""
    return _ratio(pairs.source.characters, pairs.target.characters, add)


def length_ratio(pairs: Pairs, add: float = 15) -> Scores:
    """As `character_ratio`, over the ratio that is usual in this text.

    Good for all languages: Chinese has a third of the characters of its English, and no spaces.
    """
    return _ratio(pairs.source.characters * pairs.usual_ratio, pairs.target.characters, add)


def _ratio(left: NDArray[Any], right: NDArray[Any], add: float) -> Scores:
    longer, shorter = np.maximum(left, right) + add, np.minimum(left, right) + add
    ratio: Scores = longer / np.maximum(shorter, 1e-9)
    return ratio


def copy(pairs: Pairs) -> Scores:
    """1 where both sides are equal (such pairs teach to copy: Khayrallah & Koehn 2018)."""
    return np.fromiter(
        (s == t for s, t in zip(pairs.source.lines, pairs.target.lines, strict=True)), int
    )


def script(pairs: Pairs) -> Scores:
    """Share of the letters that are of the language's own script; 1 for a line without any."""
    shares = []
    for side, code in zip(pairs.sides, _languages(pairs), strict=True):
        letters, columns = side.scripts.sum(axis=1), script_columns(find(code).script)
        # A script that is not told from others may be any.
        own = side.scripts[:, columns].sum(axis=1) if columns else letters
        shares.append(np.where(letters, own / np.maximum(letters, 1), 1.0))
    return _both(shares)


def scripts(pairs: Pairs) -> Scores:
    """Scripts that one side mixes, such as 2 for `Нови Sad`."""
    return _both([(side.scripts > 0).sum(axis=1) for side in pairs.sides])


def language(pairs: Pairs, side: str = "both") -> Scores:
    """Probability, by py3langid, that a side is in its language (Lui & Baldwin 2012).

    `side` is source, target, or both. Unsure of short lines and of close relatives: look at what
    a threshold drops.
    """
    both = list(zip(pairs.sides, _languages(pairs), strict=True))
    chosen = {"source": both[:1], "target": both[1:], "both": both}.get(side)
    if chosen is None:
        raise RecipeError(f"filter language: side is source, target or both, not {side}")
    for _, code in chosen:
        if not identifiable(code):
            raise RecipeError(
                f"filter language: py3langid does not know {find(code).name}; take the filter out"
            )
    return _both([_probabilities(text.lines, told_as(code)) for text, code in chosen])


def _probabilities(lines: Sequence[str], code: str) -> list[float]:
    """Of each line, that it is in a language; the ranks are best first, so most end at once."""
    ranks = map(_langid().rank, lines)
    return [next((float(p) for name, p in rank if name == code), 0.0) for rank in ranks]


@cache
def _langid() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identifier(line: str) -> dict[str, float]:
    """Languages, as py3langid calls them (see `told_as`), and their probabilities for a line."""
    return {code: float(share) for code, share in _langid().rank(line)}


def told_as(code: str) -> str:
    """The name that py3langid has for a language, or would have."""
    language, known = find(code), _langid().nb_classes
    names = (language.moses, language.iso3, "no" if language.iso3 == "nob" else "")
    return next((name for name in names if name in known), language.moses)


def identifiable(code: str) -> bool:
    """Whether py3langid knows a language."""
    return told_as(code) in _langid().nb_classes


def and_language(
    filters: list[dict[str, dict[str, Any] | None]], code: str, side: str
) -> list[dict[str, dict[str, Any] | None]]:
    """These filters, and that a side is not plainly in another language, where that can be told."""
    if identifiable(code):
        return [*filters, {"language": {"min": 0.001, "side": side}}]
    print(f"py3langid does not know {code}: languages are not checked")
    return filters


def _languages(pairs: Pairs) -> tuple[str, str]:
    return pairs.source_language, pairs.target_language


def digits(pairs: Pairs) -> Scores:
    """Numbers that only one side holds: 2 for `12 May` against `13 May`."""
    some = pairs.source.numbers != pairs.target.numbers
    return _differences(pairs, some, number_list)


def number_list(line: str) -> list[str]:
    """The digit runs of a line, in ASCII digits, sorted: the same in any language."""
    found = _DIGITS.findall(line)
    if not line.isascii():
        found = ["".join(str(int(digit)) for digit in run) for run in found]
    return sorted(found)


def urls(pairs: Pairs) -> Scores:
    """Web addresses that only one side holds."""
    some = np.fromiter(
        ("://" in s or "://" in t or "www." in s.lower() or "www." in t.lower()
         for s, t in zip(pairs.source.lines, pairs.target.lines, strict=True)), bool
    )  # fmt: skip
    return _differences(pairs, some, lambda line: sorted(_URL.findall(line)))


def _differences(
    pairs: Pairs, some: NDArray[np.bool_], extract: Callable[[str], list[str]]
) -> Scores:
    result = np.zeros(len(some), int)
    for row in np.flatnonzero(some).tolist():
        left, right = extract(pairs.source.lines[row]), extract(pairs.target.lines[row])
        if left != right:
            both = sum(min(left.count(item), right.count(item)) for item in set(left))
            result[row] = len(left) + len(right) - 2 * both
    return result


def repetition(pairs: Pairs) -> Scores:
    """How often in a row one word, or a group of up to four, stands in a side."""
    return _both([[repeats(line) for line in side.lines] for side in pairs.sides])


def repeats(line: str) -> int:
    """As `repetition`, for one line; 1 where nothing repeats at once."""
    tokens = line.split()
    if len(set(tokens)) == len(tokens):
        return min(1, len(tokens))
    longest = 1
    for size in range(1, 5):
        run = 0
        for place in range(size, len(tokens)):
            run = run + 1 if tokens[place] == tokens[place - size] else 0
            longest = max(longest, run // size + 1)
    return longest


def punctuation(pairs: Pairs) -> Scores:
    """Share of punctuation and symbols among the characters that are not spaces."""
    return _both(
        [
            side.count("punctuation") / np.maximum(side.characters - side.count("space"), 1)
            for side in pairs.sides
        ]
    )


def held_out(pairs: Pairs) -> Scores:
    """1 for a side that also stands in dev or test, letter case, spaces, punctuation aside."""
    return _both(
        [
            np.fromiter((line in held for line in side.squashed), int, len(side.lines))
            for side, held in zip(pairs.sides, pairs.held_out, strict=True)
        ]
    )


def external(pairs: Pairs, file: str, column: int) -> Scores:
    """A number from a column (counted from 1) of a TSV file with one line for each pair."""
    rows = (pairs.external or {})[Path(file)]
    result = np.empty(len(rows))
    for place, row in enumerate(rows):
        try:
            result[place] = float(row[column - 1])
        except (IndexError, ValueError) as error:
            raise RecipeError(
                f"{file}, line {pairs.first_line + place}: column {column} holds no number"
            ) from error
    return result


# The next ones count earlier kept pairs; the hash of what is compared stands for it.
def repeated_pair(pairs: Pairs) -> Scores:
    """Earlier pairs that are equal on both sides."""
    return _hashed(zip(pairs.source.lines, pairs.target.lines, strict=True), pairs)


def nearly_repeated(pairs: Pairs) -> Scores:
    """Earlier pairs equal but for letter case, spaces and punctuation."""
    return _hashed(zip(pairs.source.squashed, pairs.target.squashed, strict=True), pairs)


def repeated_source(pairs: Pairs) -> Scores:
    """Earlier pairs with the same source: `{max: 0}` keeps its first translation only."""
    return _hashed(pairs.source.lines, pairs)


def repeated_target(pairs: Pairs) -> Scores:
    """Earlier pairs with the same target."""
    return _hashed(pairs.target.lines, pairs)


def _hashed(items: Any, pairs: Pairs) -> Scores:
    return np.fromiter(map(hash, items), np.int64, len(pairs.source.lines))


OF_A_PAIR = {
    f.__name__: f
    for f in (empty, words, characters, longest_word, subwords, word_ratio, character_ratio,
              length_ratio, copy, script, scripts, language, digits, urls, repetition, punctuation,
              held_out, external)
}  # fmt: skip
OF_THE_CORPUS = {
    f.__name__: f for f in (repeated_pair, nearly_repeated, repeated_source, repeated_target)
}


@dataclass(frozen=True)
class Filter:
    """A score, what it is given, and the range that keeps a pair."""

    name: str
    score: Callable[..., Scores]
    parameters: dict[str, Any]
    least: float
    most: float

    @property
    def of_the_corpus(self) -> bool:
        """Whether it counts earlier pairs, rather than looking at one."""
        return self.name in OF_THE_CORPUS


def read_filters(given: list[dict[str, dict[str, Any] | None]]) -> list[Filter]:
    """Filters from a YAML list such as `- words: {min: 1, max: 200}`.

    Raises RecipeError, with the nearest name, for unknown filters and settings.
    """
    known = {**OF_A_PAIR, **OF_THE_CORPUS}
    filters = []
    for number, entry in enumerate(given, start=1):
        where = f"filters, entry {number}"
        if not isinstance(entry, dict) or len(entry) != 1:
            raise RecipeError(f"{where}: expected 'name: {{min: …, max: …}}', not {entry!r}")
        name, settings = next(iter(entry.items()))
        settings = dict(settings or {})
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5) or sorted(known)
            raise RecipeError(f"{where}: no filter is called {name!r}; {', '.join(near)}?")
        limits = settings.pop("min", -np.inf), settings.pop("max", np.inf)
        parameters = [*inspect.signature(known[name]).parameters.values()][1:]
        names = [parameter.name for parameter in parameters]
        if unknown := settings.keys() - set(names):
            allowed = ", ".join(["min", "max", *names])
            raise RecipeError(f"{where}: {name} has no {sorted(unknown)[0]!r}; only {allowed}")
        for parameter in parameters:
            if parameter.default is parameter.empty and parameter.name not in settings:
                raise RecipeError(f"{where}: {name} needs {parameter.name}")
        if not all(isinstance(limit, int | float) for limit in limits) or limits == (
            -np.inf,
            np.inf,
        ):
            raise RecipeError(f"{where}: {name} needs a number as min or max, or both")
        filters.append(Filter(name, known[name], settings, *map(float, limits)))
    return filters
