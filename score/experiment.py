"""What the manifests of an experiment say about the systems that it scored."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.manifest import Manifest, owner
from score.measures import Counts, measure
from score.metrics import COUNTS, SCORES, seeds_of
from score.statistics import Samples, bootstrap

# Left by recipes/stages.sh.
COMMAND = "command.txt"
# Systems that no training made, in every experiment alike.
BASELINES = {"copy": "copy of the source", "memory": "translation memory"}


@dataclass
class System:
    """The seeds of one system and their scores on one test set.

    `values` has a list over seeds for each metric; `intervals` the 95 % confidence interval of
    their mean over samples of the test set, and `p_values` that of its difference from the
    baseline that it was scored with. `trainings` has the manifest of each seed, as far as there is
    one, found in `training_directories`; `pairs` is the number that they were trained on.
    """

    experiment: Path
    name: str
    seeds: list[str]
    values: dict[str, list[float]]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float | None]
    training_directories: list[Path]
    trainings: list[Manifest]
    pairs: int | None
    scores: Path

    def counts(self, metric: str) -> list[Counts]:
        """What was counted in each line, for each seed."""
        with np.load(self.scores / COUNTS, allow_pickle=False) as tables:
            return [tables[f"{seed}/{metric}"] for seed in self.seeds]

    def samples(self, metric: str, target_language: str) -> Samples:
        """Means over the seeds of scores on samples of the test set."""
        made = measure(metric, [[]], target_language)
        drawn = [bootstrap(made, counts) for counts in self.counts(metric)]
        return np.asarray(np.mean(drawn, axis=0))


def scored(experiment: Path, test_set: str) -> Path:
    """The directory of an experiment's scores on a test set; RecipeError if there is none."""
    for path in (experiment / f"score-{test_set}", experiment / "score", experiment):
        if (path / SCORES).is_file() and (path.name != "score" or test_set == "test"):
            return path
    raise RecipeError(
        f"{experiment} has no scores of {test_set} (score-{test_set}/{SCORES}); "
        "run its recipe to the last stage"
    )


def read(scores: Path) -> dict[str, Any]:
    """What score.metrics wrote; RecipeError if that was another version of it."""
    written: dict[str, Any] = json.loads((scores / SCORES).read_text(encoding="utf-8"))
    if "seeds_together" not in written:
        raise RecipeError(f"{scores / SCORES} is of an older version; run the recipe's last stage")
    return written


def systems(experiment: Path, scores: Path) -> list[System]:
    """All systems of these scores, each with its seeds."""
    result, manifest = read(scores), Manifest.read(scores)
    written, found = result["systems"], []
    for name, seeds in seeds_of(written).items():
        values: dict[str, list[float]] = {}
        for seed in seeds:
            for row in written[seed]["scores"]:
                values.setdefault(row["metric"], []).append(row["value"])
        one = {row["metric"]: row for row in written[seeds[0]]["scores"]}
        sure = result["seeds_together"].get(name, one)
        intervals = {metric: (row["mean"] - row["interval"], row["mean"] + row["interval"])
                     for metric, row in sure.items()}  # fmt: skip
        p_values = {metric: row["p_value"] for metric, row in sure.items()}
        trainings = [
            training
            for seed in seeds
            if manifest and (training := _training(_file(manifest, scores, seed)))
        ]
        pairs = _pairs(*trainings[0]) if trainings else None
        found.append(
            System(experiment, name, seeds, values, intervals, p_values,
                   [path for path, _ in trainings], [training for _, training in trainings], pairs,
                   scores)
        )  # fmt: skip
    return found


def hypotheses(system: System) -> list[Path]:
    """The files that were scored, one for each seed; RecipeError without the stage's manifest."""
    manifest = Manifest.read(system.scores)
    if manifest is None:
        raise RecipeError(f"{system.scores} was not made by a recipe: it has no manifest.json")
    return [_file(manifest, system.scores, seed) for seed in system.seeds]


def _file(manifest: Manifest, scores: Path, seed: str) -> Path:
    """The file that was scored under this name."""
    words = manifest.key["command"]
    exp = str((scores / manifest.exp).resolve())
    for option, name in pairwise(words):
        if option == f"--systems.{seed}":
            return Path(name.replace("{exp}", exp))
    return scores / "nothing"


def _training(path: Path) -> tuple[Path, Manifest] | None:
    """Directory and manifest of the training that a file comes from, the nearest if several."""
    waiting, seen = [path], set()
    while waiting:
        found = owner(waiting.pop(0))
        if found is None or found[0] in seen:
            continue
        directory, manifest = found
        seen.add(directory)
        if any(word.startswith("train.") for word in manifest.key["command"]):
            return directory, manifest
        waiting += manifest.inputs(directory)
    return None


def _pairs(directory: Path, training: Manifest) -> int | None:
    for path in training.inputs(directory):
        found = owner(path)
        if found and "sets" in found[1].facts:
            sets = found[1].facts["sets"]
            return next((s["sentences"] for n, s in sets.items() if n.startswith("train.")), None)
    return None


def stages_of(experiment: Path) -> list[tuple[Path, Manifest]]:
    """Directory and manifest of each stage that is done, in the order of the recipe."""
    found = [(p.parent, Manifest.read(p.parent)) for p in experiment.glob("*/manifest.json")]
    done = [(path, manifest) for path, manifest in found if manifest]
    return sorted(done, key=lambda item: (int(item[1].stage), item[1].started))


def hosts(manifests: Iterable[Manifest]) -> list[str]:
    """What the machines were that an experiment ran on."""
    found = set()
    for manifest in manifests:
        device = manifest.facts.get("device", "CPU")
        gpu = "" if device == "CPU" else f", {device}"
        host = manifest.host
        found.add(f"{host['cores']} cores{gpu}, Python {host['python']}, {host['system']}")
    return sorted(found)


def repeat(experiment: Path) -> str:
    """The command that was run, as the recipe left it."""
    path = experiment / COMMAND
    # The shell's own quotes, but no more of them than needed.
    return shlex.join(shlex.split(path.read_text(encoding="utf-8"))) if path.is_file() else ""
