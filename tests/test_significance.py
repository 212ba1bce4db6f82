"""Scores, intervals and p-values are sacreBLEU's own, to the last digit, but for ties."""

import gzip
import json
import os
import random
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_bleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.lib_ter import translation_edit_rate
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from pipeline.errors import RecipeError
from pipeline.lines import write_lines
from score.edits import distances, edits
from score.measures import measure
from score.metrics import score
from score.statistics import (
    bootstrap,
    bootstrap_p_value,
    confidence,
    randomisation_p_value,
    value,
)

XQUAD = Path(__file__).resolve().parents[2] / "shared" / "data" / "xquad"
ALPHABETS = {
    "ca": "aàbcdeéfiïlmnoòrstuç",
    "yo": "aábdeẹfgijklmnoọrsṣtuwy",
    "el": "αάβγδεηθικλμνοπρστω",
    "ru": "абвгдежзийклмнопрсту",
    "ar": "ابتثجحدرسعفقكلمنهوي",
    "hi": "कखगचजटडतदनपबमयरलवसह",
    "zh": "我你他的是在有人这中大来上个国到说们",
}


def text(language: str, lines: int) -> list[str]:
    """Lines of made-up words, the frequent ones often, with punctuation."""
    dice = random.Random(language)
    letters = ALPHABETS[language]
    words = ["".join(dice.choices(letters, k=dice.randint(1, 7))) for _ in range(60)]
    space = "" if language == "zh" else " "
    return [
        space.join(words[int(60 * dice.random() ** 3)] for _ in range(dice.randint(4, 18)))
        + dice.choice([".", "!", ", 3.5%"])
        for _ in range(lines)
    ]


def worse(lines: Sequence[str], share: float, seed: int) -> list[str]:
    """Some characters left out, lines cut short, and neighbours exchanged."""
    dice = random.Random(seed)
    made = ["".join(c for c in line if dice.random() > share) for line in lines]
    made[3] = ""
    cut = [line[: len(line) // 2] if dice.random() < share else line for line in made]
    return [unicodedata.normalize("NFC", line) for line in cut]  # else ours is not sacreBLEU's


def equal_to_sacrebleu(language: str, references: Sequence[str]) -> int:
    """Compare four systems of this text; how many scores and p-values were neither 0 nor 1."""
    shares = (0.05, 0.052, 0.06, 0.15)
    systems = [worse(references, share, number) for number, share in enumerate(shares)]
    tokenizer = "zh" if language == "zh" else "13a"
    telling = 0
    for name, theirs in (("BLEU", BLEU(tokenize=tokenizer)), ("chrF", CHRF()),
                         ("chrF++", CHRF(word_order=2)), ("TER", TER())):  # fmt: skip
        ours = measure(name, [references], language)
        counts = [ours.count(lines) for lines in systems]
        samples = [bootstrap(ours, table, 200) for table in counts]
        named = [(str(number), lines) for number, lines in enumerate(systems)]
        for test in ("bs", "ar"):
            signatures, found = PairedTest(named, {name: theirs}, [references], test, 200)()
            ((key, signature),) = signatures.items()
            drawn = {"bs": "bs:200", "ar": "ar:200"}[test] + "|seed:12345|"
            assert str(signature).replace(drawn, "") == ours.signature
            for number, result in enumerate(found[key]):
                assert value(ours, counts[number]) == result.score
                if test == "bs":
                    sure = confidence(samples[number])
                    assert (sure.mean, sure.interval) == (float(result.mean), float(result.ci))
                if not number:
                    continue
                difference = value(ours, counts[number]) - value(ours, counts[0])
                p_value = (
                    bootstrap_p_value(difference, samples[number], samples[0])
                    if test == "bs"
                    else randomisation_p_value(ours, [counts[number]], [counts[0]], 200)
                )
                if (test, name) == ("ar", "TER"):  # few numbers: many differences as large
                    assert p_value >= result.p_value
                else:
                    assert p_value == result.p_value
                telling += 1 / 201 < p_value < 1
    return telling


@pytest.mark.parametrize("language", ALPHABETS)
def test_all_is_equal_to_sacrebleu(language: str) -> None:
    assert equal_to_sacrebleu(language, text(language, 80)) > 5


@pytest.mark.slow
@pytest.mark.skipif(not XQUAD.exists(), reason="needs XQuAD in ../shared/data")
@pytest.mark.parametrize("language", ["de", "tr", "ar", "hi", "ru", "vi", "zh"])
def test_all_is_equal_to_sacrebleu_on_real_text(language: str) -> None:
    with gzip.open(XQUAD / f"xquad.{language}.json.gz", "rt", encoding="utf-8") as file:
        data = json.load(file)["data"]
    questions = [
        unicodedata.normalize("NFC", " ".join(qa["question"].split()))
        for article in data
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    assert len(questions) == 1190
    assert equal_to_sacrebleu(language, questions[::4]) > 5


def test_several_references_are_those_of_sacrebleu() -> None:
    first, second = text("ca", 50), worse(text("ca", 50), 0.1, 5)
    lines = worse(first, 0.1, 9)
    for name, theirs in (("BLEU", BLEU()), ("chrF", CHRF()), ("TER", TER())):
        ours = measure(name, [first, second], "ca")
        assert value(ours, ours.count(lines)) == theirs.corpus_score(lines, [first, second]).score
        assert ours.signature == str(theirs.get_signature())
        assert "nrefs:2" in ours.signature


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_seeds_together_by_hand(tmp_path: Path) -> None:
    """The mean over seeds is compared on the same samples of the test set."""
    refs = text("ca", 60)
    systems = {
        f"{name}-seed{seed}": worse(refs, share, 10 * seed + place)
        for place, (name, share) in enumerate((("base", 0.08), ("other", 0.07)))
        for seed in (1, 2)
    }
    files = {name: write(tmp_path / name, lines) for name, lines in systems.items()}
    reference = write(tmp_path / "ref", refs)
    arguments = (files, reference, tmp_path / "out", "ca")
    score(*arguments, baseline="base", metrics=["length ratio"])
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    drawn = np.random.default_rng(12345).choice(60, size=(1000, 60))
    wanted = np.array([len(line) for line in refs])
    lengths = {name: np.array([len(line.strip()) for line in systems[name]]) for name in systems}

    def ratio(name: str, lines: Any) -> Any:
        seeds = [lengths[f"{name}-seed{seed}"][lines].sum(-1) for seed in (1, 2)]
        return 100 * np.mean(seeds, axis=0) / wanted[lines].sum(-1)

    base, other = (ratio(name, drawn) for name in ("base", "other"))
    differences, every = np.abs(other - base), np.arange(60)
    real = abs(ratio("other", every) - ratio("base", every))
    beyond = np.sum(differences - differences.mean() > real)
    found = written["seeds_together"]["other"]["length ratio"]
    assert found["p_value"] == pytest.approx((beyond + 1) / 1001, abs=1e-9)
    assert 0.002 < found["p_value"] < 1
    assert found["mean"] == pytest.approx(other.mean())
    assert written["seeds_together"]["base"]["length ratio"]["p_value"] is None
    score(*arguments, baseline="base", test="randomisation", metrics=["length ratio"])
    exchanged = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert exchanged["test"] == "randomisation"
    chosen = np.random.default_rng(12345).integers(2, size=(10_000, 60), dtype=bool)
    by_line = sum(lengths[f"other-seed{s}"] - lengths[f"base-seed{s}"] for s in (1, 2)) / 2
    # In whole letters: half ones add up without rounding.
    swapped = np.abs(np.where(chosen, -by_line, by_line).sum(1))
    expected = (np.sum(swapped >= abs(by_line.sum())) + 1) / 10_001
    together = exchanged["seeds_together"]["other"]["length ratio"]["p_value"]
    assert together == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["BLEU", "chrF", "TER", "exact match", "ROUGE-1"])
def test_few_lines_that_differ_are_chance(metric: str) -> None:
    """Of n lines, all better, two in 2^n exchanges are as good (sign test): 1, 1/2, 1/4, ..."""
    refs = [f"{number} a line of words" for number in range(200)]
    ours = measure(metric, [refs], "en")
    good = ours.count(refs)
    for lines in (1, 2, 4, 7):
        bad = ours.count([*(["a line"] * lines), *refs[lines:]])
        p_value = randomisation_p_value(ours, [good], [bad])
        assert p_value == pytest.approx(2 ** (1 - lines), abs=0.02), lines


def test_randomisation_needs_as_many_seeds() -> None:
    table = np.ones((3, 2))
    with pytest.raises(RecipeError, match="1 seeds against 2; use --test bootstrap"):
        randomisation_p_value(measure("exact match", [["a"] * 3], "en"), [table], [table, table])


def test_the_same_system_is_not_different() -> None:
    ours = measure("chrF", [text("ca", 30)], "ca")
    counts = ours.count(worse(text("ca", 30), 0.1, 1))
    samples = bootstrap(ours, counts, 50)
    # sacreBLEU's rule would give 1/51, "not by chance".
    assert bootstrap_p_value(0.0, samples, samples) == 1
    assert randomisation_p_value(ours, [counts], [counts], 50) == 1


def test_rouge_is_rouge_score_s() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    refs = ["The cat sat on the mat.", "Open the file, then save it!", "No."]
    hyps = ["A cat sat on a mat.", "Save the file, then open it!", "Yes."]
    for name in ("ROUGE-1", "ROUGE-2", "ROUGE-L"):
        kind = name.replace("ROUGE-", "rouge")
        theirs = mean(
            RougeScorer([kind]).score(ref, hyp)[kind].fmeasure
            for ref, hyp in zip(refs, hyps, strict=True)
        )
        ours = measure(name, [refs], "en")
        assert value(ours, ours.count(hyps)) == pytest.approx(100 * theirs, abs=1e-9)
    # Their own tokeniser sees no word here: ours sees 3 of 4, then 4 of 5 letters.
    for language, ref, hyp, share in (
        ("ru", "кот сел на ковёр", "кот лёг на ковёр", 3 / 4),
        ("zh", "我打开文件", "我打开文档", 4 / 5),
        ("yo", "ọmọ náà lọ ilé", "ọmọ náà wá ilé", 3 / 4),
    ):
        ours = measure("ROUGE-1", [[ref]], language)
        assert value(ours, ours.count([hyp])) == pytest.approx(100 * share)


def test_exact_match_and_length_by_hand() -> None:
    refs = [["Un gat.", "Dos gats", "tres"], ["un gat.", "Dos", ""]]
    hyps = ["un gat. ", "Dos gats", "quatre"]
    exact, length = (measure(name, refs, "ca") for name in ("exact match", "length ratio"))
    assert value(exact, exact.count(hyps)) == pytest.approx(200 / 3)
    assert value(length, length.count(hyps)) == pytest.approx(100 * (7 + 8 + 6) / (7 + 8 + 4))
    one = measure("exact match", refs[:1], "ca")
    assert value(one, one.count(hyps)) == pytest.approx(100 / 3)


def test_what_is_not_installed_is_said() -> None:
    with pytest.raises(RecipeError, match=r"sacrebleu\[ja\]"):
        measure("BLEU", [["猫"]], "jpn_Jpan")
    with pytest.raises(RecipeError, match=r"sacrebleu\[ko\]"):
        measure("BLEU", [["고양이"]], "ko")
    with pytest.raises(RecipeError, match="unknown metric 'bleu'; there are BLEU, chrF"):
        measure("bleu", [["a"]], "en")


def test_parts_and_segments(tmp_path: Path) -> None:
    refs = ["a b c d e", "a b c d e f g", "x y z w v u t", "a"]
    hyps = ["a b c d e", "a b c d e f g", "x y z w v u", "b"]
    files = {"m": write(tmp_path / "h", hyps)}
    labels = write(tmp_path / "domain", ["news", "law", "law", "news"])
    score(files, write(tmp_path / "r", refs), tmp_path / "out", "en", segments=True,
          metrics=["BLEU", "exact match"], by=["length", str(labels)])  # fmt: skip
    parts = json.loads((tmp_path / "out" / "scores.json").read_text())["parts"]
    assert list(parts["length"]) == ["0–5", "6–10"]
    assert parts["length"]["0–5"]["scores"]["m"]["exact match"] == 50
    assert parts[str(labels)]["law"]["lines"] == 2
    law = BLEU().corpus_score(hyps[1:3], [refs[1:3]]).score
    assert parts[str(labels)]["law"]["scores"]["m"]["BLEU"] == law
    segments = (tmp_path / "out" / "segments.tsv").read_text().splitlines()
    assert segments[0] == "line\tsystem\tBLEU\texact match"
    assert segments[2] == "2\tm\t100.0000\t100.0000" and len(segments) == 5
    for number in range(4):
        theirs = sentence_bleu(hyps[number], [refs[number]]).score
        assert segments[number + 1].split("\t")[2] == f"{theirs:.4f}"
    with zipfile.ZipFile(tmp_path / "out" / "counts.npz") as counts:
        assert counts.namelist() == ["m/BLEU.npy", "m/exact match.npy"]
    train = write(tmp_path / "train", ["u v", "u", *["v"] * 9])
    sources = write(tmp_path / "s", ["u v", "v", "w v", ""])
    score(files, tmp_path / "r", tmp_path / "out", "en", source=sources, by=["rarest"], train=train,
          metrics=["exact match"])  # fmt: skip
    rarest = json.loads((tmp_path / "out" / "scores.json").read_text())["parts"]["rarest"]
    assert {name: part["lines"] for name, part in rarest.items()} == {
        "0": 2,  # w is unknown, and a line without words
        "1–9": 1,  # u comes twice
        "10–99": 1,  # v ten times
    }
    second = write(tmp_path / "r2", ["q", "q", hyps[2], "b"])
    score(files, tmp_path / "r", tmp_path / "out", "en", more_references=[second],
          metrics=["exact match"])  # fmt: skip
    both = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert both["systems"]["m"]["scores"][0]["value"] == 100 and len(both["references"]) == 2
    with pytest.raises(RecipeError, match=r"short has 2 lines, .*r 4"):
        score(files, tmp_path / "r", tmp_path / "out", "en",
              more_references=[write(tmp_path / "short", ["a", "b"])])  # fmt: skip
    with pytest.raises(RecipeError, match="needs --source, and --train"):
        score(files, tmp_path / "r", tmp_path / "out", "en", by=["rarest"])
    before = (tmp_path / "out" / "counts.npz").read_bytes()
    with pytest.raises(RecipeError, match="2 labels for 4 lines"):
        short = write(tmp_path / "short", ["a", "b"])
        score(files, tmp_path / "r", tmp_path / "out", "en", by=[str(short)])
    assert (tmp_path / "out" / "counts.npz").read_bytes() == before


def test_systems_with_other_seeds_than_the_baseline(tmp_path: Path) -> None:
    refs = text("ca", 40)
    shares = {"a-seed1": 0.1, "a-seed3": 0.12, "b-seed1": 0.05, "b-seed2": 0.06, "copy": 0.4}
    files = {name: write(tmp_path / name, worse(refs, share, place))
             for place, (name, share) in enumerate(shares.items())}  # fmt: skip
    for test in ("bootstrap", "randomisation"):
        score(files, write(tmp_path / "r", refs), tmp_path / "out", "ca", metrics=["chrF"],
              baseline="a", test=test)  # fmt: skip
        written = json.loads((tmp_path / "out" / "scores.json").read_text())
        alone = {n: system["scores"][0]["p_value"] for n, system in written["systems"].items()}
        assert alone["b-seed1"] is not None and alone["b-seed2"] is None
        together = written["seeds_together"]
        assert together["a"]["chrF"]["p_value"] is None
        assert 0 < together["b"]["chrF"]["p_value"] < 0.05
        assert together["copy"]["chrF"]["p_value"] < 0.001 + 1 / 1001


@given(
    st.lists(st.tuples(st.text("ab é\u3000字𝄞", max_size=9), st.text("ab é字𝄞", max_size=9)),
             min_size=1, max_size=5)
)  # fmt: skip
def test_letters_are_counted_as_by_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    """Short lines, blank ones, and letters outside of 16 bits: each line's counts are the same."""
    hypotheses, references = zip(*pairs, strict=True)
    ours = measure("chrF", [references], "en").count(hypotheses)
    assert ours.tolist() == CHRF()._extract_corpus_statistics(hypotheses, [references])


def test_a_line_of_very_many_letters_is_counted_as_by_sacrebleu() -> None:
    line = "".join(map(chr, range(0x4E00, 0x4E00 + 3000)))
    ours = measure("chrF", [[line]], "zh").count([line[500:]])
    assert ours.tolist() == CHRF()._extract_corpus_statistics([line[500:]], [[line]])


def test_a_score_without_matches_is_sacrebleus() -> None:
    hypotheses, references = ["a b c d e", "x y"], ["a b c f e", "z"]
    for name, metric in (("BLEU", BLEU()), ("chrF", CHRF())):
        made = measure(name, [references], "en")
        expected = metric.corpus_score(hypotheses, [references]).score
        assert value(made, made.count(hypotheses)) == expected


_words = st.lists(st.sampled_from("abcdefg"), max_size=9)


@given(st.lists(st.tuples(_words, _words), min_size=1, max_size=4))
def test_edits_are_counted_as_by_sacrebleu(pairs: list[tuple[list[str], list[str]]]) -> None:
    """Few different words, so that there is much to move."""
    hypotheses, references = zip(*pairs, strict=True)
    assert edits(hypotheses, references).tolist() == [
        translation_edit_rate(ours, wanted)[0] for ours, wanted in pairs
    ]


def test_edits_of_long_lines_are_counted_as_by_sacrebleu() -> None:
    """Longer than the band that sacreBLEU looks at; parts moved, left out and put in."""
    dice, differences = random.Random(1), 0
    for _ in range(100):
        wanted = [str(dice.randrange(40)) for _ in range(dice.randrange(20, 70))]
        ours = [word for word in wanted if dice.random() > dice.choice((0.05, 0.3))]
        at, to = dice.randrange(len(ours)), dice.randrange(len(ours))
        ours[to:to] = dice.sample(ours[at : at + 5], len(ours[at : at + 5]))
        expected = translation_edit_rate(ours, wanted)[0]
        assert edits([ours], [wanted]).tolist() == [expected]
        differences += expected != distances([ours], [wanted])[0]
    assert differences > 10  # moving did help in some


@pytest.mark.slow
def test_spbleu_is_that_of_sacrebleus_command(tmp_path: Path) -> None:
    """With a model of our own in the place of FLORES-200's, which the command finds there, too."""
    lines = text("ca", 400)
    models = tmp_path / "models"
    models.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(models / "made"), vocab_size=60,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (models / "made.model").rename(models / "flores200sacrebleuspm")
    write_lines(tmp_path / "references", lines)
    write_lines(tmp_path / "system", (line[: len(line) * 2 // 3] for line in lines))
    there = {**os.environ, "SACREBLEU": str(tmp_path)}
    theirs = json.loads(
        subprocess.run(
            [sys.executable, "-m", "sacrebleu", tmp_path / "references", "-i", tmp_path / "system",
             "--tokenize", "flores200", "--width", "12"],
            env=there, check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "score.metrics", "--references", tmp_path / "references",
         "--target-language", "ca", "--systems.it", tmp_path / "system", "--metrics+", "spBLEU",
         "--out", tmp_path / "score"],
        env=there, check=True,
    )  # fmt: skip
    (ours,) = json.loads((tmp_path / "score/scores.json").read_text())["systems"]["it"]["scores"]
    assert round(ours["value"], 12) == theirs["score"]
    assert ours["signature"] == theirs["signature"]
    assert "tok:flores200" in ours["signature"]
