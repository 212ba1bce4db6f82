"""The lexicon of the shortlist, and that a bundle with one translates as before."""

from pathlib import Path

import pytest

from decode.bundle import Bundle
from decode.export import export
from decode.search import Search
from decode.shortlist import lexicon, write_shortlist
from pipeline.errors import RecipeError

TEXT = [("das Haus", "the house"), ("das Buch", "the book"), ("ein Buch", "a book")]


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(1, (0.5, 0.25, 0.5, 0.5)), (2, (0.6364, 0.1818, 0.6364, 0.5714)),
     (3, (0.7479, 0.1208, 0.7479, 0.6534))],
)  # fmt: skip
def test_probabilities_are_those_of_the_textbook(iterations: int, expected) -> None:
    """Koehn 2010, Statistical Machine Translation, figure 4.4 (das, Buch); ein worked by hand."""
    sources, targets = ([pair[side].split() for pair in TEXT] for side in (0, 1))
    pairs, probabilities, _ = lexicon(sources, targets, iterations)
    table = dict(zip(pairs, probabilities, strict=True))
    wanted = [("das", "the"), ("das", "book"), ("Buch", "book"), ("ein", "a")]
    assert [table[pair] for pair in wanted] == pytest.approx(expected, abs=5e-5)


def test_lists_hold_translations_copies_and_frequent_ones(tmp_path: Path) -> None:
    pairs = [(f"s{n} x{n}", f"t{n} x{n}") for n in range(300)] + [("s0", "often")] * 9 + [("", "a")]
    for side in (0, 1):
        (tmp_path / str(side)).write_text("".join(f"{pair[side]}\n" for pair in pairs))
    write_shortlist(tmp_path / "0", tmp_path / "1", tmp_path / "vmap.txt")
    rows = [line.split("\t") for line in (tmp_path / "vmap.txt").read_text().split("\n")[:-1]]
    lists = {unit: row.split(" ") for unit, row in rows}
    assert lists[""][:4] == ["<unk>", "<s>", "</s>", "often"] and len(lists[""]) == 203
    assert set(lists["s299"]) == {"t299", "x299"} and lists["x299"][0] == "x299"
    assert len(rows) == 601


@pytest.mark.slow
def test_translations_stay_the_same(finished, tmp_path: Path) -> None:
    exp = finished.exp
    checkpoint = exp / "train-1" / "checkpoint.pt"
    export(checkpoint, exp / "subword", tmp_path / "b", exp / "binary", shortlist=True)
    source = (exp / "clean" / "test.es").read_text().split("\n")[:-1]
    for search, least in ((Search(beam=1), 0.9), (Search(sampling=True), 1.0)):
        plain, listed = (
            Bundle.load(directory, 1, search).translate(source)
            for directory in (exp / "bundle-1", tmp_path / "b")
        )
        same = sum(a == b for a, b in zip(plain, listed, strict=True))
        assert same >= least * len(source)
    assert Bundle.load(tmp_path / "b").shortlist and not Bundle.load(exp / "bundle-1").shortlist
    with pytest.raises(RecipeError, match="takes no shortlist"):
        export(checkpoint, exp / "subword", tmp_path / "o", exp / "binary",
               ensemble=[str(checkpoint)], shortlist=True)  # fmt: skip
