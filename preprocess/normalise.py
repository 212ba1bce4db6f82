"""The one form that text has between the raw files and the model."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Literal

from pipeline.errors import RecipeError
from pipeline.languages import find

# Characters that show nothing: soft hyphen, zero-width space, word joiner. The joiners U+200C
# and U+200D are parts of letters in many scripts and stay.
_INVISIBLE = "\u00ad\u200b\u2060\ufeff"
_HIDDEN = re.compile(f"[{_INVISIBLE}\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_QUOTES = str.maketrans("“”„‟‘’‚‛", "\"\"\"\"''''")

DEFAULT = ("nfc",)
STEPS = ("nfc", "nfkc", "quotes")


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
    given: dict[str, list[str]] | None, languages: Iterable[str]
) -> dict[str, list[str]]:
    """The steps for each of `languages`; `given` has language codes, or `default`, as keys."""
    given = given or {}
    chosen = {find(code).flores: steps for code, steps in given.items() if code != "default"}
    other = given.get("default", list(DEFAULT))
    result = {code: chosen.pop(find(code).flores, other) for code in languages}
    if chosen:
        raise RecipeError(f"normalise names {', '.join(chosen)}, which this bitext does not hold")
    for steps in result.values():
        normaliser(steps)
    return result
