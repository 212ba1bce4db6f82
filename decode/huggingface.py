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
from preprocess.moses import Tokeniser
from preprocess.normalise import DEFAULT, Normaliser
from train.hub import TRANSLATION, tokenizer_of
from train.pieces import around, cut

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
    normalise: dict[str, list[str]]  # steps by language, which the training text was given

    @staticmethod
    def read(directory: Path) -> "Translation":
        """Read it from a directory of a model; RecipeError if it says too little."""
        path = directory / TRANSLATION
        try:
            facts = {"normalise": {}, **json.loads(path.read_text(encoding="utf-8"))}
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
        before, after = around(self.tokeniser, self.translation.prefix)
        return Frame(
            before=tuple(self.named(before)),
            after=tuple(self.named(after)),
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
        form = Normaliser(self.translation.normalise.get(language, DEFAULT))
        formed = [form(line) for line in lines]
        if not any(formed):
            return [[] for _ in formed]
        target = (self.translation.family, self.translation.target_language) == ("marian", language)
        rows = cut(self.tokeniser, formed, target=target)
        return [self.named(row) if line else [] for row, line in zip(rows, formed, strict=True)]

    def decode(self, pieces: Sequence[str]) -> str:
        """The text that subwords stand for, without special tokens and names of languages."""
        languages = getattr(self.tokeniser, "lang_token_to_id", {})
        ids = [self.numbers[piece] for piece in pieces
               if piece in self.numbers and piece not in languages]  # fmt: skip
        text = self.tokeniser.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return one_line(text).strip()

    def restore(self, pieces: Sequence[str], language: str) -> str:
        """Running text: a BERT's tokeniser does not say where its words stood together."""
        text = self.decode(pieces)
        return Tokeniser(language).detokenise(text) if self._forgets_spaces else text

    @cached_property
    def _forgets_spaces(self) -> bool:
        backend = getattr(self.tokeniser, "backend_tokenizer", None)
        return backend is not None and type(backend.model).__name__ == "WordPiece"


def name_of(number: int) -> str:
    """The name of an entry that the tokeniser has no (other) name for."""
    return f"<entry {number}>"
