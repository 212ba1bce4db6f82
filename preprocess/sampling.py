"""Random segmentations by the models of SentencePiece, the same for the same seed.

SentencePiece samples too, but mixes its seed with a number that is new in every process (0.2.3:
after a fork, `set_random_generator_seed(3)` gives another segmentation each time), so that no
training could be repeated.
"""

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import sentencepiece

_SPACE = "▁"
# What SentencePiece takes from the worst score for a character that it does not know.
_UNKNOWN = 10.0
# Long words do not come again; where no spaces are written, whole lines are words.
_CACHE_WORDS, _LONG_WORD = 200_000, 30


class Sampler:
    """Cuts words at random with the pieces of one model."""

    def __init__(self, processor: sentencepiece.SentencePieceProcessor, model_type: str) -> None:
        """`model_type` is `unigram` or `bpe`, as the model was learnt."""
        numbers = range(processor.get_piece_size())
        special = {n for n in numbers if processor.is_control(n) or processor.is_unknown(n)}
        self._bytes = any(processor.is_byte(n) for n in numbers)
        self._scores: dict[str, float] = {
            processor.id_to_piece(n): processor.get_score(n)
            for n in numbers
            if n not in special and not processor.is_byte(n)
        }
        self._unknown = min(self._scores.values()) - _UNKNOWN
        self._longest = max(map(len, self._scores))
        self._one = self._unigram if model_type == "unigram" else self._merged
        self._lattices: dict[tuple[str, float], list[list[tuple[int, float]]]] = {}

    def sample(self, lines: Sequence[str], amount: float, seed: int) -> list[list[str]]:
        """The pieces of each line; see `Codec.sample` for `amount`."""
        generator = random.Random(seed)  # noqa: S311 (no secret)
        return [
            [
                piece
                for word in line.split(" ")
                if word
                for part in self._one(_SPACE + word, amount, generator)
                for piece in self._spelled(part)
            ]
            for line in lines
        ]

    def _spelled(self, piece: str) -> list[str]:
        if self._bytes and piece not in self._scores:
            return [f"<0x{byte:02X}>" for byte in piece.encode()]
        return [piece]

    def _unigram(self, word: str, exponent: float, generator: random.Random) -> list[str]:
        """Sample a segmentation with its probability to the power of `exponent` (Kudo 2018)."""
        lattice = self._lattices.get((word, exponent))
        if lattice is None:
            lattice = self._lattice(word, exponent)
            if len(self._lattices) > _CACHE_WORDS:
                self._lattices.clear()
            if len(word) <= _LONG_WORD:
                self._lattices[word, exponent] = lattice
        pieces, end = [], len(word)
        while end:
            # The start of the last piece, in proportion to all that leads there.
            chance = generator.random()
            for start, upto in lattice[end]:  # noqa: B007 (the last one if sums fall short)
                if chance < upto:
                    break
            pieces.append(word[start:end])
            end = start
        return pieces[::-1]

    def _lattice(self, word: str, exponent: float) -> list[list[tuple[int, float]]]:
        """For each end in a word, the possible starts of a piece and their summed probability."""
        total = [0.0]
        lattice: list[list[tuple[int, float]]] = [[]]
        for end in range(1, len(word) + 1):
            ways = []
            for start in range(max(0, end - self._longest), end):
                score = self._scores.get(word[start:end])
                if score is None and start == end - 1:
                    score = self._unknown
                if score is not None:
                    ways.append((start, total[start] + exponent * score))
            highest = max(way for _, way in ways)
            weights = [math.exp(way - highest) for _, way in ways]
            total.append(highest + math.log(sum(weights)))
            upto, bounds = 0.0, []
            for (start, _), weight in zip(ways, weights, strict=True):
                upto += weight / sum(weights)
                bounds.append((start, upto))
            lattice.append(bounds)
        return lattice

    def _merged(self, word: str, dropout: float, generator: random.Random) -> list[str]:
        """Merge the best pair again and again, leaving each out by chance at each step."""
        pieces = list(word)
        while True:
            best = max(
                (
                    (self._scores[left + right], -place)
                    for place, (left, right) in enumerate(pairwise(pieces))
                    if left + right in self._scores and generator.random() >= dropout
                ),
                default=None,
            )
            if best is None:
                return pieces
            place = -best[1]
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
