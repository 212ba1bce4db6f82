"""A directory of parallel text: the files `train.es`, `train.ca`, `dev.es` … of one pair."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import RecipeError
from pipeline.lines import read_bitext

SETS = ("train", "dev", "test")
# Beside the sets of a mix, train.pairs and so on say which pair of languages a line is of.
PAIRS = ".pairs"


def all_sets(directory: Path) -> list[str]:
    """Names of the sets in a directory: train, dev, test, then any further test sets."""
    src, tgt = languages(directory)
    found = {path.name.removesuffix(f".{src}") for path in directory.glob(f"*.{src}")}
    more = sorted(name for name in found - set(SETS) if (directory / f"{name}.{tgt}").exists())
    return [*SETS, *more]


def read_set(directory: Path, name: str, src: str, tgt: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of one set (`train`, `dev` or `test`)."""
    yield from read_bitext(directory / f"{name}.{src}", directory / f"{name}.{tgt}")


def languages(directory: Path) -> tuple[str, str]:
    """Source and target code of a directory that `preprocess.fetch` or a later stage made."""
    try:
        src, tgt = (directory / "pair").read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{directory / 'pair'} should hold the source and target language codes, "
            "as 'es ca'; is this a directory of preprocess.fetch?"
        ) from error
    return src, tgt


def write_languages(directory: Path, src: str, tgt: str) -> None:
    """Say which pair a directory holds, for `languages`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pair").write_text(f"{src} {tgt}\n", encoding="utf-8")


def refuse_mixed(directory: Path) -> None:
    """Raise RecipeError for text of several pairs, whose tags or pairs a stage would lose."""
    if (directory / f"train{PAIRS}").exists():
        raise RecipeError(
            f"{directory} is of several pairs of languages (preprocess.mix), which this stage does "
            "not know; use it on each before they are mixed"
        )


def hash_share(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone, for splits that never change."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
