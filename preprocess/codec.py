"""Raw text into subwords and back; all that was done to the text travels with the model."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sentencepiece

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import write_json
from preprocess.bpe import SEPARATOR, Encoder, read_codes
from preprocess.escape import escape, unescape
from preprocess.normalise import DEFAULT, Normaliser
from preprocess.sampling import Sampler
from preprocess.tokenise import Tokenisation

MODEL, SETTINGS = "subword.model", "subword.json"
_LEFT_OVER = re.compile(f"{SEPARATOR}(?: |$)")


class _Cutter(Protocol):
    def cut(self, lines: Sequence[str], language: str) -> list[list[str]]: ...

    def sample(
        self, lines: Sequence[str], language: str, amount: float, seed: int
    ) -> list[list[str]]: ...

    def join(self, pieces: Sequence[str]) -> str: ...


class _SentencePiece:
    """SentencePiece's models: Kudo & Richardson 2018."""

    def __init__(self, model: Path, model_type: str) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model.read_bytes())
        self._model_type = model_type
        self._sampler: Sampler | None = None

    def cut(self, lines: Sequence[str], language: str) -> list[list[str]]:
        pieces: list[list[str]] = self._processor.encode(list(lines), out_type=str)
        return pieces

    def sample(
        self, lines: Sequence[str], language: str, amount: float, seed: int
    ) -> list[list[str]]:
        if self._sampler is None:
            self._sampler = Sampler(self._processor, self._model_type)
        return self._sampler.sample(lines, amount, seed)

    def join(self, pieces: Sequence[str]) -> str:
        return str(self._processor.decode(list(pieces)))


class _SubwordNmt:
    """The codes of subword-nmt, with a vocabulary for each language where a threshold is set."""

    def __init__(self, model: Path, glossaries: Sequence[str]) -> None:
        merges = read_codes(model)
        files = {path.suffix[1:]: path for path in model.parent.glob("vocabulary.*")}
        self._encoders = {
            language: Encoder(merges, frozenset(read_lines(path)), glossaries)
            for language, path in files.items()
        }
        self._plain = Encoder(merges, glossaries=glossaries)

    def cut(self, lines: Sequence[str], language: str) -> list[list[str]]:
        return _units(self._encoders.get(language, self._plain).encode(lines))

    def sample(
        self, lines: Sequence[str], language: str, amount: float, seed: int
    ) -> list[list[str]]:
        encoder = self._encoders.get(language, self._plain)
        return _units(encoder.sample(lines, amount, np.random.default_rng(seed)))

    def join(self, pieces: Sequence[str]) -> str:
        return _LEFT_OVER.sub("", " ".join(pieces))


def _units(lines: Sequence[str]) -> list[list[str]]:
    return [line.split(" ") if line else [] for line in lines]


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def write_settings(directory: Path, settings: dict[str, Any]) -> None:
    """Write subword.json for the subword.model in `directory`, and tie the two together."""
    write_json(directory / SETTINGS, {**settings, "sha256": _digest(directory / MODEL)})


class Codec:
    """Normalises and tokenises lines, cuts them into subwords, and undoes that.

    `tokenisation` is what preprocess.tokenise did to the text, if it was used.
    """

    def __init__(self, directory: Path) -> None:
        """Use the model that preprocess.subword, or decode.export, left in `directory`."""
        self._directory = directory
        try:
            text = (directory / SETTINGS).read_text(encoding="utf-8")
            self._settings: dict[str, Any] = json.loads(text)
            self._type = self._settings["type"]
            known = self._type in ("sentencepiece", "subword-nmt")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{directory} holds no subword model ({error})") from error
        if not known:
            raise RecipeError(f"{directory / SETTINGS}: unknown type {self._type!r}")
        if self._settings.get("sha256") != _digest(directory / MODEL):
            raise RecipeError(
                f"{directory / MODEL} is not the model that {SETTINGS} beside it was written "
                "for; learn it again with preprocess.subword"
            )
        steps = self._settings.get("tokenise")
        self.tokenisation = Tokenisation(steps, directory) if steps else None

    @cached_property
    def _cutter(self) -> _Cutter:
        model = self._directory / MODEL
        if self._type == "sentencepiece":
            return _SentencePiece(model, self._settings.get("model", "unigram"))
        return _SubwordNmt(model, self._settings.get("glossaries", []))

    def prepare(self, lines: Sequence[str], language: str) -> list[str]:
        """Lines in the form that the text had from which the subwords were learnt."""
        form = Normaliser(self._settings.get("normalise", {}).get(language, DEFAULT))
        formed = [form(line) for line in lines]
        if self.tokenisation is None:
            return formed
        return [self.tokenisation.apply(line, language) for line in formed]

    def cut(self, lines: Sequence[str], language: str) -> list[list[str]]:
        """Cut prepared lines into subwords; nothing in them acts as a control symbol."""
        return self._cutter.cut([escape(line) for line in lines], language)

    @property
    def symbols(self) -> list[str]:
        """Entries of the dictionary that no text becomes, such as tags."""
        return list(self._settings.get("symbols") or [])

    @property
    def can_sample(self) -> bool:
        """Whether the dictionary has an entry for every subword that `sample` can make."""
        return self._type == "sentencepiece" or bool(self._settings.get("sampled"))

    def sample(
        self, lines: Sequence[str], language: str, amount: float, seed: int
    ) -> list[list[str]]:
        """Cut prepared lines in one of many ways, the same for the same seed.

        `amount` is the probability with which BPE leaves a merge out (Provilkov et al. 2020), or
        the exponent of the probabilities of a unigram model (Kudo 2018).
        """
        return self._cutter.sample([escape(line) for line in lines], language, amount, seed)

    def encode(self, lines: Sequence[str], language: str) -> list[list[str]]:
        """Prepare lines of a language and cut them into subwords."""
        return self.cut(self.prepare(lines, language), language)

    def decode(self, pieces: Sequence[str]) -> str:
        """The text that subwords stand for; the exact inverse of `cut`."""
        return unescape(self._cutter.join(pieces))

    def restore(self, pieces: Sequence[str], language: str) -> str:
        """Running text in a language: decoded, and the tokenisation undone."""
        line = self.decode(pieces)
        return self.tokenisation.undo(line, language) if self.tokenisation else line

    def save(self, directory: Path) -> None:
        """Copy all that belongs to this codec into `directory`."""
        for path in (self._directory / MODEL, self._directory / SETTINGS,
                     *self._directory.glob("vocabulary.*")):  # fmt: skip
            shutil.copyfile(path, directory / path.name)
        if self.tokenisation:
            self.tokenisation.copy_truecasers(directory)
