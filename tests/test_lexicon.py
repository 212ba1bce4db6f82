"""Word pairs of a dictionary in dictd's format."""

import gzip
import re
import shutil
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess.debian import files
from preprocess.lexicon import articles, lexicon, word_pairs
from train.mapping import read_lexicon


@pytest.mark.parametrize(
    ("article", "expected"),
    [
        ("este /ˈeste/\neste, leste\n", [("este", "este"), ("este", "leste")]),
        ("al /ˈal/\n <n>\n", []),
        ("Aaskäfer /ˈɑːskɛːfɜ/ <pl>\nburying beetles, beetles\n see: {Aaskäfer}\n",
         [("Aaskäfer", "beetles")]),
        ("es decir /ˈes ðeθˈiɾ/\nquer dizer, isto\n", []),
        ("banco /b/ <n, masc>\n1. bank (money)\n2. [nav.] shoal; bench\n   Synonyms: {silla}\n",
         [("banco", "bank"), ("banco", "shoal"), ("banco", "bench")]),
        ("q'uq /kuk/\nto-do, 3 eggs\n", [("q'uq", "to-do")]),
    ],
)  # fmt: skip
def test_pairs_of_an_article_by_hand(article: str, expected: list[tuple[str, str]]) -> None:
    assert list(word_pairs(article)) == expected


def write(directory: Path, index: str) -> Path:
    text = "00-database-short\nA dictionary\n" + "gato /g/\ncat\n" + "Año /a/\nyear, twelvemonth\n"
    (directory / "d-d.dict.dz").write_bytes(gzip.compress(text.encode()))
    (directory / "d-d.index").write_text(index)
    return directory / "d-d.dict.dz"


def test_places_are_bytes_in_base_64(tmp_path: Path) -> None:
    # The head has 31 bytes, e + 5 · 64 would be 324: f is 31, N 13, s 44, b 27.
    path = write(tmp_path, "00databaseshort\tA\tf\naño\ts\tb\ngato\tf\tN\nano\ts\tb\n")
    lexicon(str(path), tmp_path / "out")
    assert read_lexicon(tmp_path / "out" / "lexicon.tsv") == [
        ("gato", "cat"), ("año", "year"), ("año", "twelvemonth"),
    ]  # fmt: skip
    lexicon(str(path), tmp_path / "out", lowercase=False)
    assert list(read_lines(tmp_path / "out" / "lexicon.tsv"))[1] == "Año\tyear"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("gato\tf\tN\ngato\tf\n", r"d-d\.index, line 2: expected a headword, a place and a length"),
        ("gato\tf\tN\ngato\tf\t?\n", r"line 2: expected a headword"),
        ("gato\tBA\tQ\n", r"d-d\.dict\.dz is cut off: 'gato' lies behind its end"),
        ("00databaseshort\tA\tf\n", "no pairs of single words"),
    ],
)
def test_a_damaged_index(tmp_path: Path, index: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        lexicon(str(write(tmp_path, index)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_text_and_a_wrong_name(tmp_path: Path) -> None:
    path = write(tmp_path, "gato\tf\tN\n")
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(RecipeError, match=r"d-d\.dict\.dz is damaged"):
        lexicon(str(path), tmp_path / "out")
    with pytest.raises(RecipeError, match="expected a package such as freedict-spa-por, or a file"):
        lexicon(str(tmp_path / "nothing"), tmp_path / "out")


def test_a_place_with_several_digits() -> None:
    text = b"x" * 4097 + b"gato\ncat\n"
    assert list(articles(text, ["gato\tBAB\tJ"], "d")) == ["gato\ncat\n"]  # 1 · 64² + 0 + 1, 9


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"d\.dict\.dz, byte 5: no UTF-8"):
        list(articles("gato\nñu\n".encode("latin-1") + b"x", ["gato\tB\tG"], "d"))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs Debian's dpkg")
def test_a_damaged_package(tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(b"no package")
    with pytest.raises(RecipeError, match=r"a\.deb is damaged"):
        list(files(tmp_path / "a.deb", re.compile("x")))
