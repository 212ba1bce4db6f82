"""Settings of the literature for little, some and much parallel text."""

from pathlib import Path
from typing import Any, Literal

import yaml

Name = Literal["few", "some", "many"]

# Up to so many sentence pairs.
_SIZES: tuple[tuple[Name, int], ...] = (("few", 10_000), ("some", 100_000))


def for_pairs(pairs: int) -> Name:
    """The preset for so many sentence pairs."""
    for name, limit in _SIZES:
        if pairs <= limit:
            return name
    return "many"


def load(name: Name) -> dict[str, Any]:
    """A preset's settings, as the configuration of `train.fairseq` has them."""
    settings: dict[str, Any] = yaml.safe_load(_path(name).read_text(encoding="utf-8"))
    return settings


def describe(name: Name) -> str:
    """The first line of its file, which says what it is for."""
    return _path(name).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")


def _path(name: str) -> Path:
    return Path(__file__).parent / f"{name}.yaml"
