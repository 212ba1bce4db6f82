"""Tables of many experiments: forms by hand, and what does not belong into one column."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from test_significance import text, worse, write

from pipeline.errors import RecipeError
from score import drawing
from score.compare import compare, shown_p
from score.gain import gain
from score.metrics import score
from score.page import marked
from score.results import results
from score.tables import aligned, comma_separated, latex, markdown

ROWS = [{"system": "a_b & c", "BLEU": "41.1 ±0.6", "p": "<0.01"}, {"system": "d", "BLEU": "7|8"}]


def test_forms_by_hand() -> None:
    assert aligned(ROWS) == [
        "system        BLEU      p",
        "a_b & c  41.1 ±0.6  <0.01",
        "d              7|8",
    ]
    assert markdown(ROWS)[1:] == [
        "| --- | ---: | ---: |",
        "| a_b & c | 41.1 ±0.6 | <0.01 |",
        r"| d | 7\|8 |  |",
    ]
    assert comma_separated([*ROWS, {"system": "1,000"}])[1:] == [
        "a_b & c,41.1 ±0.6,<0.01",
        "d,7|8,",
        '"1,000",,',
    ]
    assert latex(ROWS) == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"system & BLEU & p \\",
        r"\midrule",
        r"a\_b \& c & 41.1 $\pm$0.6 & $<$0.01 \\",
        r"d & 7|8 &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


REFS = text("ca", 60)


def experiment(
    directory: Path, shares: Sequence[float], refs: Sequence[str] = REFS, language: str = "ca"
) -> dict[str, list[str]]:
    """Scores of a model with a seed for each share of lost characters, and of the copy."""
    directory.mkdir(parents=True)
    systems = {f"model-seed{n}": worse(refs, share, n) for n, share in enumerate(shares, 1)}
    systems["copy"] = worse(refs, 0.5, 9)
    files = {name: write(directory / name, lines) for name, lines in systems.items()}
    score(files, write(directory / "ref", refs), directory / "score", language,
          metrics=["chrF"])  # fmt: skip
    return systems


def test_rows_hold_what_sacrebleu_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = experiment(tmp_path / "plain", [0.1])
    better = experiment(tmp_path / "better", [0.08])
    experiment(tmp_path / "seeds", [0.02, 0.04])
    capsys.readouterr()
    out = tmp_path / "table.csv"
    compare([tmp_path / name for name in ("plain", "better", "seeds")], baseline="plain",
            form="csv", out=out)  # fmt: skip
    lines = out.read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    # One of the copies, which are the same.
    assert [line.split(",")[0] for line in lines] == [
        "system", "plain", "copy of the source", "better", "seeds",
    ]  # fmt: skip
    named = [("plain", plain["model-seed1"]), ("better", better["model-seed1"])]
    found = PairedTest(named, {"chrF": CHRF()}, [REFS], "bs")()[1]["chrF2"][1]
    low, high = found.mean - found.ci, found.mean + found.ci
    p = "< 0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}"
    assert lines[3] == f'better,1,"{found.score:.2f} [{low:.1f}, {high:.1f}]",{p}'
    assert (shown_p(0.0009), shown_p(0.001), shown_p(0.05)) == ("< 0.001", "= 0.001", "= 0.050")
    assert lines[4].startswith("seeds,2,") and "±" in lines[4]
    # Every recipe's directory is called exp.
    for name in ("one", "two"):
        experiment(tmp_path / name / "exp", [0.1 if name == "one" else 0.2])
    compare([tmp_path / "one" / "exp", tmp_path / "two" / "exp"], form="csv", out=out)
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == [
        "one/exp", "copy of the source", "two/exp",
    ]  # fmt: skip


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    experiment(tmp_path / "a", [0.1])
    experiment(tmp_path / "b", [0.1], [*REFS[:-1], "Un altre final."])
    experiment(tmp_path / "c", [0.1], language="es")
    with pytest.raises(RecipeError, match=r"b and .*a have different references"):
        compare([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(RecipeError, match=r"c and .*a have different target language"):
        compare([tmp_path / "a", tmp_path / "c"])
    experiment(tmp_path / "d", [0.1])
    path = tmp_path / "d" / "score" / "scores.json"
    path.write_text(path.read_text().replace("nc:6", "nc:4"))
    with pytest.raises(RecipeError, match=r"chrF of .*d and .*a has different signatures"):
        compare([tmp_path / "a", tmp_path / "d"])
    with pytest.raises(RecipeError, match="no row 'other' to compare with: a, copy"):
        compare([tmp_path / "a"], baseline="other")
    with pytest.raises(RecipeError, match="has no scores of test2017"):
        compare([tmp_path / "a"], test_set="test2017")
    written = json.loads(path.read_text())
    del written["seeds_together"]
    path.write_text(json.dumps(written))
    with pytest.raises(RecipeError, match="is of an older version"):
        compare([tmp_path / "d"])
    path.write_text("{")
    with pytest.raises(RecipeError, match=r"scores.json cannot be read .* score again"):
        compare([tmp_path / "d"])
    (tmp_path / "b" / "score" / "counts.npz").unlink()
    with pytest.raises(RecipeError, match=r"counts.npz has not what was counted for chrF"):
        compare([tmp_path / "b"], baseline="copy of the source")
    with pytest.raises(RecipeError, match="has no scores yet"):
        results([tmp_path], tmp_path / "RESULTS.md")
    with pytest.raises(RecipeError, match="was not made by a recipe"):
        results([tmp_path / "a"], tmp_path / "RESULTS.md")


def test_a_round_must_gain_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("old", 20.0), ("new", 20.5)):
        rows = [{"metric": "BLEU", "value": 99.0}, {"metric": "chrF", "value": value}]
        systems = {"a-seed1": {"scores": rows}, "a-seed2": {"scores": rows}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(
            json.dumps({"systems": systems, "seeds_together": {}})
        )
    for least, code in ((0.5, False), (0.51, True)):
        with pytest.raises(SystemExit) as ended:
            gain(tmp_path / "new", tmp_path / "old", least)
        assert bool(ended.value.code) is code
    said = capsys.readouterr().out
    assert "dev chrF 20.00 before this round, 20.50 after it: it goes on" in said


def test_marked_by_hand() -> None:
    assert marked("the <b> cat sat", "the dog sat down") == (
        "the <del>&lt;b&gt; cat</del> <ins>dog</ins> sat <ins>down</ins>"
    )
    assert marked("", "no") == "<ins>no</ins>"


def test_a_curve_goes_where_it_should() -> None:
    picture = drawing.curves({"<dev>": [(0, 2.0), (100, 4.0)]}, "updates", "loss")
    # From the lower left to the upper right corner, with marks at 2 and 4.
    assert 'points="52.0,240.0 630.0,12.0"' in picture
    assert ">2</text>" in picture and ">4</text>" in picture and ">100</text>" in picture
    assert "&lt;dev&gt;" in picture and "<dev>" not in picture
    assert drawing.curves({}, "", "") == ""
    flat = drawing.curves({"a": [(0, 1.0), (1, 1.0)]}, "x", "y")
    assert "nan" not in flat
    broken = drawing.curves({"a": [(0, 1.0), (1, float("nan")), (2, float("inf"))]}, "x", "y")
    assert "nan" not in broken and "inf" not in broken
