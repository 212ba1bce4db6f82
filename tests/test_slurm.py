"""Recipes as jobs of a real Slurm; skipped where Debian's slurmctld, slurmd and munge are not."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm
from conftest import Recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm.missing), reason=f"not installed: {', '.join(slurm.missing)}"),
    pytest.mark.skipif(os.getuid() != 0, reason="this cluster's daemons run as root"),
]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with (
        tempfile.TemporaryDirectory(prefix="slurm") as directory,  # a socket's path must be short
        slurm.cluster(Path(directory) / "c") as environment,
    ):
        yield environment


def run(recipe: Recipe, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        recipe.command("--launcher", "slurm", "--set", "seeds=1,2", *options),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def jobs(environment: dict[str, str]) -> dict[str, dict[str, str]]:
    """What Slurm knows of each job, by its number."""
    text = subprocess.run(
        ["scontrol", "show", "jobs", "--oneliner"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {}
    for line in text.splitlines():
        name = line.partition(" JobName=")[2].partition(" UserId=")[0]
        job = dict(word.partition("=")[::2] for word in line.split(" "))
        found[job["JobId"]] = {**job, "name": name}
    return found


def test_seeds_are_trained_beside_each_other_and_go_on_after_a_signal(
    finished: Recipe, environment: dict[str, str], tmp_path: Path
) -> None:
    recipe = Recipe(tmp_path)
    recipe.run("--stop-stage", "4")
    training = ["--set", "updates=600"]
    process = run(recipe, environment, *training)
    logs = [recipe.exp / f"train-{seed}.partial" / "fairseq.log" for seed in (1, 2)]
    for _ in range(300):
        if all(log.exists() and "train_inner" in log.read_text() for log in logs):
            break
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    text = process.communicate()[0]
    assert process.returncode == 0 and text.count("stopped") >= 2, text
    assert all((log.parent / "unfinished.json").exists() for log in logs)
    first, second = (
        next(job for job in jobs(environment).values() if job["name"] == f"Train, seed {seed}")
        for seed in (1, 2)
    )
    assert {first["NodeList"], second["NodeList"]} == {"n1", "n2"}
    assert max(first["StartTime"], second["StartTime"]) < min(first["EndTime"], second["EndTime"])

    process = run(recipe, environment, *training, "--stop-stage", "5")
    text = process.communicate()[0]
    assert process.returncode == 0 and text.count("goes on where it was interrupted") == 2, text
    process = run(recipe, environment)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    assert "[seed 2]  6  Translate the test set, seed 2" in text and "BLEU" in text
    # The same training as without Slurm, to the byte of every translation.
    ours, theirs = (r.exp / "translate-1" / "hypotheses.txt" for r in (recipe, finished))
    assert ours.read_bytes() == theirs.read_bytes()
    known = jobs(environment).keys()
    process = run(recipe, environment)
    text = process.communicate()[0]
    assert process.returncode == 0 and "Train, seed 2: up to date" in text, text
    assert jobs(environment).keys() == known
    process = run(recipe, environment, "--stage", "4", "--stop-stage", "4", "--force", "4")
    assert process.wait() == 0 and len(jobs(environment)) == len(known) + 1


def test_a_stage_that_fails_ends_the_recipe(environment: dict[str, str], tmp_path: Path) -> None:
    recipe = Recipe(tmp_path)
    recipe.run("--stop-stage", "4")
    process = run(recipe, environment, "--set", "updates=many")
    text = process.communicate()[0]
    assert process.returncode == 1 and "[seed 2] error: " in text and "Score" not in text, text
