"""The table at the end of a recipe: scores, samples and the time of each stage."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import Manifest
from score.metrics import SEED, mean_and_spread
from score.paper import FILE as PAPER
from score.paper import table

_NAMES = {"model": "model", "copy": "copy of the source", "memory": "translation memory"}
_WIDTH = 100


def score_table(scores: Path) -> Iterator[str]:
    """Lines of a table: a row for each system, or group of seeds, then the signatures."""
    systems = json.loads(scores.read_text(encoding="utf-8"))["systems"]
    metrics = [score["metric"] for score in next(iter(systems.values()))["scores"]]
    groups: dict[str, list[list[float]]] = {}
    for name, system in systems.items():
        values = [score["value"] for score in system["scores"]]
        groups.setdefault(SEED.sub("", name), []).append(values)
    width = 16 if any(len(seeds) > 1 for seeds in groups.values()) else 9
    yield f"{'':<22}" + "".join(f"{metric:>{width}}" for metric in metrics)
    for name, seeds in groups.items():
        cells = "".join(
            f"{mean_and_spread(values):>{width}}" for values in zip(*seeds, strict=True)
        )
        count = f", {len(seeds)} seeds" if len(seeds) > 1 else ""
        yield f"{_NAMES.get(name, name) + count:<22}{cells}"
    yield ""
    for score in next(iter(systems.values()))["scores"]:
        yield f"{score['metric']}: {score['signature']}"
    for name, system in systems.items():
        yield from (f"warning: {name}: {warning}" for warning in system["warnings"])


def samples(source: Path, hypotheses: Path, references: Path, count: int) -> Iterator[str]:
    """Lines that show some translations of ordinary length, evenly spread over the test set."""
    files = [list(read_lines(path)) for path in (source, hypotheses, references)]
    chosen = [lines for lines in zip(*files, strict=True) if 5 <= len(lines[2].split()) <= 25]
    for lines in chosen[:: max(1, len(chosen) // count)][:count]:
        for label, line in zip(("source", "model", "reference"), lines, strict=True):
            yield from textwrap.wrap(
                line, _WIDTH, initial_indent=f"{label:<11}", subsequent_indent=" " * 11
            )
        yield ""


def stage_times(exp: Path) -> Iterator[str]:
    """Lines of a table: time and peak memory of each stage of an experiment."""
    manifests = [Manifest.read(path.parent) for path in exp.glob("*/manifest.json")]
    done = sorted((m for m in manifests if m), key=lambda m: (int(m.stage), m.started))
    yield f"{'stage':<54}{'seconds':>9}{'memory':>13}"
    for manifest in done:
        memory = f"{manifest.peak_memory_bytes / 2**20:,.0f} MiB"
        yield f"{manifest.stage:>2}  {manifest.title:<50}{manifest.seconds:>9.1f}{memory:>13}"
    yield f"{'':<4}{'together':<50}{sum(m.seconds for m in done):>9.1f}"


def report(exp: Path, source: Path, hypotheses: Path, references: Path, count: int = 5) -> None:
    """Print scores, sample translations, and the time each stage took.

    Example: python -m score.report --exp exp --source exp/clean/test.es
    --hypotheses exp/translate/hypotheses.txt --references exp/clean/test.ca

    Args:
        exp: the experiment's directory, with score/scores.json, or score-NAME/, in it.
        source: test set, source side.
        hypotheses: its translations.
        references: test set, target side.
        count: number of samples to show.

    """
    found = sorted(exp.glob("score*/scores.json"))
    if not found:
        raise RecipeError(f"{exp} has no score/scores.json yet; run the recipe to its last stage")
    for scores in found:
        print()
        if len(found) > 1:
            print(f"{scores.parent.name.removeprefix('score-')}:")
        print("\n".join(score_table(scores)))
    papers = [json.loads(path.read_text()) for path in sorted(exp.glob(f"*/{PAPER}"))]
    if papers:
        print()
        print("\n".join(table(papers)))
    print()
    print("\n".join(samples(source, hypotheses, references, count)))
    print("\n".join(stage_times(exp)))


if __name__ == "__main__":
    command(report)
