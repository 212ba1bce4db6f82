"""The report of a finished experiment, looked at in a real browser."""

import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import REPOSITORY, Recipe

from pipeline.manifest import Manifest

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Text(HTMLParser):
    """All text of a page, and every address that it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_stranger_finds_the_answers(finished: Recipe) -> None:
    path = finished.exp / "report.html"
    page = Text(path.read_text(encoding="utf-8"))
    text = re.sub(r"\s+", " ", " ".join(page.words))
    assert path.stat().st_size < 3e6
    assert page.addresses == ["data:,"]  # nothing is fetched
    cleaning = Manifest.read(finished.exp / "clean")
    assert cleaning is not None
    assert f"{cleaning.facts['train_kept']:,}" in text
    for reason, count in cleaning.facts["train_dropped"].items():
        assert f"{count:,} {reason.replace('_', ' ')}" in text
    written = json.loads((finished.exp / "score" / "scores.json").read_text())
    row = written["systems"]["model-seed1"]["scores"][0]
    low, high = row["mean"] - row["interval"], row["mean"] + row["interval"]
    assert f"{row['value']:.2f} [{low:.1f}, {high:.1f}]" in text and row["signature"] in text
    p = row["p_value"]
    assert f"p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'}, randomisation" in text
    assert re.search("model scores (higher|lower) than the translation memory", text)
    assert "overfit" in text
    assert f"{shlex.quote(str(finished.script))} --exp-dir" in text
    assert f"--exp-dir '{finished.exp}'" in text
    for heading in ("In short", "Scores", "From raw text to training", "Training", "Examples",
                    "By length of the reference", "Where the model looks", "How to repeat it",
                    "the biggest losses"):  # fmt: skip
        assert heading in text, heading
    raw = Manifest.read(finished.exp / "fetch")
    assert raw is not None and raw.facts["sources"][0]["sha256"] in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
def test_it_opens_in_chromium_without_a_complaint(finished: Recipe, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    shutil.copyfile(finished.exp / "report.html", page)
    command = [
        *(CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--v=0"),
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    def said(path: Path, *options: str) -> tuple[str, str]:
        done = subprocess.run([*command, *options, path.as_uri()], capture_output=True, text=True,
                              timeout=120)  # fmt: skip
        return done.stdout, "\n".join(re.findall(r"CONSOLE.*", done.stderr))

    tree, complaints = said(page, "--dump-dom")
    assert complaints == "" and "<polyline" in tree
    assert len(re.findall("<h2", tree)) >= 8
    # The check itself can fail: what the page forbids is said on the console.
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</body>", '<img src="http://localhost/x"></body>'))
    assert "Content Security Policy" in said(broken, "--dump-dom")[1]


def test_only_one_metric_and_the_wrong_references(finished: Recipe, tmp_path: Path) -> None:
    exp, clean = tmp_path / "exp", finished.exp / "clean"
    shutil.copytree(finished.exp, exp)
    shutil.rmtree(exp / "score")
    command = [".venv/bin/python", "-m", "pipeline.stage", "7", "Score", "--exp", exp, "--in",
               exp / "translate-1", "--out", exp / "score", "--", ".venv/bin/python", "-m",
               "score.metrics", "--references", clean / "test.ca", "--target-language", "ca",
               "--systems.model-seed1", exp / "translate-1" / "hypotheses.txt", "--metrics+", "TER",
               "--by+", "length", "--out", exp / "score"]  # fmt: skip
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
    make = [".venv/bin/python", "-m", "score.page", "--exp", exp, "--source", clean / "test.es",
            "--out", tmp_path / "new" / "page.html", "--references"]  # fmt: skip
    subprocess.run([*make, clean / "test.ca"], check=True, cwd=REPOSITORY)
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "TER of model-seed1" in page and "BLEU" not in re.sub("<pre>.*?</pre>", "", page)
    done = subprocess.run([*make, clean / "test.ca", "--sentence", "3"], cwd=REPOSITORY)
    chosen = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert done.returncode == 0 and chosen != page
    done = subprocess.run([*make, clean / "test.ca", "--sentence", "999"], cwd=REPOSITORY,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2 and "lines, and no line 999" in done.stderr
    done = subprocess.run([*make, clean / "dev.ca"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and "dev.ca; give the references of its test set" in done.stderr


def test_results_and_card_come_from_manifests(finished: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    command = [".venv/bin/python", "-m", "score.results", "--experiments+", finished.exp,
               "--out", out]  # fmt: skip
    subprocess.run(command, check=True, cwd=REPOSITORY)
    lines = out.read_text(encoding="utf-8").splitlines()
    written = json.loads((finished.exp / "score" / "scores.json").read_text())
    value = written["systems"]["model-seed1"]["scores"][0]["value"]
    (row,) = [line for line in lines if line.startswith("| model")]
    assert row.startswith(f"| model | 1 | {value:.2f} [") and "| 30 |" in row
    assert str(finished.exp.parent) not in out.read_text()
    compare = [".venv/bin/python", "-m", "score.compare", finished.exp, "--form", "csv"]
    done = subprocess.run(compare, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    row = next(line for line in done.stdout.splitlines() if line.startswith("exp,1,"))
    assert f"{value:.2f} [" in row and re.search(
        r"[\d.]+,\"?[\d,]+\"?$", row
    )  # minutes, parameters
    card = (finished.exp / "bundle-1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    binary = Manifest.read(finished.exp / "binary")
    assert binary is not None
    assert f"{binary.facts['sets']['train.es']['sentences']:,} pairs" in card
    assert "- updates: 30" in card and str(finished.tsv) in card
