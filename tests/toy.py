"""A toy bitext: real words of one language spelled by rules as those of another."""

import random
from pathlib import Path

_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te")
_SPELLING = str.maketrans("bcdfglmnprst", "pkthklnmbrzd")


def pairs(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """`count` different pairs of 4 to 9 words; the target is the source respelled."""
    generator = random.Random(seed)
    words = ["".join(generator.choices(_SYLLABLES, k=generator.randint(1, 3))) for _ in range(80)]
    sources: dict[str, None] = {}
    while len(sources) < count:
        sources[" ".join(generator.choices(words, k=generator.randint(4, 9))) + "."] = None
    return [(source, source.translate(_SPELLING)) for source in sources]


def write_tsv(path: Path, count: int, seed: int = 1) -> Path:
    """Write a toy bitext as source TAB target."""
    lines = "".join(f"{source}\t{target}\n" for source, target in pairs(count, seed))
    path.write_text(lines, encoding="utf-8")
    return path
