"""The whole road on a toy bitext: second runs, changed options, kills, options of the shell."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import toy
from conftest import QUICKSTART, TEMPLATE, Recipe

from pipeline.manifest import Manifest

pytestmark = pytest.mark.slow

# Output directory of each stage, in order.
OUTS = ("fetch", "inspect", "clean", "subword", "binary", "train-1", "bundle-1", "translate-1",
        "baselines", "score")  # fmt: skip
BEFORE_TRAINING = OUTS[:5]


def ran(output: str) -> list[str]:
    """Titles of the stages that were not up to date."""
    lines = output.split("\n")
    return [
        lines[n - 1].split("  ", 1)[-1].strip()
        for n, line in enumerate(lines)
        if "runs because:" in line
    ]


def digests(exp: Path, outs: tuple[str, ...]) -> dict[str, dict[str, str]]:
    result = {}
    for out in outs:
        manifest = Manifest.read(exp / out)
        assert manifest is not None, out
        assert manifest.damage(exp / out) is None
        result[out] = {name: record.sha256 for name, record in manifest.files.items()}
    return result


def test_a_second_run_does_nothing_and_says_so(finished: Recipe) -> None:
    started = time.monotonic()
    output = finished.run()
    assert time.monotonic() - started < 15  # 3 s on a machine that has nothing else to do
    assert output.count(": up to date") == len(OUTS) and ran(output) == []
    for text in ("copy of the source", "translation memory", "BLEU: nrefs:1|case:mixed", "together",
                 "decode.translate --bundle", "--force 5", "recipes/template"):  # fmt: skip
        assert text in output


def test_list_and_chain(finished: Recipe) -> None:
    output = finished.run("--list")
    assert [line.split()[-1] for line in output.strip().split("\n")] == ["done"] * len(OUTS)
    command = [".venv/bin/python", "-m", "pipeline.manifest", finished.exp / "score/scores.json"]
    chain = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=QUICKSTART.parents[2]
    ).stdout
    raw = subprocess.run(["sha256sum", finished.tsv], capture_output=True, text=True).stdout[:64]
    assert f"raw   {raw}  file:{finished.tsv}" in chain
    for stage in range(1, 8):
        assert stage == 2 or f"stage {stage} " in chain
    assert "CHANGED SINCE" not in chain


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, finished: Recipe) -> Recipe:
    """A finished toy experiment of our own, to change."""
    directory = tmp_path_factory.mktemp("own")
    own = Recipe(directory)
    subprocess.run(["cp", "-a", finished.exp, own.exp], check=True)
    own.tsv.write_bytes(finished.tsv.read_bytes())
    own.run()  # the toy file lies elsewhere: fetched again, with the same bytes
    return own


def test_a_changed_option_reruns_what_depends_on_it(recipe: Recipe) -> None:
    output = recipe.run("--set", "vocab_size=100")
    assert ran(output) == [
        "Learn and apply subwords",
        "Binarise",
        "Train, seed 1",
        "Export a model bundle, seed 1",
        "Translate the test set, seed 1",
        "Score",
    ]
    assert "runs because: option --vocab-size changed from 150 to 100" in output
    listed = recipe.run("--list")  # with 150 again
    states = dict(zip(OUTS, listed.strip().split("\n"), strict=True))
    assert states["subword"].endswith("stale: option --vocab-size changed from 100 to 150")
    assert states["train-1"].endswith("stale: its input binary will be made anew")
    assert states["clean"].endswith("done") and states["baselines"].endswith("done")
    recipe.run()


def test_a_change_without_effect_reruns_no_more(recipe: Recipe) -> None:
    """The same text in another order of options: only what reads the change runs."""
    (recipe.exp / "clean" / "dropped.tsv").unlink()
    assert ran(recipe.run()) == ["Clean it"]


def test_force_and_ranges(recipe: Recipe) -> None:
    before = digests(recipe.exp, OUTS)
    assert ran(recipe.run("--force", "3")) == ["Learn and apply subwords"]
    output = recipe.run("--stage", "3", "--stop-stage", "4")
    assert [line.split(": ")[0].strip() for line in output.strip().split("\n")] == [
        "3  Learn and apply subwords",
        "4  Binarise",
    ]
    assert digests(recipe.exp, OUTS) == before


def test_the_same_seed_gives_the_same_bytes(recipe: Recipe) -> None:
    before = digests(recipe.exp, ("train-1", "translate-1", "score"))
    assert ran(recipe.run("--force", "5")) == ["Train, seed 1"]
    after = digests(recipe.exp, ("train-1", "translate-1", "score"))
    assert after["train-1"]["checkpoint.pt"] == before["train-1"]["checkpoint.pt"]
    assert after["translate-1"] == before["translate-1"] and after["score"] == before["score"]


def test_dry_run_prints_commands_that_run(recipe: Recipe, tmp_path: Path) -> None:
    lines = recipe.run("--dry-run").strip().split("\n")
    assert len(lines) == len(OUTS)
    result = subprocess.run(["bash", "-c", lines[3]], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == " 3  Learn and apply subwords: up to date\n", result.stderr
    raw = shlex.split(lines[3])
    raw = [part.replace(str(recipe.exp / "subword"), str(tmp_path / "o")) for part in raw]
    subprocess.run(raw[raw.index("--") + 1 :], check=True, capture_output=True, cwd=tmp_path)
    made = (tmp_path / "o" / "subword.model").read_bytes()
    assert made == (recipe.exp / "subword" / "subword.model").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "vocabulary=9"), "the settings are src tgt train vocab_size"),
        (("--stage", "x"), "needs the number of a stage, not 'x'"),
        (("--stage",), "--stage needs a value"),
        (("--sTage", "3"), "unknown option '--sTage'"),
    ],
)
def test_wrong_options_are_one_sentence(
    recipe: Recipe, options: tuple[str, ...], message: str
) -> None:
    output = recipe.run(*options, code=2)
    assert message in output and output.count("\n") == 1


def test_a_changed_raw_file_is_noticed(recipe: Recipe) -> None:
    original = recipe.tsv.read_bytes()
    recipe.tsv.write_bytes(original + b"nou text aqui.\tnou text.\n")
    assert "toy.tsv was changed after it was fetched" in recipe.run("--list")
    recipe.tsv.write_bytes(original)
    assert "stale" not in recipe.run("--list")


def test_sigkill_in_each_stage(finished: Recipe, tmp_path: Path) -> None:
    """Killed in the middle of every stage, the recipe ends with the same data and scores."""
    recipe = Recipe(tmp_path)
    for out in OUTS:
        partial = recipe.exp / f"{out}.partial"
        process = subprocess.Popen(
            recipe.command(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if partial.exists() and (out != "train-1" or list(partial.glob("checkpoint_1_10.pt"))):
                break
            time.sleep(0.002)
        assert process.poll() is None, f"{out} was over before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (recipe.exp / out).exists()
        if out == "train-1":
            wait_until_unlocked(recipe.exp)
            (partial / "checkpoint_last.pt").write_bytes(b"cut by the kill")
    output = recipe.run()
    assert "up to date" in output and "2  Inspect it: up to date" in output
    log = (recipe.exp / "train-1" / "fairseq.log").read_text()
    assert log.count("$ fairseq-train") == 2
    assert re.search("Loaded checkpoint .* @ 10 updates", log)  # not from zero
    assert digests(recipe.exp, BEFORE_TRAINING) == digests(finished.exp, BEFORE_TRAINING)
    scores = [
        json.loads((exp / "score" / "scores.json").read_text())
        for exp in (recipe.exp, finished.exp)
    ]
    assert scores[0] == scores[1]


def wait_until_unlocked(exp: Path) -> None:
    """The killed run's children end with it; give the kernel a moment."""
    subprocess.run(["flock", "--wait", "5", exp / ".lock", "true"], check=True)


def test_a_failing_stage_is_shown_and_mended(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path)
    good = recipe.tsv.read_bytes()
    recipe.tsv.write_bytes(good + b"no tab in this line\n")
    output = recipe.run(code=1)
    assert "stage 1 (Fetch parallel text) failed: exit code 2" in output
    assert "toy.tsv, line 601: 1 columns" in output
    assert str(recipe.exp / "logs" / "1-fetch.log") in output
    assert "Traceback" not in output
    recipe.tsv.write_bytes(good)
    assert ran(recipe.run("--stop-stage", "1")) == ["Fetch parallel text"]


def test_interrupted_by_the_keyboard(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path)
    toy.write_tsv(recipe.tsv, 600)
    process = subprocess.Popen(
        recipe.command(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # Tests that run in the background have it ignored, and so would the recipe.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (recipe.exp / "train-1.partial" / "fairseq.log").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0].decode()
    assert "interrupted; the same command goes on from here" in output
    assert "Traceback" not in output
    assert not (recipe.exp / "train-1").exists()


def test_the_template_works_and_fits_on_two_screens(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, TEMPLATE)
    output = recipe.run()
    assert "translation memory" in output
    longest = (recipe.exp / "longest" / "longest.txt").read_text().split("\n")
    assert longest[0].startswith("9 ") and len(longest) == 21
    for script in (QUICKSTART, TEMPLATE):
        assert len(script.read_text().split("\n")) <= 100


def test_help_is_enough_by_itself(finished: Recipe) -> None:
    output = finished.run("--help")
    assert output.startswith("From nothing to a scored translation model")
    for text in ("--stop-stage M", "vocab_size=4000", "example: "):
        assert text in output
