"""Real and synthetic bitext together: tags, noise, directions."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecipeError
from pipeline.lines import write_bitext
from preprocess.bitext import write_languages
from preprocess.codec import Codec
from preprocess.combine import combine, noised
from preprocess.escape import escape, unescape
from preprocess.subword import subword

REAL = [("el gato duerme bien", "el gat dorm bé"), ("la casa es grande", "la casa és gran")] * 20
MADE = [("el gato es grande .", "el gat és gran ."), ("<BT> <BLANK> duerme", "la casa dorm")]


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """The real bitext as subwords, with symbols, and a synthetic bitext."""
    for name, pairs in {"real": REAL, "made": MADE}.items():
        write_languages(tmp_path / name, "es", "ca")
        for part in ("train", "dev", "test") if name == "real" else ("train",):
            write_bitext(tmp_path / name / f"{part}.es", tmp_path / name / f"{part}.ca", pairs)
    subword(tmp_path / "real", tmp_path / "subword", 60, symbols=["<BT>", "<BLANK>"])
    return tmp_path / "subword", tmp_path / "made"


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_noise_is_that_of_the_paper() -> None:
    """Edunov et al. 2018: a tenth deleted, a tenth of the rest blanked, three places at most."""
    generator = np.random.default_rng(1)
    words = [str(number) for number in range(20)]
    total = left = blank = 0
    far = set()
    for _ in range(4000):
        result = noised(words, generator)
        total, left, blank = total + 20, left + len(result), blank + result.count(None)
        rest = [int(word) for word in result if word is not None]
        assert len(set(rest)) == len(rest) <= 20
    assert 1 - left / total == pytest.approx(0.1, abs=0.005)
    assert blank / left == pytest.approx(0.1, abs=0.005)
    for _ in range(4000):  # with nothing deleted or blanked, places are all that changes
        result = noised(words[:5], generator)
        if len(result) == 5 and None not in result:
            far |= {abs(int(word) - place) for place, word in enumerate(result)}
    assert far == {0, 1, 2, 3}
    assert noised([], generator) == []
    assert all(len(noised(["a"], generator)) == 1 for _ in range(100))


def test_real_pairs_are_put_in_as_often_as_asked(directories, tmp_path: Path) -> None:
    subwords, made = directories
    combine(subwords, tmp_path / "out", [str(made)], upsample=3)
    codec = Codec(tmp_path / "out")
    for language, place in (("es", 0), ("ca", 1)):
        found = lines(tmp_path / "out" / f"train.{language}")
        real = lines(subwords / f"train.{language}")
        assert found[:-2] == real * 3
        assert [codec.decode(line.split()) for line in found[-2:]] == [p[place] for p in MADE]
        assert lines(tmp_path / "out" / f"dev.{language}") == lines(subwords / f"dev.{language}")
    assert (tmp_path / "out/dict.txt").read_bytes() == (subwords / "dict.txt").read_bytes()


def test_tags_are_symbols_and_their_like_in_text_is_text(directories, tmp_path: Path) -> None:
    subwords, made = directories
    combine(subwords, tmp_path / "out", [str(made)], tag=True)
    source, target = (lines(tmp_path / "out" / f"train.{code}") for code in ("es", "ca"))
    assert [line.split()[0] == "<BT>" for line in source] == [False] * 40 + [True] * 2
    assert source[-1].split().count("<BT>") == 1 and "<BT>" not in " ".join(target)
    assert Codec(tmp_path / "out").decode(source[-1].split()[1:]) == MADE[1][0]
    for text in ("<BT>", "a <BLANK>"):
        assert escape(text) != text and unescape(escape(text)) == text


def test_the_other_direction(directories, tmp_path: Path) -> None:
    subwords, made = directories
    combine(subwords, tmp_path / "out", [str(made)], tag=True, reverse=True)
    assert (tmp_path / "out" / "pair").read_text() == "ca es\n"
    assert lines(tmp_path / "out" / "train.ca")[-1].startswith("<BT> ")
    assert "<BT>" not in (tmp_path / "out" / "train.es").read_text()


def test_noise_touches_synthetic_sources_only_and_repeats(directories, tmp_path: Path) -> None:
    subwords, made = directories
    many = MADE[:1] * 300
    write_bitext(made / "train.es", made / "train.ca", many)
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        combine(subwords, tmp_path / name, [str(made)], noise=True, seed=seed, workers=workers)
    texts = [lines(tmp_path / name / "train.es") for name in "abc"]
    assert texts[0] == texts[1] != texts[2]
    plain = Codec(subwords).encode([MADE[0][0]], "es")[0]
    assert texts[0][:40] == lines(subwords / "train.es")
    assert {unit for line in texts[0][40:] for unit in line.split()} == {*plain, "<BLANK>"}
    assert len(set(texts[0][40:])) > 100
    assert set(lines(tmp_path / "a" / "train.ca")[40:]) == {
        " ".join(Codec(subwords).encode([MADE[0][1]], "ca")[0])
    }


def test_mistakes(directories, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="tag and noise are for synthetic text"):
        combine(directories[0], tmp_path / "out", tag=True)
    subwords, made = directories
    subword(tmp_path / "real", tmp_path / "plain", 60)
    with pytest.raises(RecipeError, match=r"has no <BT>; learn the subwords with --symbols"):
        combine(tmp_path / "plain", tmp_path / "out", [str(made)], tag=True)
    with pytest.raises(RecipeError, match="upsample is at least 1"):
        combine(subwords, tmp_path / "out", [str(made)], upsample=0)
    with pytest.raises(RecipeError, match="need names of their own"):
        combine(subwords, tmp_path / "out", [str(made), str(made)])
    (made / "train.ca").write_text("una\n")
    with pytest.raises(RecipeError, match="the sides differ in length"):
        combine(subwords, tmp_path / "out", [str(made)])
    write_languages(made, "es", "gl")
    with pytest.raises(RecipeError, match="is not of es and ca"):
        combine(subwords, tmp_path / "out", [str(made)])
