"""The corpus doctor: counts by hand, damage done on purpose, and a real browser."""

import gzip
import json
import random
import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_preprocess import make_bitext

from pipeline.errors import RecipeError
from preprocess.features import Side
from preprocess.filters import number_list
from preprocess.inspect import inspect

LINES = st.lists(
    st.text(st.sampled_from("ab e\u0301é1２٣.,ñ가か"), max_size=8).map(
        lambda text: " ".join(text.split())
    ),
    min_size=1,
    max_size=12,
)


@given(LINES)
def test_equal_hashes_are_equal_text(lines: list[str]) -> None:
    side = Side(lines)
    words = " ".join(lines).split()
    for numbers, texts in ((side.hashes, lines), (side.word_hashes, words)):
        assert _groups(numbers.tolist()) == _groups(texts)
    runs = ["|".join(number_list(line)) for line in lines]
    assert _groups(side.numbers.tolist()) == _groups(runs)
    assert [number == 0 for number in side.numbers] == [not run for run in runs]
    decomposed = [unicodedata.normalize("NFD", line) != line for line in lines if "가" not in line]
    composed = [bool(n) for n, line in zip(side.count("composed"), lines, strict=True)
                if "가" not in line]  # fmt: skip
    assert composed == decomposed


def _groups(items: Sequence[Any]) -> list[int]:
    """For each item the place of the first that equals it."""
    return [list(items).index(item) for item in items]


def report_of(directory: Path) -> Any:
    return json.loads((directory / "report.json").read_text())


def said(report: Any, part: str) -> list[Any]:
    return [finding for finding in report["findings"] if part in finding["text"]]


def test_counts_by_hand(tmp_path: Path) -> None:
    pairs = [("a b", "a b"), ("uno 1", "un 2"), ("", "x"), ("y y", "q r s t"), ("a b", "a b"),
             ("dice </s> &amp;", "diu"), ("uno 1", "un 3"), ("“naïve”", "“naÃ¯ve”")]  # fmt: skip
    make_bitext(
        tmp_path / "in",
        train=pairs,
        dev=[("Uno, 1!", "res"), ("y más", "y")],
        test=[("otra", "e\u0301s"), ("dos", "é")],
    )
    with pytest.raises(SystemExit):  # one side of one pair in eight is empty
        inspect(tmp_path / "out", tmp_path / "in", identify=0)
    report = report_of(tmp_path / "out")
    train = report["sets"]["train"]
    counts = {key: train["pairs"][key] for key in ("one_side_empty", "both_sides_empty", "copies",
              "repeated", "sources_with_several_targets", "numbers_differ")}  # fmt: skip
    assert counts == {"one_side_empty": 1, "both_sides_empty": 0, "copies": 2, "repeated": 1,
                      "sources_with_several_targets": 1, "numbers_differ": 2}  # fmt: skip
    source, target = train["sides"]["es"], train["sides"]["ca"]
    assert (source["lines"], source["words"], source["empty"], source["longest_words"]) == (
        8, 14, 1, 3,
    )  # fmt: skip
    # a b uno 1 y dice </s> &amp; “naïve”
    assert source["distinct_words"] == 9 and source["repeated"] == 2
    assert (source["reserved"], source["entities"], source["mojibake"]) == (1, 1, 0)
    assert target["mojibake"] == 1
    assert source["lengths"][:4] == [1, 1, 5, 1]
    dev, test = report["sets"]["dev"], report["sets"]["test"]
    assert dev["in_train"]["es"] == {"exact": 0, "nearly": 1}  # Uno, 1! is uno 1
    # Uno, and 1! and más do not stand in train in that form; y does.
    assert dev["unknown_words"]["es"] == 0.75
    assert (test["sides"]["ca"]["decomposed"], test["sides"]["ca"]["composed"]) == (1, 1)
    assert said(report, "NFD) in some lines and composed in others: test.ca 1 against 1")


WORDS = ("la", "casa", "gran", "vora", "riu", "té", "una", "porta", "vella", "i", "dues", "petites")


def sentences(number: int) -> list[tuple[str, str]]:
    """Pairs that agree in length, in numbers and at the end about as real ones do."""
    choose = random.Random(4)
    pairs = []
    for _ in range(number):
        size = choose.randint(3, 25)
        source, target = (
            " ".join(choose.choices(WORDS, k=max(1, size + choose.randint(-2, 2)))) for _ in "ab"
        )
        if choose.random() < 0.1:
            year = str(choose.randint(1000, 2000))
            source, target = f"{source} {year}", f"{year} {target}"
        end = choose.choice("..!?")
        pairs.append((source + end, target + end))
    return pairs


@pytest.mark.parametrize(
    ("remove", "add", "line", "offset"),
    [(1500, 0, 1501, -1), (0, 3, 2001, 3)],
    ids=["a target line missing", "three target lines too many"],
)
def test_a_shift_is_found_with_its_line(
    tmp_path: Path, remove: int, add: int, line: int, offset: int
) -> None:
    pairs = sentences(3000)
    source, target = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if remove:
        target = target[:remove] + target[remove + 1 :] + target[:1]
    else:
        target = (target[:2000] + target[5 : 5 + add] + target[2000:])[:3000]
    make_bitext(tmp_path / "in", train=list(zip(source, target, strict=True)))
    with pytest.raises(SystemExit) as stop:
        inspect(tmp_path / "out", tmp_path / "in", identify=0)
    assert stop.value.code == 1
    (shift,) = report_of(tmp_path / "out")["sets"]["train"]["shifts"]
    assert shift["offset"] == offset and abs(shift["first"] - line) <= 5 and shift["last"] == 3000
    # The third example row shows a line beside its own translation.
    number, text, _, better = shift["examples"][2]
    assert (text, better) == (source[number - 1], pairs[number - 1][1])


def test_a_stretch_that_is_shifted_and_back_again(tmp_path: Path) -> None:
    pairs = sentences(3000)
    target = [pair[1] for pair in pairs]
    # One line goes missing after 1,000 and another comes in before 2,000.
    target = target[:1000] + target[1001:2000] + ["intrusa."] + target[2000:]
    make_bitext(tmp_path / "in", train=[(p[0], t) for p, t in zip(pairs, target, strict=True)])
    with pytest.raises(SystemExit):
        inspect(tmp_path / "out", tmp_path / "in", identify=0)
    (shift,) = report_of(tmp_path / "out")["sets"]["train"]["shifts"]
    assert shift["offset"] == -1
    assert abs(shift["first"] - 1001) <= 5 and abs(shift["last"] - 2000) <= 5


def test_sides_of_unequal_length_say_where_they_part(tmp_path: Path) -> None:  # M4
    pairs = sentences(2000)
    make_bitext(tmp_path / "in", train=pairs)
    path = tmp_path / "in" / "train.ca"
    lines = path.read_text().split("\n")
    path.write_text("\n".join(lines[:1200] + lines[1201:]))
    with pytest.raises(SystemExit):
        inspect(tmp_path / "out", tmp_path / "in", identify=0)
    report = report_of(tmp_path / "out")
    assert said(report, "different numbers of lines: train 2,000 and 1,999")
    (shift,) = report["sets"]["train"]["shifts"]
    assert shift["offset"] == -1 and abs(shift["first"] - 1201) <= 5


def test_sound_text_is_safe_and_shuffled_text_is_not(tmp_path: Path) -> None:
    pairs = sentences(1000)
    make_bitext(tmp_path / "in", train=pairs)
    inspect(tmp_path / "out", tmp_path / "in", identify=0)
    assert not said(report_of(tmp_path / "out"), "shifted")
    targets = [pair[1] for pair in pairs]
    random.Random(1).shuffle(targets)
    make_bitext(tmp_path / "in", train=[(p[0], t) for p, t in zip(pairs, targets, strict=True)])
    with pytest.raises(SystemExit):
        inspect(tmp_path / "out", tmp_path / "in", identify=0)
    (finding,) = said(report_of(tmp_path / "out"), "no better than by chance")
    assert finding["severity"] == "error" and "are these translations?" in finding["advice"]


ENGLISH = ["The weather will be fine in the mountains tomorrow.", "She bought three books there."]
RUSSIAN = ["Завтра в горах будет хорошая погода, говорят нам.", "Она купила там три книги вчера."]
GERMAN = ["Morgen wird das Wetter in den Bergen schön sein.", "Sie hat dort drei Bücher gekauft."]


@pytest.mark.parametrize(
    ("code", "target", "message"),
    [
        ("ru", GERMAN, "letters of another script than the language's: text.ru 100 % not Cyrl"),
        ("de", ENGLISH, ""),
        ("de", GERMAN, None),
        ("ru", RUSSIAN, None),
    ],
)
def test_languages_are_checked(
    tmp_path: Path, code: str, target: list[str], message: str | None
) -> None:
    source, other = tmp_path / "a b.en", tmp_path / "t"
    source.write_text("\n".join(ENGLISH * 200) + "\n")
    other.write_text("\n".join(target * 200) + "\n")
    arguments: Any = {"source": source, "target": other, "src": "en", "tgt": code}
    if message is None:
        inspect(tmp_path / "out", **arguments)
        assert not [f for f in report_of(tmp_path / "out")["findings"] if f["severity"] == "error"]
        return
    with pytest.raises(SystemExit):
        inspect(tmp_path / "out", **arguments)
    expected = message or "in the language of the other side: text.de 100 % en"
    assert said(report_of(tmp_path / "out"), expected)


def test_little_text_is_not_called_another_language(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=[(f"una casa {n}", f"una casa {n}!") for n in range(10)])
    inspect(tmp_path / "out", tmp_path / "in")
    assert report_of(tmp_path / "out")["sets"]["train"]["sides"]["es"]["identified"]["lines"] == 0


def test_blank_text_is_not_safe(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in", train=[(" ", "")] * 400)
    with pytest.raises(SystemExit):
        inspect(tmp_path / "out", tmp_path / "in")
    assert said(report_of(tmp_path / "out"), "pairs are blank: train 400 (100.0 %)")


def test_one_file_and_what_is_hidden_in_it(tmp_path: Path) -> None:  # M2, M6, Z1, N5
    text = "\ufeffНови Sad и Београд\nalpha\ronе\ntwo\u2028three\0\n".encode()
    (tmp_path / "mono.txt").write_bytes(gzip.compress(text, mtime=0))
    inspect(tmp_path / "out", source=tmp_path / "mono.txt", src="srp_Latn", identify=0)
    report = report_of(tmp_path / "out")
    assert report["sets"]["text"]["lines"] == 3
    assert report["sets"]["text"]["mended"] == {"BOM": 1, "CR": 1, "LS": 1, "NUL": 1}
    # The first line, and the second, whose last e is Cyrillic.
    assert report["sets"]["text"]["sides"]["srp_Latn"]["mixed_scripts"] == 2
    assert said(report, "mono.txt is gzip")
    assert said(report, "separators, NUL or BOM inside lines: text 1 BOM, 1 CR, 1 LS, 1 NUL")


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("una casa\n", encoding="utf-16")
    with pytest.raises(RecipeError, match=r"t, line 1, byte 0: 0xff .* iconv -f UTF-16 -t UTF-8"):
        inspect(tmp_path / "out", source=tmp_path / "t", src="es")
    with pytest.raises(RecipeError, match="both sides are Spanish"):
        inspect(tmp_path / "out", None, tmp_path / "t", tmp_path / "t", "es", "spa")
    with pytest.raises(RecipeError, match="give --bitext DIR, or --source FILE"):
        inspect(tmp_path / "out", source=tmp_path / "t")


def test_workers_change_nothing(tmp_path: Path) -> None:
    # More than one block, and a language that py3langid does not know.
    make_bitext(tmp_path / "in", "ca", "bam", train=sentences(500) * 50)
    for workers in (1, 3):
        inspect(tmp_path / str(workers), tmp_path / "in", identify=50, workers=workers)
    for name in ("report.json", "report.html"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()
    train = report_of(tmp_path / "1")["sets"]["train"]
    assert train["lines"] == 25_000 and train["pairs"]["repeated"] == 24_500


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("page")
    pairs = sentences(1000)
    target = [pair[1].replace("vella", "<b>&vella</b>") for pair in pairs]
    target = target[:500] + target[501:] + target[:1]
    train = [(pair[0], text) for pair, text in zip(pairs, target, strict=True)]
    make_bitext(directory / "in", train=train)
    with pytest.raises(SystemExit):
        inspect(directory / "out", directory / "in", identify=0)
    return directory / "out" / "report.html"


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<script|<link|src=|https?:|@import|url\(", text)
    assert "<b>&vella" not in text and "&lt;b&gt;&amp;vella" in text


def test_a_browser_shows_the_page(page: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("chromium is not installed")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
    ]
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True
    ).stdout
    # Three plots with axes for train; dev and test are too short for the third.
    assert dom.count("<svg") == 7
    counts = Counter(re.findall(r'<rect class="(\w+)"', dom))
    report = report_of(page.parent)
    lengths = report["sets"]["train"]["sides"]["es"]["lengths"]
    assert counts["mark"] == 1
    assert counts["second"] == sum(
        np.count_nonzero(entry["sides"]["ca"]["lengths"]) for entry in report["sets"].values()
    )
    assert np.count_nonzero(lengths) > 20 and "Shift at line 50" in dom
