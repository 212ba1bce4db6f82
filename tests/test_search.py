"""Beam search, sampling, n-best, prefixes, and what is counted, with the toy model."""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from decode.bundle import Bundle
from decode.faithful import addresses, numbers
from decode.search import Search
from pipeline.errors import RecipeError


def translate(finished, search: Search, count: int = 40) -> list[str]:
    source = (finished.exp / "clean" / "test.es").read_text().split("\n")[:count]
    return Bundle.load(finished.exp / "bundle-1", search=search).translate(source)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 5}, "are for sampling"),
        ({"temperature": 0.5}, "are for sampling"),
        ({"beam": 0}, "at least 1"),
        ({"sampling": True, "top_p": 0.0}, "at least 1"),
        ({"sampling": True, "temperature": -1}, "temperature is above 0"),
        ({"beam": 2, "n_best": 3}, "3 hypotheses need a beam of as many, not 2"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, int], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Search(**settings)


def test_numbers_and_addresses() -> None:
    text = "See https://example.org/a?b=1, www.x.de. In 1,000 cases, 3.5 or ٤٢; 10 and 10"
    assert addresses(text) == {"https://example.org/a?b=1": 1, "www.x.de": 1}
    assert numbers(text) == {"1000": 1, "35": 1, "42": 1, "10": 2}
    assert numbers("1.000 und 3,5; 42, 10, 10") == numbers(text)
    assert numbers("no 7-8") == {"7": 1, "8": 1}
    for french in ("1 000 000 de voitures", "1\u202f000\u202f000 de voitures"):
        assert numbers(french) == numbers("1,000,000 cars") == {"1000000": 1}
    assert numbers("5 1000 20") == {"5": 1, "1000": 1, "20": 1}


@pytest.mark.slow
def test_drawing_from_one_is_greedy_search(finished) -> None:
    greedy = translate(finished, Search(beam=1))
    assert translate(finished, Search(sampling=True, top_k=1)) == greedy
    assert translate(finished, Search(sampling=True, top_p=1e-6)) == greedy
    assert translate(finished, Search(sampling=True)) != greedy


@pytest.mark.slow
def test_a_seed_repeats_the_drawing_in_a_new_process(finished, tmp_path: Path) -> None:
    outputs = []
    for number, seed in enumerate((7, 7)):
        out = tmp_path / f"out {number}"
        subprocess.run(
            [*(sys.executable, "-m", "decode.translate", "--bundle", finished.exp / "bundle-1"),
             *("--input", finished.exp / "clean" / "test.es", "--out", out, "--search.sampling"),
             *("true", "--search.seed", str(seed))],
            check=True, capture_output=True,
        )  # fmt: skip
        outputs.append((out / "hypotheses.txt").read_text())
    other = translate(finished, Search(sampling=True, seed=8), count=-1)
    assert outputs[0] == outputs[1] != "\n".join([*other, ""])


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [0, 3])
def test_subwords_are_drawn_by_their_probability(finished, top_k: int) -> None:
    """The model's own probabilities of the first subword, worked out by fairseq."""
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    exp, draws = finished.exp, 4000
    bundle = Bundle.load(exp / "bundle-1", search=Search(sampling=True, top_k=top_k, n_best=draws))
    pieces = bundle.codec.encode(["nifo niba"], "es")[0]
    answer = bundle.translator.translate_batch(
        [pieces], None, max_decoding_length=1, **bundle.search.options()
    )[0]
    drawn = Counter(hypothesis[0] for hypothesis in answer.hypotheses if hypothesis)
    torch.serialization.add_safe_globals([argparse.Namespace])
    (model,), _, task = load_model_ensemble_and_task(
        [str(exp / "train-1" / "checkpoint.pt")], arg_overrides={"data": str(exp / "binary")}
    )
    model.eval()
    source, target = task.source_dictionary, task.target_dictionary
    tokens = torch.tensor([[*map(source.index, pieces), source.eos()]])
    scores = model(tokens, torch.tensor([tokens.shape[1]]), torch.tensor([[target.eos()]]))[0]
    scores[0, 0, target.eos()] = float("-inf")  # no translation is empty
    expected = scores[0, 0].detach().softmax(0)
    if top_k:
        least = expected.topk(top_k).values[-1]
        expected = torch.where(expected >= least, expected, 0.0)
        expected /= expected.sum()
        assert len(drawn) <= top_k
    for index in expected.topk(3).indices:
        probability = float(expected[index])
        spread = (probability * (1 - probability) / draws) ** 0.5
        assert drawn[target[int(index)]] / draws == pytest.approx(probability, abs=4 * spread)


@pytest.mark.slow
def test_several_hypotheses(finished, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("nifo niba\n\nguru tetela sa\n")
    command = [sys.executable, "-m", "decode.translate", "--bundle", finished.exp / "bundle-1"]
    command += ["--input", source, "--search.beam", "4", "--search.n_best", "3"]
    subprocess.run([*command, "--out", tmp_path / "out"], check=True, capture_output=True)
    rows = [r.split("\t") for r in (tmp_path / "out" / "n_best.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "1", "2", "3", "3", "3"]
    best = (tmp_path / "out" / "hypotheses.txt").read_text().split("\n")
    assert best == [rows[0][2], "", rows[4][2], ""] and rows[3][1:] == ["", ""]
    for three in (rows[:3], rows[4:]):
        scores = [float(row[1]) for row in three]
        assert scores == sorted(scores, reverse=True) and scores[0] < 0
        assert len({row[2] for row in three}) == 3
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert shown == (tmp_path / "out" / "n_best.tsv").read_text()
    one = [*command[:-2], "--out", tmp_path / "out"]  # what was there before does not stay
    subprocess.run(one, check=True, capture_output=True)
    assert not (tmp_path / "out" / "n_best.tsv").exists()
    subprocess.run([*one, "--search.scores", "true"], check=True, capture_output=True)
    rows = [r.split("\t") for r in (tmp_path / "out" / "n_best.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "3"] and float(rows[0][1]) < 0


@pytest.mark.slow
def test_a_prefix_and_a_length_penalty(finished) -> None:
    plain = translate(finished, Search())
    begun = translate(finished, Search(prefix="la tike"))
    assert all(line.startswith("la tike") for line in begun if line), begun
    assert begun != plain
    # A line over the limit is translated in parts, of which only the first begins so.
    bundle = Bundle.load(finished.exp / "bundle-1", search=Search(prefix="la tike"))
    long = " ".join(["nifo niba guru tetela sa."] * bundle.description.max_source_subwords)
    bundle.search = Search(prefix="la tike")
    first, whole = bundle.translate(["nifo niba", long])
    assert bundle.counts.split == 1
    assert first.startswith("la tike") and whole.startswith("la tike")
    parts = Bundle.load(finished.exp / "bundle-1").translate([long])[0]
    assert whole.count("la tike") == parts.count("la tike") + (not parts.startswith("la tike"))
    short, long = (
        sum(map(len, translate(finished, Search(length_penalty=penalty)))) for penalty in (0, 3)
    )
    assert short < long


@pytest.mark.slow
def test_what_changed_is_counted(finished) -> None:
    bundle = Bundle.load(finished.exp / "bundle-1")
    bundle.translate(["nifo 12 niba", "nifo niba", "https://example.org nifo"])
    # The toy language has neither numbers nor addresses, so no output has them.
    assert bundle.counts.other_numbers == 1 and bundle.counts.other_addresses == 1
