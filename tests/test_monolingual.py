"""Monolingual text: what is held out, what is dropped, how it is numbered and chosen."""

import gzip
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecipeError
from preprocess.bitext import write_languages
from preprocess.domain import Domain
from preprocess.monolingual import monolingual, read_shard
from preprocess.subset import subset


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def bitext(tmp_path: Path) -> Path:
    """Spanish and Catalan, with a further test set as multi30k has them."""
    out = tmp_path / "a bitext"
    write_languages(out, "es", "ca")
    for name, lines in {
        "train": [("uno", "un gat"), ("dos", "dos gats"), ("tres", "tres gats")],
        "dev": [("cuatro", "Quatre gats.")],
        "test": [("cinco", "Cinc gats – miolen")],
        "test2017": [("seis", "Sis gats")],
    }.items():
        for place, language in enumerate(("es", "ca")):
            write(out / f"{name}.{language}", *(pair[place] for pair in lines))
    return out


def shards(out: Path) -> list[list[tuple[int, str]]]:
    return [[*read_shard(out / f"shard-{n + 1}.tsv")] for n in range(len([*out.glob("shard*")]))]


def test_what_is_in_dev_or_a_test_set_is_left_out(bitext: Path, tmp_path: Path) -> None:  # B2
    text = write(
        tmp_path / "mono.ca", "un gat", "QUATRE  gats!", "cinc gats miolen", "  sis\u00a0gats ",
        "Sis gats més", "", "set gats", "Set gats."
    )  # fmt: skip
    out = tmp_path / "out"
    monolingual(f"file:{text}", "ca", bitext, out)
    assert shards(out) == [[(1, "un gat"), (5, "Sis gats més"), (7, "set gats")]]
    assert (out / "dropped.tsv").read_text().split("\n") == [
        "2\theld_out\tQUATRE gats!",
        "3\theld_out\tcinc gats miolen",
        "4\theld_out\tsis gats",
        "6\tempty\t",
        "8\tnearly_repeated\tSet gats.",
        "",
    ]
    monolingual(f"file:{text}", "ca", bitext, out, filters=[])  # whatever the filters
    assert len(shards(out)[0]) == 4
    monolingual(f"file:{text}", "es", bitext, out)  # of the other side, nothing is held out
    assert len(shards(out)[0]) == 6


def test_lines_in_another_language_are_not_translated(bitext: Path, tmp_path: Path) -> None:
    text = write(
        tmp_path / "mono.ca", "Premeu el botó per a obrir el fitxer.",
        "Нажмите кнопку, чтобы открыть файл.", "Press the button to open the file at once.",
    )  # fmt: skip
    out = tmp_path / "out"
    monolingual(f"file:{text}", "ca", bitext, out)
    assert [number for number, _ in shards(out)[0]] == [1]
    rows = [row.split("\t")[:2] for row in (out / "dropped.tsv").read_text().splitlines()]
    assert rows == [["2", "language"], ["3", "language"]]


def test_shards_hold_each_line_once_in_order(bitext: Path, tmp_path: Path) -> None:
    lines = [f"gat número {number * number}" for number in range(1000)]
    path = tmp_path / "mono.ca.gz"
    path.write_bytes(gzip.compress(("\r\n".join(lines) + "\r\n").encode()))
    for count, workers in ((1, 1), (7, 2)):
        out = tmp_path / f"out {count}"
        monolingual(f"file:{path}", "ca", bitext, out, shards=9)  # more than are made then
        monolingual(f"file:{path}", "ca", bitext, out, shards=count, workers=workers)
        parts = shards(out)
        assert [len(part) for part in parts] == ([1000] if count == 1 else [143] * 6 + [142])
        assert [line for part in parts for line in part] == [*enumerate(lines, 1)]


def test_a_limit_takes_lines_from_all_over(bitext: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "mono.ca", *(f"gat {number}" for number in range(100)))
    monolingual(f"file:{text}", "ca", bitext, tmp_path / "out", limit=4)
    assert [number for number, _ in shards(tmp_path / "out")[0]] == [1, 34, 67, 100]
    reasons = Counter(r.split("\t")[1] for r in (tmp_path / "out/dropped.tsv").open())
    assert reasons == {"over the limit": 96}


def test_the_closest_to_the_domain_are_kept(bitext: Path, tmp_path: Path) -> None:
    others = [f"la borsa baixa {number} punts" for number in range(60)]
    lines = [*others[:30], "els gats dormen", *others[30:], "tres gats negres"]
    text = write(tmp_path / "mono.ca", *lines)
    monolingual(f"file:{text}", "ca", bitext, tmp_path / "out", limit=2, choose="domain")
    assert shards(tmp_path / "out") == [[(31, "els gats dormen"), (62, "tres gats negres")]]


@pytest.mark.parametrize("times", [1, 3])
def test_a_line_is_not_far_from_the_domain_for_being_counted(times: int) -> None:
    """Text of the domain itself, and the same again and again: no line is closer than another."""
    lines = [f"gat {number}" for number in range(50)]
    model = Domain([lines], [lines] * times)
    assert np.ptp(model.difference(lines)) == pytest.approx(0, abs=1e-9)
    chinese = ["猫在沙发上睡觉", "狗在草地上跑"], ["股票市场下跌", "银行提高利率"]
    closer = Domain([chinese[0]], [chinese[0], chinese[1]], spaces=False)
    assert closer.difference(["猫睡觉"])[0] < closer.difference(["市场利率"])[0]


def test_cross_entropy_difference_by_hand() -> None:
    """One word of two: shares (1 + s) / (2 + n s) and s / (1 + n s), n buckets, s = 0.1."""
    model = Domain([["a b"]], [["c"]])
    buckets = 2**20 * 0.1
    own = {"a": 1, "b": 1, "a b": 1, "d": 0}
    logs = {word: math.log((count + 0.1) / (3 + buckets)) for word, count in own.items()}
    other = math.log(0.1 / (1 + buckets))
    expected = [
        other - logs["a"],
        other - logs["d"],
        other - (logs["a"] + logs["b"] + logs["a b"]) / 3,
    ]
    assert model.difference(["a", "d", "a b"]) == pytest.approx(expected, abs=1e-9)
    assert model.difference([""]) == [0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "de"}, "holds es and ca, not de"),
        ({"limit": 0}, "at least 1"),
        ({"choose": "domain"}, "say with --limit how many"),
        ({"filters": [{"words": {"min": 9}}]}, "none of 2 lines is left"),
        ({"text": "file:/nowhere"}, "there is no such file"),
    ],
)
def test_mistakes(bitext: Path, tmp_path: Path, settings, message: str) -> None:
    text = write(tmp_path / "mono.ca", "un gos", "dos gossos")
    given = {"text": f"file:{text}", "language": "ca", **settings}
    with pytest.raises(RecipeError, match=message):
        monolingual(bitext=bitext, out=tmp_path / "out", **given)


def test_a_shard_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="line 2: expected a number"):
        list(read_shard(write(tmp_path / "shard", "1\ta", "b")))


def test_smaller_sets_are_within_larger_ones(bitext: Path, tmp_path: Path) -> None:
    lines = [f"línia {number}" for number in range(50)]
    for language in ("es", "ca"):
        write(bitext / f"train.{language}", *(f"{line} {language}" for line in lines))
    kept = {}
    for count in (5, 20):
        out = tmp_path / str(count)
        subset(bitext, out, count)
        sides = [(out / f"train.{code}").read_text().split("\n")[:-1] for code in ("es", "ca")]
        assert [line[:-2] for line in sides[0]] == [line[:-2] for line in sides[1]]
        rest = (out / "rest" / "ca").read_text().split("\n")[:-1]
        assert sorted([*sides[1], *rest]) == sorted(f"{line} ca" for line in lines)
        assert (out / "test2017.ca").read_bytes() == (bitext / "test2017.ca").read_bytes()
        kept[count] = sides[0]
    assert set(kept[5]) < set(kept[20]) and kept[20] != [f"{line} es" for line in lines[:20]]
    with pytest.raises(RecipeError, match="has 50 training pairs"):
        subset(bitext, tmp_path / "out", 51)
