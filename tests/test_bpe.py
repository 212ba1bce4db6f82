"""Byte-pair encoding against subword-nmt, to the byte, and against the paper by hand."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe

from pipeline.errors import RecipeError
from preprocess.bpe import Encoder, learn, read_codes, write_codes


def theirs(lines: list[str], merges: int) -> list[tuple[str, str]]:
    out = io.StringIO()
    learn_bpe(io.StringIO("\n".join(lines)), out, merges)
    return [tuple(line.split(" ")) for line in out.getvalue().split("\n")[1:-1]]  # type: ignore


def ours(lines: list[str], merges: int) -> list[tuple[str, str]]:
    return learn(Counter(word for line in lines for word in line.split(" ") if word), merges)


def tool(merges: list[tuple[str, str]], **options: object) -> BPE:
    codes = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)
    return BPE(io.StringIO(codes), **options)


# Few letters, so that runs, ties, and one text made by different merges are frequent.
WORDS = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=30)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=20)


def test_the_example_of_the_paper() -> None:
    # Sennrich et al. 2016, section 3.2: low 5, lower 2, newest 6, widest 3.
    found = learn({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 5)
    # es 9 and st 9: of equals the last in the alphabet, s + t</w>.
    assert found == [("s", "t</w>"), ("e", "st</w>"), ("l", "o"), ("w", "est</w>"), ("n", "e")]
    assert Encoder(found).encode(["lowest newest w low"]) == ["lo@@ west ne@@ west w lo@@ w"]


@given(WORDS, st.integers(1, 60))
@example(["aaa", "aaaa", "aaaaa", "aaaab", "baaaa"], 20)
def test_learning_is_that_of_the_tool(words: list[str], merges: int) -> None:
    # The tool cannot do without a single pair.
    lines = [" ".join(words), "ab ab"]
    assert ours(lines, merges) == theirs(lines, merges)


def test_learning_on_skewed_counts_is_that_of_the_tool() -> None:
    # Large enough that rare pairs are set aside and looked at again, many times over.
    generator = np.random.default_rng(1)
    weights = 1 / np.arange(1, 3001)
    words = ["".join(generator.choice(list("abcdef"), 1 + n % 9)) for n in range(3000)]
    lines = [" ".join(generator.choice(words, 20, p=weights / weights.sum())) for _ in range(1500)]
    expected = theirs(lines, 1500)
    assert len(expected) == 1500 and ours(lines, 1500) == expected


@given(WORDS, st.lists(st.text("abcd ", max_size=20), max_size=5))
def test_cutting_is_that_of_the_tool(words: list[str], lines: list[str]) -> None:
    merges = ours([" ".join(words), "ab ab"], 40)
    encoder, bpe = Encoder(merges), tool(merges)
    expected = [bpe.process_line(line) for line in lines]
    assert encoder.encode(lines) == expected
    assert encoder.encode(lines) == expected  # from the cache


@given(st.lists(TEXT, max_size=5))
def test_cutting_any_text_is_that_of_the_tool(lines: list[str]) -> None:
    merges = ours(["the theme then them a\u00a0b a\u00a0b éé éé"], 30)
    assert Encoder(merges).encode(lines) == [tool(merges).process_line(line) for line in lines]


@given(WORDS, st.sets(st.sampled_from(["a", "b", "ab", "a@@", "b@@", "c@@", "ab@@", "bc", "abc"])))
def test_a_vocabulary_cuts_further(words: list[str], vocabulary: set[str]) -> None:
    merges = ours([" ".join(words), "abc abc ab ab bc"], 40)
    encoder, bpe = Encoder(merges, vocabulary), tool(merges, vocab=vocabulary)
    assert encoder.encode(words) == [bpe.process_line(word) for word in words]


@given(st.lists(st.text("abXY1 ", max_size=14), max_size=6))
def test_glossaries_stay_whole(lines: list[str]) -> None:
    merges = ours(["ab ab abX abX XY XY 1X 1X"], 20)
    glossaries = ["XY", "[0-9]+"]
    encoder, bpe = Encoder(merges, glossaries=glossaries), tool(merges, glossaries=glossaries)
    assert encoder.encode(lines) == [bpe.process_line(line) for line in lines]
    assert encoder.encode(["abXYab"])[0].split("@@ ").count("XY") == 1


def test_dropout() -> None:
    merges = learn({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 5)
    encoder = Encoder(merges)
    lines = ["lowest newest w low"] * 400

    def sample(dropout: float, seed: int = 1) -> list[str]:
        return encoder.sample(lines, dropout, np.random.default_rng(seed))

    assert sample(0) == encoder.encode(lines)
    assert sample(1)[0] == "l@@ o@@ w@@ e@@ s@@ t n@@ e@@ w@@ e@@ s@@ t w l@@ o@@ w"
    assert sample(0.1) == sample(0.1) != sample(0.1, seed=2)
    assert len(set(sample(0.3))) > 10
    assert {line.replace("@@ ", "") for line in sample(0.5)} == {lines[0]}
    # The tool's own distribution: mean number of units, to within five standard errors.
    bpe = tool(merges)
    means = [
        np.mean([len(bpe.segment("lowest", dropout=0.3).split()) for _ in range(4000)]),
        np.mean([len(encoder.sample(["lowest"], 0.3, np.random.default_rng(n))[0].split())
                 for n in range(4000)]),
    ]  # fmt: skip
    assert abs(means[0] - means[1]) < 0.15


def test_codes_files(tmp_path: Path) -> None:
    merges = [("a", "b</w>"), ("é", "\u00a0")]
    write_codes(tmp_path / "codes", merges)
    assert (tmp_path / "codes").read_text() == "#version: 0.2\na b</w>\né \u00a0\n"
    assert read_codes(tmp_path / "codes") == merges
    (tmp_path / "codes").write_text("#version: 0.2\na b\na b c\n")
    with pytest.raises(RecipeError, match="codes, line 3: expected two units, not 'a b c'"):
        read_codes(tmp_path / "codes")
    (tmp_path / "codes").write_text("a b\n")
    with pytest.raises(RecipeError, match="line 1: expected '#version"):
        read_codes(tmp_path / "codes")
