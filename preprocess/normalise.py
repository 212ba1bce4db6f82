"""The one form that text has between the raw files and the model."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal
from unicodedata import is_normalized

import numpy as np

from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.manifest import write_json
from preprocess.bitext import languages
from preprocess.features import HIDDEN, Side

_HIDDEN = re.compile(f"[{HIDDEN}]")
_QUOTES = str.maketrans("“”„‟‘’‚‛", "\"\"\"\"''''")

DEFAULT = ("nfc",)
STEPS = ("nfc", "nfkc", "quotes")
NORMALISATION = "normalise.json"


class Normaliser:
    """Brings lines into the form that some steps name; call it with a line.

    `nfc` or `nfkc` is the Unicode form (NFKC also folds ½, ² and ﬁ, which cannot be undone);
    `quotes` makes curly quotes straight (do not use it where ’ or ‘ is a letter). Whatever the
    steps, control characters, soft hyphens, zero-width spaces and word joiners are removed, and
    spaces become single: the codec relies on that. Applying it twice changes nothing more.
    """

    def __init__(self, steps: Iterable[str] = DEFAULT) -> None:
        """Raises RecipeError for a step that there is not."""
        chosen = tuple(steps)
        if unknown := [step for step in chosen if step not in STEPS]:
            raise RecipeError(
                f"unknown normalising step {unknown[0]!r}; there are {', '.join(STEPS)}"
                " (spaces and control characters are always done)"
            )
        self._form: Literal["NFC", "NFKC"] | None = (
            "NFKC" if "nfkc" in chosen else "NFC" if "nfc" in chosen else None
        )
        self._quotes = "quotes" in chosen

    def __call__(self, line: str) -> str:
        """The line in its form."""
        if line.isascii():  # has one form only
            return " ".join(_HIDDEN.sub("", line).split())
        # Hidden characters go first: they keep a letter and its accent from being composed.
        line = _HIDDEN.sub("", line)
        if self._form:
            line = unicodedata.normalize(self._form, line)
        if self._quotes:
            line = line.translate(_QUOTES)
        return " ".join(line.split())

    def side(self, lines: list[str]) -> Side:
        """Many lines in their form: as if called for each, but most need only a look."""
        side = Side(lines)
        text = "\n".join(lines)
        wrong = side.untidy | (side.count("hidden") > 0)
        if self._form and not is_normalized(self._form, text):
            for row, line in enumerate(lines):
                wrong[row] |= not (line.isascii() or is_normalized(self._form, line))
        if self._quotes and not text.isascii():
            for row, line in enumerate(lines):
                wrong[row] |= not line.isascii()
        rows = np.flatnonzero(wrong).tolist()
        if not rows:
            return side
        mended = list(lines)
        for row in rows:
            mended[row] = self(mended[row])
        return Side(mended)


normalise = Normaliser()


def steps_by_language(
    given: dict[str, list[str]] | None,
    codes: Iterable[str],
    usual: Callable[[str], list[str]] = lambda language: list(DEFAULT),
) -> dict[str, list[str]]:
    """The steps for each of `codes`; `given` has language codes, or `default`, as keys.

    A language that is not given has its `usual` steps.
    """
    given = given or {}
    # YAML reads Norwegian's code as a truth value.
    named: dict[Any, list[str]] = {**given}
    if False in named:
        named["no"] = named.pop(False)
    chosen = {find(code).flores: steps for code, steps in named.items() if code != "default"}
    result = {
        code: chosen.pop(find(code).flores, given.get("default", usual(code)))
        for code in codes
    }  # fmt: skip
    if chosen:
        raise RecipeError(f"steps are given for {', '.join(chosen)}, which this bitext lacks")
    return result


def read_steps(directory: Path) -> dict[str, list[str]]:
    """The normalising steps by language that the text in `directory` was given."""
    try:
        text = (directory / NORMALISATION).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {language: list(DEFAULT) for language in languages(directory)}
    steps: dict[str, list[str]] = json.loads(text)
    return steps


def write_steps(directory: Path, steps: dict[str, list[str]]) -> None:
    """Say what normalising the text in `directory` was given."""
    write_json(directory / NORMALISATION, steps)
