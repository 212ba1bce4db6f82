"""A model of Hugging Face in a bundle: its own tokeniser cuts the text, in the place of a codec.

tokeniser/   the tokeniser's files, config.json, and translation.json, which training left
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from decode.segments import Frame
from pipeline.errors import RecipeError
from pipeline.lines import one_line
from preprocess.normalise import Normaliser
from train.hub import TRANSLATION, tokenizer_of

TOKENISER = "tokeniser"
# What a saved model has beside its weights; never a pickle.
_FILES = (".json", ".txt", ".model", ".spm", ".jinja")


@dataclass(frozen=True)
class Translation:
    """What translation.json says of a model; tokens are the tokeniser's own names."""

    family: str
    source_language: str
    target_language: str
    prefix: str  # text before each source, as T5 wants it
    source_token: str | None  # the tokeniser's src_lang
    target_token: str | None  # what each output begins with, after the decoder's start
    max_source_tokens: int
    pretrained: str | None

    @staticmethod
    def read(directory: Path) -> "Translation":
        """Read it from a directory of a model; RecipeError if it says too little."""
        path = directory / TRANSLATION
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            names = Translation.__dataclass_fields__
            return Translation(**{name: facts[name] for name in names})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(
                f"{path} does not say how the model translates ({error!r}); train it with "
                "train.huggingface"
            ) from error


def save_files(model: Path, out: Path) -> None:
    """Copy what a saved model has beside its weights into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(model.iterdir()):
        if path.suffix in _FILES and not path.name.endswith(".index.json"):
            shutil.copyfile(path, out / path.name)


class PretrainedCodec:
    """As preprocess.codec.Codec, by the tokeniser of a model; subwords are names of its entries."""

    # Text cannot become a tag, and there are none.
    symbols: tuple[str, ...] = ()

    def __init__(self, directory: Path) -> None:
        """Use the tokeniser that `directory` holds, and translation.json beside it."""
        self._directory = directory
        self.translation = Translation.read(directory)

    @cached_property
    def tokeniser(self) -> Any:
        """The tokeniser, set to the source language."""
        # Its threads do not survive a fork.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        tokeniser = tokenizer_of(str(self._directory))
        if self.translation.source_token is not None:
            tokeniser.src_lang = self.translation.source_token
        return tokeniser

    @cached_property
    def names(self) -> list[str]:
        """A name of its own for each entry, by number.

        It is the token where no other is called so; gaps get names, too.
        """
        known = [*self.tokeniser.get_vocab().values(), *self.tokeniser.all_special_ids,
                 *getattr(self.tokeniser, "lang_token_to_id", {}).values()]  # fmt: skip
        tokens = self.tokeniser.convert_ids_to_tokens(list(range(max(known) + 1)))
        names: dict[str, None] = {}
        for number, token in enumerate(tokens):
            free = token is not None and token not in names
            names[token if free else name_of(number)] = None
        return list(names)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The inverse of `names`."""
        return {name: number for number, name in enumerate(self.names)}

    def named(self, ids: Sequence[int]) -> list[str]:
        """Names of entries by number, also of those that only the model's tables have."""
        names = self.names
        return [names[number] if number < len(names) else name_of(number) for number in ids]

    @cached_property
    def frame(self) -> Frame:
        """What the model wants around each source, and at the start of each output."""
        whole = self.tokeniser("a")["input_ids"]
        inner = self.tokeniser("a", add_special_tokens=False)["input_ids"]
        places = range(len(whole) - len(inner) + 1)
        start = next(p for p in places if whole[p : p + len(inner)] == inner)
        prefix: list[int] = []
        if self.translation.prefix:
            prefix = self.tokeniser(self.translation.prefix, add_special_tokens=False)["input_ids"]
        return Frame(
            before=tuple(self.named([*whole[:start], *prefix])),
            after=tuple(self.named(whole[start + len(inner) :])),
            target=tuple(self._target()),
            never=(self.names[self.tokeniser.pad_token_id],),
        )

    def _target(self) -> list[str]:
        token = self.translation.target_token
        if token is None:
            return []
        number = self.tokeniser.convert_tokens_to_ids(token)
        if number is None or number == self.tokeniser.unk_token_id:
            raise RecipeError(
                f"{self._directory / TRANSLATION}: the tokeniser knows no target_token {token!r}"
            )
        return [self.names[number]]

    def encode(self, lines: Sequence[str], language: str) -> list[list[str]]:
        """Cut lines of a language into subwords; nothing in them acts as a special token."""
        form = Normaliser()
        formed = [form(line) for line in lines]
        if not any(formed):
            return [[] for _ in formed]
        # Marian's tokenisers cut the two sides each in its own way; others would add tags.
        target = (self.translation.family, self.translation.target_language) == ("marian", language)
        ids = self.tokeniser(
            **{"text_target" if target else "text": formed},
            add_special_tokens=False,
            split_special_tokens=True,
            verbose=False,
        )["input_ids"]
        # Some find them in text all the same, as entries of their model.
        unknown = self.tokeniser.unk_token_id
        special = {*self.tokeniser.all_special_ids}
        plain = ([unknown if number in special else number for number in row] for row in ids)
        return [self.named(row) if line else [] for row, line in zip(plain, formed, strict=True)]

    def decode(self, pieces: Sequence[str]) -> str:
        """The text that subwords stand for, without special tokens and names of languages."""
        languages = getattr(self.tokeniser, "lang_token_to_id", {})
        ids = [self.numbers[piece] for piece in pieces
               if piece in self.numbers and piece not in languages]  # fmt: skip
        return one_line(self.tokeniser.decode(ids, skip_special_tokens=True)).strip()

    def restore(self, pieces: Sequence[str], language: str) -> str:
        """The same: the tokeniser restores running text as well as it can."""
        return self.decode(pieces)


def name_of(number: int) -> str:
    """The name of an entry that the tokeniser has no (other) name for."""
    return f"<entry {number}>"
