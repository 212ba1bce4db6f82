"""The one form that text has between the raw files and the model."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.manifest import write_json
from preprocess.bitext import languages

# Characters that show nothing: soft hyphen, zero-width space, word joiner. The joiners U+200C
# and U+200D are parts of letters in many scripts and stay.
_INVISIBLE = "\u00ad\u200b\u2060\ufeff"
_HIDDEN = re.compile(f"[{_INVISIBLE}\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_QUOTES = str.maketrans("“”„‟‘’‚‛", "\"\"\"\"''''")

DEFAULT = ("nfc",)
STEPS = ("nfc", "nfkc", "quotes")
NORMALISATION = "normalise.json"


def normaliser(steps: Iterable[str] = DEFAULT) -> Callable[[str], str]:
    """A function that brings a line into the form that `steps` name.

    `nfc` or `nfkc` is the Unicode form (NFKC also folds ½, ² and ﬁ, which cannot be undone);
    `quotes` makes curly quotes straight (do not use it where ’ or ‘ is a letter). Whatever the
    steps, invisible and control characters are removed, and spaces become single: the codec
    relies on that. Applying it twice changes nothing more. Raises RecipeError for other steps.
    """
    chosen = tuple(steps)
    if unknown := [step for step in chosen if step not in STEPS]:
        raise RecipeError(
            f"unknown normalising step {unknown[0]!r}; there are {', '.join(STEPS)}"
            " (spaces and control characters are always done)"
        )
    form: Literal["NFC", "NFKC"] | None = (
        "NFKC" if "nfkc" in chosen else "NFC" if "nfc" in chosen else None
    )
    quotes = "quotes" in chosen

    def apply(line: str) -> str:
        if line.isascii():  # has one form only
            return " ".join(_HIDDEN.sub("", line).split())
        # Hidden characters go first: they keep a letter and its accent from being composed.
        line = _HIDDEN.sub("", line)
        if form:
            line = unicodedata.normalize(form, line)
        if quotes:
            line = line.translate(_QUOTES)
        return " ".join(line.split())

    return apply


normalise = normaliser()


def steps_by_language(
    given: dict[str, list[str]] | None,
    codes: Iterable[str],
    usual: Callable[[str], list[str]] = lambda language: list(DEFAULT),
) -> dict[str, list[str]]:
    """The steps for each of `codes`; `given` has language codes, or `default`, as keys.

    A language that is not given has its `usual` steps.
    """
    given = given or {}
    chosen = {find(code).flores: steps for code, steps in given.items() if code != "default"}
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
