"""Fetch, inspect, clean, subword and binarise; right values by hand or from the reference tool."""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecipeError
from preprocess import bitext
from preprocess.binarise import binarise, read_dictionary
from preprocess.clean import clean
from preprocess.fetch import fetch
from preprocess.inspect import describe, inspect
from preprocess.libreoffice import package, paragraph_pairs, parse_page
from preprocess.normalise import normalise
from preprocess.subword import Codec, learn, subword

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


def make_bitext(directory: Path, **sets: list[tuple[str, str]]) -> Path:
    bitext.write_languages(directory, "es", "ca")
    for name in bitext.SETS:
        pairs = sets.get(name, [("held out " + name, "separat " + name)])
        for side, language in enumerate(("es", "ca")):
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


def test_describe_counts_by_hand() -> None:
    pairs = [("a b", "a b"), ("uno 1", "un 2"), ("", "x"), ("y", "q r s t"), ("a b", "a b"),
             ("dice </s>", "diu")]  # fmt: skip
    counts = describe(pairs)
    assert counts["pairs"] == 6
    assert (counts["source_words"], counts["target_words"]) == (9, 12)
    assert counts["one_side_empty"] == 1
    assert counts["source_equals_target"] == 2
    assert counts["repeated_pairs"] == 1
    assert counts["digits_differ"] == 1
    assert counts["ratio_over_3"] == 1
    assert counts["reserved_tokens"] == 1
    assert counts["median_length_ratio"] == 1.0


def test_inspect_fails_on_shifted_sides(tmp_path: Path) -> None:
    source = [f"una frase de {n} palabras más o menos" if n % 3 else "" for n in range(100)]
    target = source[1:] + source[:1]
    make_bitext(tmp_path / "in", train=list(zip(source, target, strict=True)))
    with pytest.raises(SystemExit) as stop:
        inspect(tmp_path / "in", tmp_path / "out")
    assert stop.value.code == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "may be shifted" in report["findings"][0]["text"]


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


TEXT = [
    "Abre el archivo y guarda los cambios en el disco.",
    "Obre el fitxer i desa els canvis al disc.",
    "use &apos; and &#91; in <b> </s> <unk> <pad>",  # D3
    "১২৩ x² ½ ﬁ Ọmọ náà lọ sí ọjà",
    "数字と漢字",
] * 20


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(learn(TEXT, 120)[0])


def test_text_comes_back_exactly(codec: Codec) -> None:
    for line, pieces in zip(TEXT, codec.encode(TEXT), strict=True):
        assert codec.decode(pieces) == normalise(line)
        assert not set(pieces) & {"</s>", "<unk>", "<pad>", "<s>"}


def test_a_vocabulary_that_is_out_of_reach_is_lowered() -> None:
    model, size = learn(["a b c"] * 10, 4000)
    assert size < 20 and len(Codec(model).vocabulary()) == size - 1  # all but <unk>


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(RecipeError, match="no room for the"):
        learn(["".join(chr(0x4E00 + n) for n in range(500))] * 3, 100)


def test_long_lines_and_commas_in_paths_are_no_obstacle(tmp_path: Path) -> None:  # V2, R2
    train = [(f"frase {n}", f"oració {n}") for n in range(10)] + [("zqzq " * 2000, "a")]
    make_bitext(tmp_path / "a dir, c é", train=train)
    subword(tmp_path / "a dir, c é", tmp_path / "out, put", vocab_size=60)
    assert "zqzq" in "".join(Codec.load(tmp_path / "out, put").vocabulary())


def test_the_dictionary_is_the_model_s(tmp_path: Path) -> None:  # V4
    make_bitext(tmp_path / "in", train=[("el gato <unk> come", "el gat menja")] * 9)
    subword(tmp_path / "in", tmp_path / "out", vocab_size=40)
    numbers = read_dictionary(tmp_path / "out" / "dict.txt")
    assert list(numbers)[4:] == Codec.load(tmp_path / "out").vocabulary()
    lines = (tmp_path / "out" / "dict.txt").read_text().split("\n")[:-1]
    assert all(line.rpartition(" ")[2].isdigit() for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [("▁a 9\n<unk> 5\n", "line 2: '<unk>' is fairseq's own symbol"),
     ("a 1\na 2\n", "line 2: 'a' is given twice"),
     ("a\t-3.5\n", "line 1: expected 'subword count'")],
)  # fmt: skip
def test_a_wrong_dictionary_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dict.txt").write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_dictionary(tmp_path / "dict.txt")


@pytest.mark.slow
def test_binary_files_are_those_of_fairseq_preprocess(tmp_path: Path) -> None:
    train = [(f"el archivo {n} se abre", f"el fitxer {n} s'obre") for n in range(200)]
    make_bitext(tmp_path / "in", train=train, test=[("ñandú", "nyandú Ω"), ("", "")])
    subword(tmp_path / "in", tmp_path / "subword", vocab_size=60)
    binarise(tmp_path / "subword", tmp_path / "ours")
    text = tmp_path / "subword"
    subprocess.run(
        [
            *(sys.executable, "-m", "fairseq_cli.preprocess", "-s", "es", "-t", "ca"),
            *("--trainpref", text / "train", "--validpref", text / "dev"),
            *("--testpref", text / "test", "--srcdict", text / "dict.txt"),
            *("--joined-dictionary", "--destdir", tmp_path / "theirs"),
        ],
        check=True,
        capture_output=True,
    )
    theirs = [path for path in (tmp_path / "theirs").iterdir() if path.suffix != ".log"]
    assert len(theirs) == 14
    for path in theirs:
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes(), path.name
    # The unknown Ω is fairseq's 3, the end of the blank line its 2.
    test = np.fromfile(tmp_path / "ours" / "test.es-ca.ca.bin", dtype=np.uint16)
    assert 3 in test and test[-1] == 2


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
