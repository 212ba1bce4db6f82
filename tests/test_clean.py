"""Features, normalising and filters; right values by hand, by Python or from the reference tool."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_preprocess import make_bitext

from pipeline.errors import RecipeError
from preprocess import bitext, filters
from preprocess.bitext import write_languages
from preprocess.clean import clean
from preprocess.codec import Codec
from preprocess.features import SCRIPTS, Side, earlier_equal, squash
from preprocess.filters import OF_THE_CORPUS, Pairs, read_filters, repeats
from preprocess.normalise import Normaliser
from preprocess.subword import subword

LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12)
LINES = st.lists(LINE, min_size=1, max_size=6)


def read(path: Path) -> list[tuple[str, str]]:
    return list(bitext.read_set(path, "train", "es", "ca"))


def run(tmp_path: Path, train: list[tuple[str, str]], *rules: Any, **options: Any) -> list[str]:
    """Clean `train`; returns `line reason score` of each dropped pair."""
    make_bitext(tmp_path / "in", train=train)
    clean(tmp_path / "in", tmp_path / "out", filters=list(rules), **options)
    dropped = (tmp_path / "out" / "dropped.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    rows = [row.split("\t") for row in dropped]
    assert [train[int(row[0]) - 1] for row in rows] == [tuple(row[3:]) for row in rows]
    gone = {int(row[0]) for row in rows}
    if not options:
        kept = [pair for number, pair in enumerate(train, start=1) if number not in gone]
        assert read(tmp_path / "out") == kept
    return [" ".join(row[:3]) for row in rows]


@given(LINES)
def test_features_are_those_of_python(lines: list[str]) -> None:
    side = Side(lines)
    assert side.characters.tolist() == [len(line) for line in lines]
    assert side.words.tolist() == [len(line.split()) for line in lines]
    assert side.longest_word.tolist() == [max(map(len, line.split()), default=0) for line in lines]
    spaces = [sum(char.isspace() for char in line) for line in lines]
    assert side.count("space").tolist() == spaces
    punctuation = [sum(unicodedata.category(c)[0] in "PS" for c in line) for line in lines]
    assert side.count("punctuation").tolist() == punctuation
    assert len(squash(lines)) == len(lines)


def test_scripts_by_hand() -> None:  # N5
    side = Side(["Нови Sad и Београд", "", "漢字かな", "x² ½ 12", "देवनागरी"])
    named = [
        {SCRIPTS[n]: int(count) for n, count in enumerate(row) if count} for row in side.scripts
    ]
    assert named[0] == {"Cyrl": 12, "Latn": 3}
    assert named[1:4] == [{}, {"Hani": 2, "Hira": 2}, {"Latn": 1}]
    assert list(named[4]) == ["Deva"]


def test_squashing_by_hand() -> None:
    assert squash(["¡EL  Archivo!", "...", "", "ﬁ-Ｎ１", "ọ̀rọ̀", "STRASSE straße"]) == [
        "elarchivo", "...", "", "fin1", "ọ̀rọ̀", "strassestrasse",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 4)))
def test_earlier_equal_counts(keys: list[int]) -> None:
    expected = [keys[:place].count(key) for place, key in enumerate(keys)]
    assert earlier_equal(np.array(keys, dtype=np.int64)).tolist() == expected


@given(LINE, st.sampled_from([("nfc",), ("nfkc",), ("quotes",), ("nfkc", "quotes"), ()]))
def test_normalising_twice_changes_nothing(line: str, steps: tuple[str, ...]) -> None:
    form = Normaliser(steps)
    once = form(line)
    assert form(once) == once
    assert not set(once) & set("\u2060\0\u200b\ufeff\x85\n\t")
    if "nfc" in steps:
        assert unicodedata.is_normalized("NFC", once)


def test_normalising_by_hand() -> None:  # D2, M6, M7, N4, Z4
    assert Normaliser()("ng‘ombe « ça » ½ x²") == "ng‘ombe « ça » ½ x²"
    assert Normaliser(["nfc", "quotes"])("„ça” ‘a’") == "\"ça\" 'a'"
    assert Normaliser(["nfkc"])("ﬁ ½") == "fi 1⁄2"
    assert Normaliser()("lo\x85wer a\x00b\x07 \u200b e\u200b\u0301") == "lo wer ab é"
    assert Normaliser()("\u200b\ufeff") == ""
    with pytest.raises(RecipeError, match="unknown normalising step 'nfd'"):
        Normaliser(["nfd"])


def test_default_filters_drop_each_pair_for_one_reason(tmp_path: Path) -> None:  # B2, M5
    kept = ("Abre el archivo", "Obre el fitxer")
    train = [
        kept,
        ("\u200b", "només esquerra"),  # Z4: empty once normalised
        ("x " * 300, "y " * 300),
        ("una dos tres quatro cinco seis siete ocho nueve diez once doce trece", "a"),
        ("LibreOffice", "LibreOffice"),
        ("¡EL  ARCHIVO de prueba!", "nou text"),  # letter case, spaces and punctuation aside
        ("el texto nuevo", "El fitxer de prova"),
        ("Abre  el archivo", "Obre el\u00a0fitxer"),
    ]
    test = [("El archivo de prueba.", "El fitxer, de prova")]
    make_bitext(tmp_path / "in", train=train, test=test)
    clean(tmp_path / "in", tmp_path / "out")
    assert read(tmp_path / "out") == [kept]
    dropped = (tmp_path / "out" / "dropped.tsv").read_text().split("\n")[:-1]
    # Of so few lines, the usual ratio is that of all characters; 68 of them stand against 1.
    sizes = [sum(len(pair[side]) for pair in train) for side in (0, 1)]
    score = f"{(68 * sizes[1] / sizes[0] + 15) / (1 + 15):g}"
    assert [row.split("\t")[:3] for row in dropped] == [
        ["2", "empty", "1"], ["3", "words", "300"], ["4", "length_ratio", score],
        ["5", "copy", "1"], ["6", "held_out", "1"], ["7", "held_out", "1"],
        ["8", "repeated_pair", "1"],
    ]  # fmt: skip


def test_further_test_sets_are_held_out_and_kept(tmp_path: Path) -> None:  # B2
    make_bitext(tmp_path / "in", train=[("uno", "u"), ("Dos gatos", "dos gats")], test=[("a", "b")])
    for language, line in {"es": "dos  gatos!", "ca": "altres"}.items():
        (tmp_path / "in" / f"test2017.{language}").write_text(f"{line}\n")
    clean(tmp_path / "in", tmp_path / "out")
    assert read(tmp_path / "out") == [("uno", "u")]
    assert (tmp_path / "out" / "test2017.es").read_text() == "dos  gatos!\n"


@pytest.mark.parametrize("code", ["es", "spa"])
def test_what_a_child_is_tested_with_its_parent_does_not_see(tmp_path: Path, code: str) -> None:
    """B2, also where a bitext calls its language by another code."""
    pairs = [("uno", "u"), ("Dos gatos", "dos gats"), ("tres", "outra")]
    make_bitext(tmp_path / "in", train=pairs, test=[("a", "b")])
    child = tmp_path / "child"
    child.mkdir()
    write_languages(child, code, "gl")
    for name, line in {
        f"dev.{code}": "dos gatos!",
        "dev.gl": "outra",
        f"train.{code}": "uno",
    }.items():
        (child / name).write_text(f"{line}\n")
    for name in ("train.gl", f"test.{code}", "test.gl"):
        (child / name).write_text("x\n")
    clean(tmp_path / "in", tmp_path / "out", hold_out=[child])
    # By the language that both have, and by dev and test alone.
    assert read(tmp_path / "out") == [("uno", "u"), ("tres", "outra")]


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        ({"characters": {"max": 5}}, ("seis s", "a")),
        ({"longest_word": {"max": 6}}, ("a", "paraules")),
        ({"character_ratio": {"max": 2, "add": 0}}, ("abc", "abcdefg")),
        ({"script": {"min": 0.5}}, ("a", "Београд a")),
        ({"scripts": {"max": 1}}, ("Нови Sad", "Novi")),
        ({"digits": {"max": 0}}, ("el 12 de mayo", "el 13 de maig")),
        ({"urls": {"max": 0}}, ("http://a.es/b", "a")),
        ({"repetition": {"max": 2}}, ("a b a b a b", "a b")),
        ({"punctuation": {"max": 0.5}}, ("a", "?!;a")),
    ],
)
def test_each_filter(tmp_path: Path, rule: dict[str, Any], bad: tuple[str, str]) -> None:
    train = [("uno", "un"), bad, ("año", "any")]
    assert [row.split()[:2] for row in run(tmp_path, train, rule)] == [["2", next(iter(rule))]]


def test_length_in_subwords(tmp_path: Path) -> None:
    train = [("una casa", "una casa"), ("una casa una casa", "x")] * 9
    subword(make_bitext(tmp_path / "s", train=train), tmp_path / "model", 30)
    pieces = Codec(tmp_path / "model").cut(["una casa"], "es")[0]
    rule = {"subwords": {"model": str(tmp_path / "model"), "max": len(pieces)}}
    assert [row.split()[:2] for row in run(tmp_path, train[:2], rule)] == [["2", "subwords"]]


def test_numbers_agree_across_scripts() -> None:
    pairs = Pairs(Side(["٣٤ a ५", "3,5 2"]), Side(["5 34", "3.5"]), "es", "ca")
    assert filters.digits(pairs).tolist() == [0, 1]


def test_language_filter(tmp_path: Path) -> None:
    train = [
        ("Pulse el botón para abrir el archivo", "Premeu el botó per a obrir el fitxer"),
        ("Press the button to open the file", "Premeu el botó per a obrir el fitxer nou"),
    ]
    assert [row.split()[:2] for row in run(tmp_path, train, {"language": {"min": 0.3}})] == [
        ["2", "language"]
    ]
    for side, dropped in {"source": 1, "target": 0}.items():
        only = {"language": {"min": 0.3, "side": side}}
        assert len(run(tmp_path, train, only)) == dropped
    with pytest.raises(RecipeError, match="side is source, target or both, not left"):
        run(tmp_path, train, {"language": {"min": 0.3, "side": "left"}})
    pairs = Pairs(Side(["a"]), Side(["b"]), "en", "bam")
    with pytest.raises(RecipeError, match="py3langid does not know Bambara"):
        filters.language(pairs)
    assert filters.language(pairs, "source").shape == (1, 1)


def test_repetitions_of_the_corpus(tmp_path: Path) -> None:
    train = [("Hola!", "Ei"), ("hola", "ei."), ("Hola!", "Bon dia"), ("Adiós", "Ei")]
    assert run(tmp_path, train, {"nearly_repeated": {"max": 0}}) == ["2 nearly_repeated 1"]
    assert run(tmp_path, train, {"repeated_source": {"max": 0}}) == ["3 repeated_source 1"]
    assert run(tmp_path, train, {"repeated_target": {"max": 0}}) == ["4 repeated_target 1"]
    many = [("a", f"x{n}") for n in range(5)]
    assert run(tmp_path, many, {"repeated_source": {"max": 2}}) == [
        "4 repeated_source 3", "5 repeated_source 4",
    ]  # fmt: skip


def test_what_an_earlier_filter_drops_repeats_nothing(tmp_path: Path) -> None:
    train = [("a 1", "b"), ("a 1", "c 1"), ("a 1", "d 1"), ("e", "f")]
    rules = {"digits": {"max": 0}}, {"repeated_source": {"max": 0}}
    assert run(tmp_path, train, *rules) == ["1 digits 1", "3 repeated_source 1"]
    assert [row.split()[1] for row in run(tmp_path, train, *reversed(rules))] == [
        "digits", "repeated_source", "repeated_source",
    ]  # fmt: skip


def test_scores_from_outside(tmp_path: Path) -> None:
    table = tmp_path / "scores.tsv"
    table.write_text("x\t0.9\ny\t0.1\n")
    rule = {"external": {"file": str(table), "column": 2, "min": 0.5}}
    assert run(tmp_path, [("a", "b"), ("c", "d")], rule) == ["2 external 0.1"]
    with pytest.raises(RecipeError, match="has fewer lines than"):
        run(tmp_path, [("a", "b"), ("c", "d"), ("e", "f")], rule)
    with pytest.raises(RecipeError, match="hold more lines than"):
        run(tmp_path, [("a", "b")], rule)
    table.write_text("x\t0.9\n\n")
    with pytest.raises(RecipeError, match="hold more lines than"):
        run(tmp_path, [("a", "b")], rule)
    table.write_text("x\t0.9\ny\n")
    with pytest.raises(RecipeError, match=r"scores.tsv, line 2: column 2 holds no number"):
        run(tmp_path, [("a", "b"), ("c", "d")], rule)


@pytest.mark.parametrize(
    ("entry", "message"),
    [({"wrods": {"max": 3}}, "no filter is called 'wrods'; words"),
     ({"words": {"mx": 3}}, "words has no 'mx'; only min, max"),
     ({"external": {"min": 3}}, "external needs file"),
     ({"words": None}, "words needs a number as min or max"),
     ({"words": {"max": "x"}}, "words needs a number"),
     ("words", "entry 1: expected 'name:")],
)  # fmt: skip
def test_a_mistake_in_the_list_is_explained(entry: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_filters([entry])


def test_a_filter_may_come_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [("a b c d", "a b c d e"), ("a b", "c d"), ("a", "b")]
    rules = {"words": {"max": 4}}, {"words": {"min": 2}}
    assert run(tmp_path, train, *rules) == ["1 words 5", "3 words 1"]
    printed = capsys.readouterr().out
    assert "1  dropped: words (max: 4)" in printed and "1  dropped: words (min: 2)" in printed


def test_a_small_text_has_its_usual_lengths(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=[("abcd " * 16, "字" * 20 + str(n)) for n in range(9)])
    clean(tmp_path / "in", tmp_path / "out")
    assert len(read(tmp_path / "out")) == 9


def test_usual_lengths_are_those_of_the_text(tmp_path: Path) -> None:
    # The target has a quarter of the characters, as Chinese has of English, and no spaces.
    pairs = [("abcd " * n, "字" * (5 * n // 4)) for n in range(8, 140)]
    make_bitext(tmp_path / "in", train=[*pairs, ("abcd " * 40, "字" * 200)])
    clean(tmp_path / "in", tmp_path / "out", filters=[{"length_ratio": {"max": 2.5}}])
    assert len(read(tmp_path / "out")) == len(pairs)
    row = (tmp_path / "out" / "dropped.tsv").read_text().split("\t")
    # (200 + 15) / (199 characters at a quarter each + 15)
    assert row[1] == "length_ratio" and abs(float(row[2]) - 215 / (199 / 4 + 15)) < 0.05


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"all 1 training pairs would be dropped.*by copy"):
        run(tmp_path, [("a", "a")], {"copy": {"max": 0}})


@given(
    st.lists(
        st.text(st.sampled_from("ab  \u00a0\x85\u200b\x07e\u0301éﬁ“가\U0001f600"), max_size=7)
    ),
    st.sampled_from([["nfc"], ["nfkc"], [], ["nfc", "quotes"]]),
)
def test_many_lines_are_normalised_as_each_alone(lines: list[str], steps: list[str]) -> None:
    form = Normaliser(steps)
    side = form.side(lines)
    assert list(side.lines) == [form(line) for line in lines]
    assert side.words.tolist() == [len(form(line).split()) for line in lines]
    untidy = [line != " ".join(line.split()) for line in lines]
    assert Side(lines).untidy.tolist() == untidy


def test_normalising_is_by_language_and_recorded(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=[("“a”", "“b”")])
    clean(tmp_path / "in", tmp_path / "out", normalise={"spa_Latn": ["nfc", "quotes"]})
    assert read(tmp_path / "out") == [('"a"', "“b”")]
    assert json.loads((tmp_path / "out" / "normalise.json").read_text()) == {
        "es": ["nfc", "quotes"], "ca": ["nfc"],
    }  # fmt: skip
    # YAML reads the code of Norwegian as a truth value.
    make_bitext(tmp_path / "no", "no", "en", train=[("“a”", "“b”")])
    clean(tmp_path / "no", tmp_path / "out", normalise={False: ["quotes"]})  # type: ignore[dict-item]
    assert (tmp_path / "out" / "train.no").read_text() == '"a"\n'
    with pytest.raises(RecipeError, match="which this bitext lacks"):
        clean(tmp_path / "in", tmp_path / "out", normalise={"fr": ["nfc"]})


RULES = [
    {"words": {"max": 3}}, {"word_ratio": {"max": 1.5}}, {"copy": {"max": 0}},
    {"punctuation": {"max": 0.5}}, {"repetition": {"max": 2}}, {"digits": {"max": 0}},
    *({name: {"max": 0}} for name in OF_THE_CORPUS),
]  # fmt: skip


@given(st.lists(st.tuples(LINE, LINE), min_size=1, max_size=8), st.permutations(RULES), st.data())
def test_no_order_of_filters_shifts_the_sides(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str, str]],
    rules: list[Any],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("clean")
    numbered = [(f"{s} s{n}".replace("\r", ""), f"{t} t{n}".replace("\r", ""))
                for n, (s, t) in enumerate(pairs)]  # fmt: skip
    make_bitext(path / "in", train=[*numbered, ("bon s99", "bon t99")])
    chosen = rules[: data.draw(st.integers(0, len(rules)))]
    clean(path / "in", path / "out", filters=chosen, workers=1)
    numbers = [(s.rpartition(" ")[2][1:], t.rpartition(" ")[2][1:]) for s, t in read(path / "out")]
    assert numbers and all(s == t for s, t in numbers)
    assert numbers == sorted(numbers, key=lambda pair: int(pair[0]))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, workers: int) -> None:
    train = [(f"frase {n % 7_000} a", f"oració {n % 7_000} b") for n in range(50_000)]
    make_bitext(tmp_path / "in", train=train)
    clean(tmp_path / "in", tmp_path / "out", workers=workers)
    assert read(tmp_path / "out") == train[:7_000]


def test_repeats_by_hand() -> None:
    lines = "", "a", "a b a", "a a", "a b a b a b c", "x a b c a b c"
    assert [repeats(line) for line in lines] == [0, 1, 1, 2, 3, 2]
