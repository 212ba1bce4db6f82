"""BLEU4 as multi-bleu.perl defines it, worked by hand, and the table beside a paper."""

import json
import subprocess
import sys
from math import exp
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from score.metrics import mean_and_spread
from score.paper import bleu4, paper


def test_bleu4_by_hand() -> None:
    # Of "a b c d x" 4/5 words, 3/4 pairs, 2/3 triples and 1/2 quadruples stand in the reference,
    # which is one word longer.
    score, details = bleu4(["a b c d x"], ["a b c d e f"])
    expected = 100 * exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert score == pytest.approx(expected)
    assert details == "80.0/75.0/66.7/50.0 (BP=0.819, ratio=0.833, syslen=5, reflen=6)"


def test_a_word_counts_as_often_as_in_the_reference() -> None:
    # Papineni et al. 2002: seven times "the" against two.
    _, details = bleu4(["the the the the the the the"], ["the cat is on the mat x"])
    assert details.startswith("28.6/0.0/")


def test_no_smoothing_and_no_tokenising() -> None:
    assert bleu4(["a b c d."], ["a b c d ."])[0] == 0.0
    assert bleu4(["a &quot; b c"], ["a &quot; b c"])[0] == pytest.approx(100)
    with pytest.raises(RecipeError, match="1 hypotheses but 2 references"):
        bleu4(["a"], ["a", "b"])


def test_mean_and_spread() -> None:
    assert mean_and_spread([40.0]) == "40.00"
    # Deviations -1, 0, 1: variance 2 / 2.
    assert mean_and_spread([40.0, 41.0, 42.0]) == "41.00 ±1.00"


def test_seeds_beside_what_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ref").write_text("a b c d e\n")
    for seed, line in ((1, "a b c d e"), (2, "a b c d x")):
        (tmp_path / f"hyp {seed}").write_text(line + "\n")
    known = tmp_path / "published.yaml"
    known.write_text("source: A & B 2020\nconditions: tokenised\nscores: {en-de: {test: 41.02}}\n")
    for pair in ("en-de", "de-en"):
        files = [str(tmp_path / "hyp 1"), str(tmp_path / "hyp 2")]
        paper(files, tmp_path / "ref", known, pair, "test", tmp_path / pair)
    first, second = (
        json.loads((tmp_path / pair / "paper.json").read_text()) for pair in ("en-de", "de-en")
    )
    assert first["scores"][0] == pytest.approx(100) and first["published"] == 41.02
    assert second["published"] is None
    output = capsys.readouterr().out
    assert "BLEU4 as in A & B 2020\n(tokenised)" in output
    # 4/5, 3/4, 2/3 and 1/2 right: 66.87; with 100 the mean is 83.44, the deviation 23.42.
    assert "test              41.02    83.44 ±23.42      2" in output
    assert "test                  -    83.44 ±23.42      2" in output


def test_the_command_takes_a_file_for_each_seed(tmp_path: Path) -> None:
    """A path's list would be read out of the file: jsonargparse does so for list[Path]."""
    directory = tmp_path / "a dir, with comma"
    directory.mkdir()
    for name, line in (("ref", "a b c d"), ("1", "a b c d"), ("2", "x y z")):
        (directory / name).write_text(line + "\n")
    (directory / "p.yaml").write_text("{source: A, conditions: B, scores: {}}\n")
    command = [sys.executable, "-m", "score.paper", "--published", str(directory / "p.yaml"),
               "--pair", "en-de", "--name", "test", "--references", str(directory / "ref"),
               "--hypotheses+", str(directory / "1"), "--hypotheses+", str(directory / "2"),
               "--out", str(directory / "o")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads((directory / "o" / "paper.json").read_text())["scores"]
    assert found == [pytest.approx(100), 0.0]
