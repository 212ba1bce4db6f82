"""Checks that data, dictionary and a checkpoint to start from belong together, before training."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from preprocess.binarise import read_dictionary
from preprocess.bitext import languages
from train.checkpoints import load
from train.multilingual import PARTS

_TYPES = {8: np.uint16, 4: np.int32}


def _index(path: Path) -> tuple[Any, int]:
    """(number type, number of sentences) of a file `NAME.idx`."""
    try:
        with open(path, "rb") as file:
            file.seek(9)
            _, code, count = struct.unpack("<QBQ", file.read(17))
        return _TYPES[code], count
    except (OSError, struct.error, KeyError) as error:
        raise RecipeError(
            f"{path} is missing or not fairseq's ({error}); make it with preprocess.binarise"
        ) from error


def number_of_pairs(data: Path) -> int:
    """Sentence pairs in the training set of a directory that preprocess.binarise made."""
    src, tgt = languages(data)
    return _index(data / f"train.{src}-{tgt}.{src}.idx")[1]


def check_data(data: Path) -> None:
    """Raise RecipeError unless both sides are as long, and all numbers are in the dictionary."""
    if ":" in str(data):
        raise RecipeError(f"{data}: fairseq takes a colon for the end of a path; rename it")
    src, tgt = languages(data)
    for language in (src, tgt):
        words = len(read_dictionary(data / f"dict.{language}.txt"))
        for name in ("train", "valid"):
            path = data / f"{name}.{src}-{tgt}.{language}.bin"
            dtype, _ = _index(path.with_suffix(".idx"))
            if not path.exists() or not path.stat().st_size:
                raise RecipeError(f"{path} is empty or missing; binarise the data again")
            highest = int(np.memmap(path, dtype=dtype, mode="r").max())
            if highest >= words:
                raise RecipeError(
                    f"{path} holds the subword number {highest:,}, but dict.{language}.txt beside "
                    f"it has {words:,} entries with fairseq's own; it is not the dictionary that "
                    "this data was made with: binarise again"
                )
    for name in ("train", "valid"):
        counts = [_index(data / f"{name}.{src}-{tgt}.{code}.idx")[1] for code in (src, tgt)]
        if counts[0] != counts[1]:
            raise RecipeError(
                f"{data}: {name} has {counts[0]:,} sentences in {src} but {counts[1]:,} in {tgt}; "
                "binarise again"
            )


def check_parent(data: Path, options: dict[str, Any], plain: bool = True) -> None:
    """Raise RecipeError if training is to start from a checkpoint with another dictionary.

    Of equal size but in another order, it would load without a word, and every subword would be
    another. train.fairseq therefore leaves the dictionaries beside its checkpoints. A `plain` model
    has no parts for one language of several.
    """
    given = {name.replace("_", "-"): value for name, value in options.items()}
    if given.get("restore-file"):
        raise RecipeError(
            "restore-file takes over the parent's epochs, learning rate and best score, so that "
            "training may end at once; use finetune-from-model"
        )
    if not (parent := given.get("finetune-from-model")):
        return
    model = load(Path(parent))["model"]
    if plain and any(name.startswith(PARTS) for name in model):
        raise RecipeError(
            f"{parent} has parts for several pairs of languages; take one pair out of it with "
            "train.transfer"
        )
    for language, side in zip(languages(data), ("encoder", "decoder"), strict=True):
        path = data / f"dict.{language}.txt"
        words = len(read_dictionary(path))
        rows = model[f"{side}.embed_tokens.weight"].shape[0]
        if rows != words:
            raise RecipeError(
                f"{parent} knows {rows:,} subwords but {path} has {words:,} with fairseq's own; "
                "cut and binarise the data with the parent's subword model and dictionary"
            )
        known = Path(parent).parent / f"dict.{side}.txt"
        if not known.exists():
            raise RecipeError(
                f"no {known} says which subwords {parent} knows; copy the parent's dictionaries "
                "there, as dict.encoder.txt and dict.decoder.txt"
            )
        if known.read_bytes() != path.read_bytes():
            raise RecipeError(
                f"{path} and the parent's {known} hold as many subwords, but not the same in the "
                "same order; cut and binarise the data with the parent's subword model"
            )
