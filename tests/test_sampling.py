"""Random segmentations: SentencePiece's own without chance, and the right chances with it."""

import io
import itertools
import math
from collections import Counter

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from preprocess.sampling import Sampler
from preprocess.subword import learn_sentencepiece

TEXT = ["lower lowest newer newest wide wider widest"] * 30 + ["low new wid est er"] * 9


def model(model_type: str, byte_fallback: bool = False) -> sentencepiece.SentencePieceProcessor:
    size = 280 if byte_fallback else 24
    data, _ = learn_sentencepiece(TEXT, size, model_type, byte_fallback=byte_fallback)
    return sentencepiece.SentencePieceProcessor(model_proto=data)


MODELS = {(kind, fallback): model(kind, fallback)
          for kind in ("unigram", "bpe") for fallback in (False, True)}  # fmt: skip
# Without chance: every merge, or only the most probable segmentation.
CERTAIN = {"unigram": 1e4, "bpe": 0.0}


@given(
    st.lists(st.text(st.sampled_from("lowernwidst"), min_size=1, max_size=9), max_size=4),
    st.sampled_from(sorted(MODELS)),
)
def test_without_chance_it_is_sentencepiece(words: list[str], which: tuple[str, bool]) -> None:
    processor = MODELS[which]
    line = " ".join(words)
    (pieces,) = Sampler(processor, which[0]).sample([line], CERTAIN[which[0]], 1)
    if which[0] == "bpe":
        assert pieces == processor.encode(line, out_type=str)
    else:  # equally probable segmentations may be chosen otherwise

        def score(pieces: list[str]) -> float:
            return sum(processor.get_score(processor.piece_to_id(piece)) for piece in pieces)

        assert math.isclose(
            score(pieces), score(processor.encode(line, out_type=str)), abs_tol=1e-3
        )
        assert "".join(pieces) == "".join(processor.encode(line, out_type=str))


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_unknown_characters_are_spelled_in_bytes(kind: str) -> None:
    processor = MODELS[kind, True]
    (pieces,) = Sampler(processor, kind).sample(["lowξ"], CERTAIN[kind], 1)
    assert pieces == processor.encode("lowξ", out_type=str)
    assert pieces[-2:] == ["<0xCE>", "<0xBE>"]


def test_segmentations_come_as_often_as_the_model_says() -> None:
    processor, exponent, times = MODELS["unigram", False], 0.5, 4000
    word = "▁newer"
    weights = {}
    for size in range(len(word)):
        for cuts in itertools.combinations(range(1, len(word)), size):
            pieces = [word[a:b] for a, b in itertools.pairwise((0, *cuts, len(word)))]
            numbers = [processor.piece_to_id(piece) for piece in pieces]
            if not any(processor.is_unknown(number) for number in numbers):
                score = sum(processor.get_score(number) for number in numbers)
                weights[" ".join(pieces)] = math.exp(exponent * score)
    assert len(weights) > 3
    drawn = Counter(
        map(" ".join, Sampler(processor, "unigram").sample(["newer"] * times, exponent, 5))
    )
    for pieces, weight in weights.items():
        expected = weight / sum(weights.values())
        error = math.sqrt(expected * (1 - expected) / times)
        assert abs(drawn[pieces] / times - expected) < 5 * error + 1 / times, pieces
    assert sum(drawn.values()) == times and drawn.keys() <= weights.keys()


def test_dropout_leaves_a_merge_out_as_often_as_told() -> None:
    # A model of one merge: `▁` and `a` become `▁a` but for a share of 0.3.
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a a a"] * 9), model_writer=file, vocab_size=4, model_type="bpe",
        bos_id=-1, eos_id=-1, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    drawn = Sampler(processor, "bpe").sample(["a"] * 4000, 0.3, 3)
    assert {tuple(pieces) for pieces in drawn} == {("▁a",), ("▁", "a")}
    assert abs(sum(len(pieces) == 2 for pieces in drawn) / 4000 - 0.3) < 0.03
