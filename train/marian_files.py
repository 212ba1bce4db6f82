"""What train.marian leaves for others to read: a checkpoint, and a vocabulary beside it.

Apart from the training itself, so that what only reads them does not depend on its code.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess.binarise import SPECIAL
from train.checkpoints import is_whole

CHECKPOINT, VOCABULARY = "checkpoint.npz", "vocab.yml"
# What it begins with, where fairseq's dictionaries have four symbols.
OWN = ["</s>", "<unk>"]


def of_dictionary(words: Iterable[str]) -> list[str]:
    """Marian's two symbols, then the subwords of a dictionary of fairseq's, in its order."""
    return [*OWN, *list(words)[len(SPECIAL) :]]


def write_vocabulary(entries: Iterable[str], path: Path) -> None:
    """Write the entries with their numbers, counted from 0."""
    path.write_text(
        "".join(f"{json.dumps(word, ensure_ascii=False)}: {n}\n" for n, word in enumerate(entries)),
        encoding="utf-8",
    )


def read_vocabulary(path: Path) -> list[str]:
    """The entries of a file that `write_vocabulary` wrote.

    Raises RecipeError, with the line, for any other.
    """
    entries: list[str] = []
    for number, line in enumerate(read_lines(path)):
        quoted, _, place = line.rpartition(": ")
        try:
            entries.append(json.loads(quoted))
        except ValueError:
            place = ""
        if place != str(number):
            raise RecipeError(
                f'{path}, line {number + 1}: expected "subword": {number}, as train.marian writes '
                f"it, not {line[:60]!r}"
            )
    return entries


def check_whole(model: Path) -> None:
    """Raise RecipeError for what is no model of Marian's, or only its beginning."""
    if not is_whole(model):
        raise RecipeError(f"{model} is no model of Marian's, or cut off")
