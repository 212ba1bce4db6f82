"""Lines that are too long for a model, and outputs that never end."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_SENTENCE_END = re.compile(r"(?<=[.!?…։؟۔።])\s+|(?<=[。！？।])\s*")
_LOOP_WORDS, _LOOP_TIMES = 3, 4


@dataclass(frozen=True)
class Frame:
    """Subwords that a model wants before and after every source, and first in every output.

    Those in `never` it may not choose. fairseq's and Marian's models want nothing.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def around(self, pieces: Sequence[str]) -> list[str]:
        """A source within its frame."""
        return [*self.before, *pieces, *self.after]


class Encoder(Protocol):
    """Cuts lines into subwords, as preprocess.codec.Codec."""

    def encode(self, lines: Sequence[str], language: str) -> list[list[str]]: ...


def split_long(line: str, limit: int, codec: Encoder, language: str) -> list[list[str]]:
    """Cut a line into parts of at most `limit` subwords, at sentence ends where it has them.

    A sentence that is still too long is cut between words, and a word that is, between
    subwords. Nothing is left out.
    """
    parts: list[list[str]] = []
    for unit in _fitting(line, limit, codec, language):
        joined = parts[-1] + unit if parts else unit
        if parts and len(joined) <= limit:
            parts[-1] = joined
        else:
            parts.append(unit)
    return parts


def _fitting(line: str, limit: int, codec: Encoder, language: str) -> list[list[str]]:
    units: list[list[str]] = []
    for sentence in _SENTENCE_END.split(line):
        pieces = codec.encode([sentence], language)[0]
        if len(pieces) <= limit:
            units.append(pieces)
            continue
        for word in codec.encode(sentence.split(), language):
            units += [word[start : start + limit] for start in range(0, len(word), limit)]
    return [unit for unit in units if unit]


def is_loop(line: str) -> bool:
    """Whether three words come four times in a row somewhere, as in an output that got stuck.

    In a line without spaces, as in Chinese, three letters.
    """
    words = line.split()
    if len(words) == 1:
        words = list(words[0])
    span = _LOOP_WORDS * _LOOP_TIMES
    return any(
        words[start : start + span] == words[start : start + _LOOP_WORDS] * _LOOP_TIMES
        for start in range(len(words) - span + 1)
    )
