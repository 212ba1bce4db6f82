"""What the manifests of an experiment say about the systems that it scored."""

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.manifest import REPOSITORY, Manifest, ancestors, owner
from score.measures import Counts, measure
from score.metrics import COUNTS, SCORES, mean_and_spread, seeds_of
from score.paper import FILE as PAPER
from score.statistics import Samples, bootstrap

# Left by recipes/stages.sh: the command, and the directories of its stages.
COMMAND, STAGES = "command.txt", "stages.txt"
# Systems that no training made.
BASELINES = {
    "copy": "copy of the source",
    "memory": "translation memory",
    "punctuation": "punctuation alone",
    "transliteration": "source in Latin letters",
    "apertium": "Apertium (rules)",
}


@dataclass
class System:
    """The seeds of one system and their scores on one test set.

    `values` has a list over seeds for each metric; `intervals` the 95 % confidence interval of
    their mean over samples of the test set, and `p_values` that of its difference from the
    baseline that it was scored with. `hypotheses` and `trainings` (the directory) are None for a
    seed of which no manifest says where it comes from.
    """

    name: str
    seeds: list[str]
    values: dict[str, list[float]]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float | None]
    hypotheses: list[Path | None]
    trainings: list[Path | None]
    scores: Path

    @property
    def title(self) -> str:
        """What readers know it by."""
        return BASELINES.get(self.name, self.name)

    @property
    def manifests(self) -> list[Manifest]:
        """Of the trainings that are known."""
        found = (Manifest.read(path) for path in self.trainings if path)
        return [manifest for manifest in found if manifest]

    @property
    def pairs(self) -> int | None:
        """The number of pairs that the first seed was trained on."""
        for path, manifest in zip(filter(None, self.trainings), self.manifests, strict=False):
            for source in manifest.inputs(path):
                found = owner(source)
                sets = found[1].facts.get("sets", {}) if found else {}
                for name, facts in sets.items():
                    if name.startswith("train."):
                        return int(facts["sentences"])
        return None

    def star(self, metric: str) -> str:
        """`*` if the difference from the baseline is more than chance, else nothing."""
        p = self.p_values[metric]
        return "*" if p is not None and p < 0.05 else ""

    def minutes(self) -> list[float]:
        """Of each training, interruptions left out."""
        return [manifest.minutes for manifest in self.manifests]

    def counts(self, metric: str) -> list[Counts]:
        """What was counted in each line, for each seed; RecipeError if that was not kept."""
        try:
            with np.load(self.scores / COUNTS, allow_pickle=False) as tables:
                return [tables[f"{seed}/{metric}"] for seed in self.seeds]
        except (OSError, KeyError, ValueError) as error:
            raise RecipeError(
                f"{self.scores / COUNTS} has not what was counted for {metric}; score again"
            ) from error

    def samples(self, metric: str, target_language: str) -> Samples:
        """Means over the seeds of scores on samples of the test set."""
        made = measure(metric, [[]], target_language)
        drawn = [bootstrap(made, counts) for counts in self.counts(metric)]
        return np.asarray(np.mean(drawn, axis=0))


def _of_last_run(experiment: Path, files: str) -> list[Path]:
    """Directories that have such files; not those that only earlier settings have left."""
    found = [path.parent for path in experiment.glob(files)]
    if (experiment / STAGES).is_file():
        run = set((experiment / STAGES).read_text(encoding="utf-8").split("\n"))
        found = [path for path in found if path.name in run]
    return found


def all_scores(experiment: Path) -> list[Path]:
    """Directories of all scores of an experiment, those of test first; RecipeError if none."""
    found = _of_last_run(experiment, f"score*/{SCORES}")
    if not found:
        raise RecipeError(f"{experiment} has no scores yet; run its recipe to the last stage")
    return sorted(found, key=lambda path: (set_of(path) != "test", path.name))


def set_of(scores: Path) -> str:
    """The name of the test set that these scores are of."""
    return scores.name.removeprefix("score").strip("-") or "test"


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
    """What score.metrics wrote; RecipeError if it cannot be read, or is of another version."""
    path = scores / SCORES
    try:
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} cannot be read ({error}); score again") from error
    if "seeds_together" not in written:
        raise RecipeError(f"{path} is of an older version; run the recipe's last stage")
    return written


def signatures(written: dict[str, Any]) -> dict[str, str]:
    """The signature of each metric."""
    rows = next(iter(written["systems"].values()))["scores"]
    return {row["metric"]: row["signature"] for row in rows}


def warnings(written: dict[str, Any]) -> list[str]:
    """What makes scores doubtful, with the system's name."""
    return [f"warning: {name}: {warning}" for name, system in written["systems"].items()
            for warning in system["warnings"]]  # fmt: skip


def star_means(written: dict[str, Any]) -> str:
    """What the star behind a score means."""
    against = BASELINES.get(written["baseline"], written["baseline"])
    return f"*: not the {against}'s score by chance (p < 0.05, paired {written['test']})"


def systems(scores: Path) -> list[System]:
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
        files = [_hypotheses(manifest, scores, seed) if manifest else None for seed in seeds]
        found.append(
            System(
                name,
                seeds,
                values,
                {metric: (row["mean"] - row["interval"], row["mean"] + row["interval"])
                 for metric, row in sure.items()},
                {metric: row["p_value"] for metric, row in sure.items()},
                files,
                [maker(path, "train.") for path in files],
                scores,
            )
        )  # fmt: skip
    return found


def _hypotheses(manifest: Manifest, scores: Path, seed: str) -> Path | None:
    """The file that was scored under this name."""
    option = f"--systems.{seed}"
    words = manifest.key["command"]
    for place, word in enumerate(words):
        if word == option:
            return _path(words[place + 1], manifest, scores)
        if word.startswith(option + "="):
            return _path(word.partition("=")[2], manifest, scores)
    return None


def _path(name: str, manifest: Manifest, directory: Path) -> Path:
    exp = (directory / manifest.exp).resolve()
    return Path(name.replace("{exp}", str(exp)).replace("{repo}", str(REPOSITORY)))


def maker(path: Path | None, module: str) -> Path | None:
    """The nearest stage directory, on the way back from a file, that such a module made.

    `module` is the beginning of a name, such as `train.`.
    """
    for directory, manifest in ancestors(path) if path else ():
        if any(word.startswith(module) for word in manifest.key["command"]):
            return directory
    return None


def stages_of(experiment: Path) -> list[tuple[Path, Manifest]]:
    """Directory and manifest of each stage of the last complete run, in the order of the recipe.

    Raises RecipeError if there is none.
    """
    found = [(path, Manifest.read(path)) for path in _of_last_run(experiment, "*/manifest.json")]
    done = [(path, manifest) for path, manifest in found if manifest]
    if not done:
        raise RecipeError(f"{experiment} was not made by a recipe: no stage left a manifest there")
    return sorted(done, key=lambda item: (int(item[1].stage), item[1].started))


def read_papers(experiment: Path) -> list[dict[str, Any]]:
    """What score.paper wrote, for each test set."""
    paths = sorted(path / PAPER for path in _of_last_run(experiment, f"*/{PAPER}"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def beside_scores(experiment: Path) -> Iterator[str]:
    """Lines on what else was measured: text in another language, sentences that were found."""
    manifests = [manifest for _, manifest in stages_of(experiment)]
    by_method: dict[str, list[dict[str, Any]]] = {}
    for manifest in manifests:
        if "language_told" in manifest.facts:
            title = manifest.title.partition(", seed ")[0]
            by_method.setdefault(title, []).append(manifest.facts)
    for title, seeds in by_method.items():
        share = {name: mean_and_spread([facts[name] for facts in seeds]) + " %"
                 for name in seeds[0] if name != "sentences"}  # fmt: skip
        if "found_among_all" not in share:
            raise RecipeError(f"'{title}' is of an older version; run that stage again")
        yield (
            f"{title}: of {seeds[0]['sentences']:,} sentences {share['found']} found, "
            f"{share['found_back']} the other way; among those of both languages "
            f"{share['found_among_all']}, {share['found_back_among_all']}; language told in "
            f"{share['language_told']}"
        )
    for manifest in manifests:
        if "off_target" in manifest.facts:
            counted = manifest.facts["off_target"]
            shares = []
            for name, named in seeds_of(counted).items():
                known = [counted[seed] for seed in named if counted[seed] is not None]
                shares.append(f"{name} {mean_and_spread(known)} %" if known else f"{name} -")
            told = ", ".join(shares) or "not told, as py3langid does not know one of the languages"
            yield f"{manifest.title}, lines in another language: {told}"


def hosts(manifests: Iterable[Manifest]) -> list[str]:
    """What the machines were that an experiment ran on."""
    found = set()
    for manifest in manifests:
        device = manifest.facts.get("device", "CPU")
        gpu = "" if device == "CPU" else f", {device}"
        host = manifest.host
        found.add(f"{host['cores']} cores{gpu}, Python {host['python']}, {host['system']}")
    return sorted(found)


def repeat(experiment: Path) -> list[str]:
    """The command that was run, word by word, as the recipe left it; empty if it did not."""
    path = experiment / COMMAND
    return shlex.split(path.read_text(encoding="utf-8")) if path.is_file() else []
