"""Bitext as numbers of tokens, for a model of Hugging Face."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from preprocess.bitext import languages, read_set
from train.families import Tags, encode

# Dev chrF is of so many lines.
DEV_LINES = 500
_BLOCK = 1000

Example = dict[str, list[int]]


@dataclass
class Examples:
    """Train and dev, how many pairs of train were left out, and sides of dev cut off."""

    train: list[Example]
    dev: list[Example]
    references: list[str]
    dropped: dict[str, int] = field(default_factory=dict)
    dev_cut: int = 0

    @property
    def longest_source(self) -> int:
        """Tokens of the longest source of train, tags and end included."""
        return max(len(example["input_ids"]) for example in self.train)


def read_examples(bitext: Path, tokenizer: Any, tags: Tags, max_length: int) -> Examples:
    """Cut train and the first lines of dev.

    A pair of train with a side of more than `max_length` tokens, or a blank one, is left out and
    counted. Such sources of dev are cut off before their last token, and targets too, for the loss
    alone: chrF is of the whole reference. Raises RecipeError if nothing is left.
    """
    sides = languages(bitext)
    train = _cut(list(read_set(bitext, "train", *sides)), tokenizer, tags)
    pairs = list(read_set(bitext, "dev", *sides))[:DEV_LINES]
    kept = [e for e in train if e and max(len(e["input_ids"]), len(e["labels"])) <= max_length]
    blank = sum(not example for example in train)
    dropped = {"blank": blank, "too_long": len(train) - len(kept) - blank}
    dev_cut = 0
    if not kept:
        raise RecipeError(
            f"none of the {len(train):,} training pairs of {bitext} has at most {max_length} "
            "tokens on each side; raise --max-length"
        )
    dev = [example for example in _cut(pairs, tokenizer, tags) if example]
    if not dev:
        raise RecipeError(f"{bitext} has no dev set, which training goes by")
    for example in dev:
        for side, ids in example.items():
            if len(ids) > max_length:
                dev_cut += 1
                example[side] = [*ids[: max_length - 1], ids[-1]]
    references = [target for source, target in pairs if source.strip() and target.strip()]
    return Examples(kept, dev, references, dropped, dev_cut)


def _cut(pairs: Sequence[tuple[str, str]], tokenizer: Any, tags: Tags) -> list[Example]:
    """An example of each pair, an empty one where a side is blank."""
    result: list[Example] = []
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        made = encode(tokenizer, tags, [s for s, _ in block], [t for _, t in block])
        whole = [bool(source.strip() and target.strip()) for source, target in block]
        result += [example if good else {} for example, good in zip(made, whole, strict=True)]
    return result
