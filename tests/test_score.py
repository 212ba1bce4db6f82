"""Scores equal to sacreBLEU's command, and the checks before them."""

import json
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_bitext
from preprocess.bitext import write_languages
from score.baselines import baselines, nearest, without_words
from score.metrics import check, score, scores
from score.report import samples

REFS = ["El gat dorm al sofà.", "Obre el fitxer, si us plau!", "No hi ha res.", "Desa-ho tot ara."]
HYPS = ["El gat dorm al sofa.", "Obri el fitxer si us plau!", "No hi ha res.", "Desa tot."]


@pytest.mark.parametrize(
    ("language", "tokenizer", "hyps", "refs"),
    [
        ("ca", "13a", HYPS, REFS),
        ("zho_Hans", "zh", ["我打开了文件。", "猫在睡觉"], ["我打开文件了。", "猫在沙发上睡觉。"]),
    ],
)
def test_scores_are_those_of_the_sacrebleu_command(
    tmp_path: Path, language: str, tokenizer: str, hyps: list[str], refs: list[str]
) -> None:
    (tmp_path / "ref").write_text("".join(f"{line}\n" for line in refs))
    (tmp_path / "hyp").write_text("".join(f"{line}\n" for line in hyps))
    command = [
        *(sys.executable, "-m", "sacrebleu", tmp_path / "ref", "-i", tmp_path / "hyp"),
        *("-m", "bleu", "chrf", "ter", "-tok", tokenizer, "-w", "10"),
    ]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    ours = scores(hyps, refs, language)
    assert [s.metric for s in ours] == ["BLEU", "chrF", "TER"]
    for our, their in zip(ours, theirs, strict=True):
        assert our.value == pytest.approx(their["score"], abs=1e-9)
        assert our.signature == their["signature"]


def test_p_values_are_those_of_the_sacrebleu_command(tmp_path: Path) -> None:
    """Three systems with words left out; one as good as the baseline, one far worse."""
    generator = random.Random(3)
    words = "el gat dorm al sofà i la casa és gran però no hi ha ningú ara".split()  # noqa: SIM905
    refs = [" ".join(generator.choices(words, k=12)) for _ in range(150)]
    systems = {
        name: [" ".join(w for w in line.split() if generator.random() > share) for line in refs]
        for name, share in (("base-seed1", 0.2), ("same-seed1", 0.2), ("worse-seed1", 0.4))
    }
    for name, lines in {"ref": refs, **systems}.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    command = [
        *(sys.executable, "-m", "sacrebleu", tmp_path / "ref", "-i"),
        *(tmp_path / name for name in systems),
        *("-m", "bleu", "chrf", "--paired-bs", "-f", "text"),
    ]
    # Its JSON fails on NumPy's numbers; the table has four digits.
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    theirs = [float(value) for value in re.findall(r"\(p = ([\d.]+)\)", shown)]
    files = {name: tmp_path / name for name in systems}
    score(files, tmp_path / "ref", tmp_path / "out", "ca", baseline="base")
    ours = json.loads((tmp_path / "out" / "scores.json").read_text())["systems"]
    rows = (ours[name]["scores"] for name in ("same-seed1", "worse-seed1"))
    found = [row[place]["p_value"] for row in rows for place in (0, 1)]
    assert found == pytest.approx(theirs, abs=5e-5) and len(theirs) == 4
    assert ours["worse-seed1"]["scores"][0]["p_value"] < 0.01
    assert ours["same-seed1"]["scores"][0]["p_value"] > 0.05
    assert ours["base-seed1"]["scores"][0]["p_value"] is None
    with pytest.raises(RecipeError, match="there is no system other"):
        score(files, tmp_path / "ref", tmp_path / "out", "ca", baseline="other")


def test_numbers_of_lines_must_agree() -> None:  # S2
    with pytest.raises(RecipeError, match="2 hypotheses but 3 references"):
        check(["a", "b"], ["a", "b", "c"])
    with pytest.raises(RecipeError, match="both files are empty"):
        check([], [])


def test_all_blank_is_zero_with_a_warning() -> None:  # S2
    assert check(["", " "], ["a", "b"]) == ["all hypotheses are blank"]
    assert scores(["", ""], ["a b c d", "e"], "ca")[0].value == 0


def test_subword_markers_left_in_are_refused() -> None:  # F1
    for hypotheses in (["▁the ▁red d og"], ["th@@ e red"], ["the red </s>"]):
        with pytest.raises(RecipeError, match="hold the subword marker"):
            check(hypotheses, ["the red dog"])
    assert check(["what is </s>?"], ["what is </s>?"]) == []


def test_what_was_never_restored_is_said() -> None:
    references = ["El gat dorm, però poc.", "Obre el fitxer.", "Desa-ho tot."] * 4
    tokenised = [line.replace(",", " ,").replace(".", " .") for line in references]
    assert check(references, references) == []
    assert check([", .", ".", "- ."] * 4, references) == []  # no words: neither tokenised nor small
    assert check(tokenised, references) == [
        "12 hypotheses look tokenised and 0 references: detokenise them"
    ]
    assert check(tokenised, tokenised) == []
    small = [line.lower() for line in references]
    assert check(small, references) == [
        "no hypothesis has a capital letter and 12 references have: restore case, or say "
        "--lowercase true"
    ]
    assert check(small, references, lowercase=True) == check(small, small) == []
    assert check(["我打开文件"], ["我打开了文件"]) == []  # there is no case
    sources = ["Abra el archivo."] * 12
    copied = ["Obre el fitxer.", *sources[1:]]
    assert check(copied, references, sources) == ["11 hypotheses are the source as it was"]
    assert check(sources, references, sources) == []  # the baseline that copies
    assert check(references, references, references) == []  # names, numbers: as they should be


def test_composed_and_decomposed_text_are_equal_and_said() -> None:  # N2
    text = "Ọmọ náà lọ sí ọjà ní àárọ̀"
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert check([decomposed], [composed]) == [
        "1 hypotheses are not in NFC; scored after composing them"
    ]
    assert scores([decomposed], [composed], "yo")[0].value == pytest.approx(100)


def test_a_carriage_return_does_not_add_a_line(tmp_path: Path) -> None:  # M2
    (tmp_path / "ref").write_bytes(b"alpha one\r two\nbeta gamma delta epsilon\n")
    (tmp_path / "hyp").write_bytes(b"alpha one  two\nbeta gamma delta epsilon\n")
    score({"model": tmp_path / "hyp"}, tmp_path / "ref", tmp_path / "out", "en")
    result = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert result["lines"] == 2
    assert result["systems"]["model"]["scores"][0]["value"] == pytest.approx(100)


def test_a_byte_order_mark_costs_nothing(tmp_path: Path) -> None:  # Z1
    text = "one two three four\nfive six seven eight\nnine ten eleven twelve\n"
    (tmp_path / "ref").write_text(text)
    (tmp_path / "hyp").write_text("\ufeff" + text)
    score({"m": tmp_path / "hyp"}, tmp_path / "ref", tmp_path / "out", "en")
    result = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert result["systems"]["m"]["scores"][0]["value"] == pytest.approx(100)


def test_the_nearest_sentence_by_hand() -> None:
    memory = ["abre la ventana", "guarda el archivo", "abre el archivo"]
    assert nearest(["abre los archivos", "guarda la ventana ya", "xyz"], memory)[:1] == [2]
    assert nearest(["guarda el archivo"], memory) == [1]
    assert nearest(["абв"], memory) == [0]  # nothing in common: the first


def test_samples_are_wrapped_and_labelled(tmp_path: Path) -> None:
    for name in "shr":
        (tmp_path / name).write_text(
            "".join(f"{name} word {n} of seven in all\n" for n in range(9))
        )
    text = list(samples(tmp_path / "s", tmp_path / "h", tmp_path / "r", 3))
    assert len(text) == 12
    assert text[0] == "source     s word 0 of seven in all"
    assert text[6] == "reference  r word 3 of seven in all"


def test_without_case_it_is_sacrebleu_s_with_its_own_signature(tmp_path: Path) -> None:
    hypotheses, references = ["ein mann in berlin sitzt ."], ["Ein Mann in Berlin sitzt."]
    (tmp_path / "h").write_text(hypotheses[0] + "\n")
    (tmp_path / "r").write_text(references[0] + "\n")
    command = [sys.executable, "-m", "sacrebleu", tmp_path / "r", "-i", tmp_path / "h", "-lc", "-b"]
    done = subprocess.run([*command, "-w", "4"], capture_output=True, text=True, check=True)
    ours = scores(hypotheses, references, "de", lowercase=True)
    assert f"{ours[0].value:.4f}" == done.stdout.strip() and "case:lc" in ours[0].signature
    assert ours[0].value > 2 * scores(hypotheses, references, "de")[0].value
    assert "case:lc" in ours[1].signature  # chrF too


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("Pulse F4, y después «Sí» (3,5 %): don't e-mail!", ", « » (3,5 %): !"),
        ("Нажмите «Да» – 2 раза.", "« » – 2 ."),
        ("पैंथर्स की 308 अंक।", "308 ।"),  # vowel signs are marks, no letters
        ("عدد ١٢٫٥؟", "١٢٫٥؟"),
        ("a - b -c 'd' 10–12 co\u200dop snake_case", "- - ' ' 10–12 _"),
        ("Nada", ""),
        ("", ""),
    ],
)
def test_what_is_left_without_words(line: str, left: str) -> None:
    assert without_words(line) == left


@pytest.mark.slow
def test_baselines_of_another_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tgt, written in (("en", True), ("bg", False)):
        data, out = tmp_path / f"data-{tgt}", tmp_path / tgt
        write_languages(data, "ru", tgt)
        sets = {"train": ["Привет, мир!", "Пока."], "test": ["Москва, 3,5 %.", "", "Привет мир"]}
        for name, lines in sets.items():
            write_bitext(
                data / f"{name}.ru", data / f"{name}.{tgt}", zip(lines, lines, strict=True)
            )
        baselines(data, out)
        assert list(read_lines(out / "punctuation.txt")) == [", 3,5 %.", "", ""]
        assert list(read_lines(out / "memory.txt"))[2] == "Привет, мир!"
        assert (out / "transliteration.txt").exists() is written
    latin = list(read_lines(tmp_path / "en" / "transliteration.txt"))
    assert latin == ["Moskva, 3,5 %.", "", "Privet mir"]
    assert "no transliteration" not in capsys.readouterr().out
