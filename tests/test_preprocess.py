"""Fetch, inspect, clean, subword and binarise; right values by hand or from the reference tool."""

import gzip
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from conftest import REPOSITORY

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess import bitext
from preprocess.clean import clean
from preprocess.codec import Codec
from preprocess.fetch import fetch
from preprocess.libreoffice import package, packages, paragraph_pairs, parse_page
from preprocess.subword import subword
from preprocess.tokenise import tokenise

LAFAND = REPOSITORY.parent / "shared" / "data" / "lafand"

PAGE = """<html><body>
<h1 id="hd_id1" dir="auto">Open a <span class="emph">file</span></h1>
<p id="par_id2">Press <span id="swlnsys_1" class="switchinline"><span hidden="true" id="MACx_1"
 class="MAC"><span class="keycode">Command</span></span><span hidden="true" id="defaultx_1"><span
 class="keycode">Ctrl</span></span></span>+F4.&nbsp;Tom &amp; “é”</p>
<p id="par_id3" class="code">Print "x"</p><p>no id</p><p id="par_id4"> </p>
<p id="par_id2">again</p></body></html>"""


def test_help_page_keeps_the_default_of_each_switch_and_no_code() -> None:
    assert parse_page(PAGE.encode()) == {
        "hd_id1": "Open a file",
        "par_id2": "Press Ctrl+F4. Tom & “é”",
        "par_id4": "",
    }


def test_untranslated_paragraphs_are_skipped() -> None:
    english = {"p": {"1": "File", "2": "Open", "3": "Base", "4": "Edit"}}
    spanish = {"p": {"1": "Archivo", "2": "Open", "3": "Base", "4": "Editar", "5": "x"}}
    catalan = {"p": {"1": "Fitxer", "2": "Obre", "3": "Base de dades", "4": "", "6": "y"}}
    assert list(paragraph_pairs(spanish, catalan, english)) == [("p", "Archivo", "Fitxer")]
    assert list(paragraph_pairs(english, spanish, english)) == [
        ("p", "File", "Archivo"),
        ("p", "Edit", "Editar"),
    ]


@pytest.mark.parametrize(
    ("code", "name"),
    [("es", "es"), ("spa_Latn", "es"), ("en", "en-us"), ("pt-BR", "pt-br"), ("zh", "zh-cn"),
     ("zho_Hant", "zh-tw"), ("zh-TW", "zh-tw"), ("en-GB", "en-gb")],
)  # fmt: skip
def test_debian_packages(code: str, name: str) -> None:
    assert package(code) == f"libreoffice-help-{name}"


def test_what_is_untranslated_is_told_by_the_english_that_is_asked_for() -> None:
    for pair, names in ((("es", "gl"), "es gl en-us"), (("es", "en"), "es en-us en-us"),
                        (("en-GB", "es"), "en-gb es en-gb")):  # fmt: skip
        assert packages(*pair) == [f"libreoffice-help-{name}" for name in names.split()]


def make_bitext(
    directory: Path, src: str = "es", tgt: str = "ca", **sets: list[tuple[str, str]]
) -> Path:
    bitext.write_languages(directory, src, tgt)
    for name in bitext.SETS:
        pairs = sets.get(name, [("held out " + name, "separat " + name)])
        for side, language in enumerate((src, tgt)):
            text = "".join(pair[side] + "\n" for pair in pairs)
            (directory / f"{name}.{language}").write_text(text, encoding="utf-8")
    return directory


def test_split_is_by_hash_and_whole(tmp_path: Path) -> None:
    lines = [f"frase {n}\toració {n}" for n in range(2000)]
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    fetch(tmp_path / "out", "es", "ca", f"file:{tmp_path}/t.tsv", test_share=0.1)
    sets = {name: list(bitext.read_set(tmp_path / "out", name, "es", "ca")) for name in bitext.SETS}
    assert sorted(pair for pairs in sets.values() for pair in pairs) == sorted(
        tuple(line.split("\t")) for line in lines
    )
    assert 150 < len(sets["test"]) < 250 and 30 < len(sets["dev"]) < 90
    # What a hash decides stays when text is added: no sentence moves from test to train.
    (tmp_path / "t.tsv").write_text("\n".join(["otra\taltra", *lines]))
    fetch(tmp_path / "more", "es", "ca", f"file:{tmp_path}/t.tsv", test_share=0.1)
    assert set(sets["test"]) <= set(bitext.read_set(tmp_path / "more", "test", "es", "ca"))


def test_fetch_refuses_one_language_and_unknown_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="both Spanish"):
        fetch(tmp_path / "o", "es", "spa")
    with pytest.raises(RecipeError, match="unknown language code 'zz'"):
        fetch(tmp_path / "o", "es", "zz")
    assert not (tmp_path / "o").exists()


def test_without_apt_another_source_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipeError, match="apt-get is not on this machine; use --train with file:"):
        fetch(tmp_path / "o", "es", "ca")


def test_repetition_is_judged_by_pair(tmp_path: Path) -> None:  # M5
    a, b = ["hi", "yes", "hi", "no"], ["hola", "sí", "ei", "no pas"]
    make_bitext(tmp_path / "in", train=list(zip(a, b, strict=True)))
    clean(tmp_path / "in", tmp_path / "out")
    assert list(bitext.read_set(tmp_path / "out", "train", "es", "ca")) == list(
        zip(a, b, strict=True)
    )


def test_references_are_untouched(tmp_path: Path) -> None:  # N2, D2, N4
    reference = unicodedata.normalize("NFD", "« ça »  ng‘ombe ½ x² ọ̀rọ̀")
    make_bitext(tmp_path / "in", train=[("a", "b")], test=[("font", reference)])
    clean(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "test.ca").read_bytes() == f"{reference}\n".encode()


@pytest.mark.slow
def test_help_of_a_real_package(tmp_path: Path) -> None:
    """Catalan and Spanish from Debian; skipped where apt does not reach its archive."""
    try:
        fetch(tmp_path, "es", "ca")
    except RecipeError as error:
        pytest.skip(str(error))
    train = list(bitext.read_set(tmp_path, "train", "es", "ca"))
    assert 15_000 < len(train) < 30_000
    assert not any("CommandCtrl" in source for source, _ in train)


def test_further_test_sets_travel_along(tmp_path: Path) -> None:
    lines = [f"Frase {n}.\tOració {n}." for n in range(300)]
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    (tmp_path / "more.es").write_text("Hola, Ana.\n")
    (tmp_path / "more.ca").write_text("Bon dia, Anna.\n")
    more = {"test2017": f"file:{tmp_path}/more.{{lang}}"}
    fetch(tmp_path / "out", "es", "ca", f"file:{tmp_path}/t.tsv", more=more)
    tokenise(tmp_path / "out", tmp_path / "tokens", steps={"default": ["lowercase", "tokenise"]})
    assert bitext.all_sets(tmp_path / "tokens") == ["train", "dev", "test", "test2017"]
    assert (tmp_path / "tokens" / "test2017.ca").read_text() == "bon dia , anna .\n"
    with pytest.raises(RecipeError, match="a further test set needs a name of its own"):
        fetch(tmp_path / "o", "es", "ca", f"file:{tmp_path}/t.tsv", more={"train": "file:x"})


@pytest.mark.slow
@pytest.mark.skipif(not LAFAND.exists(), reason="needs LAFAND-MT in ../shared/data")
def test_yoruba_keeps_its_diacritics(tmp_path: Path) -> None:
    """From the files to subwords and back; decomposed lines come out composed, and whole."""
    raw = gzip.decompress((LAFAND / "en-yor" / "dev.yor.gz").read_bytes()).decode().split("\n")[:-1]
    apart = [unicodedata.normalize("NFD", " ".join(line.split())) for line in raw]
    (tmp_path / "dev.yor").write_text("".join(f"{line}\n" for line in apart))
    (tmp_path / "dev.en").write_bytes(gzip.decompress((LAFAND / "en-yor/dev.en.gz").read_bytes()))
    train, test = (f"file:{LAFAND}/en-yor/{name}.{{lang}}.gz" for name in ("train", "test"))
    dev = f"file:{tmp_path}/dev.{{lang}}"
    fetch(tmp_path / "fetch", "en", "yor", train, dev, test)
    clean(tmp_path / "fetch", tmp_path / "clean")
    subword(tmp_path / "clean", tmp_path / "subword", vocab_size=2000)
    codec = Codec(tmp_path / "subword")
    back = [
        codec.restore(line.split(" "), "yor") for line in read_lines(tmp_path / "subword/dev.yor")
    ]
    assert back == list(read_lines(tmp_path / "clean" / "dev.yor"))
    assert len(back) == len(raw)
    # Tones and dots below, of which the text has tens of thousands.
    marks = [
        Counter(char for line in lines for char in unicodedata.normalize("NFD", line)
                if unicodedata.combining(char))
        for lines in (raw, back)
    ]  # fmt: skip
    assert marks[0] == marks[1] and marks[0].total() > 10_000
    assert all(unicodedata.is_normalized("NFC", line) for line in back)
