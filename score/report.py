"""The table at the end of a recipe: scores, samples and the time of each stage."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from pipeline.command import command
from pipeline.lines import read_lines
from score.compare import with_interval
from score.experiment import (
    all_scores,
    beside_scores,
    read,
    read_papers,
    set_of,
    signatures,
    stages_of,
    star_means,
    systems,
    warnings,
)
from score.paper import table
from score.tables import aligned

_WIDTH = 100


def score_table(scores: Path) -> Iterator[str]:
    """Lines of a table: a row for each system, or group of seeds, then what the columns mean."""
    written = read(scores)
    rows = []
    for system in systems(scores):
        count = f", {len(system.seeds)} seeds" if len(system.seeds) > 1 else ""
        row = {"": system.title + count}
        for metric in system.values:
            row[metric] = with_interval(system, metric) + (system.star(metric) or " ")
        rows.append(row)
    yield from aligned(rows)
    yield ""
    yield "in brackets: 95 % confidence interval over samples of the test set"
    if any("*" in row[metric] for row in rows for metric in row):
        yield star_means(written)
    yield from (f"{metric}: {text}" for metric, text in signatures(written).items())
    yield from warnings(written)


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
    done = [manifest for _, manifest in stages_of(exp)]
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
    found = all_scores(exp)
    for scores in found:
        print()
        if len(found) > 1:
            print(f"{set_of(scores)}:")
        print("\n".join(score_table(scores)))
    if more := list(beside_scores(exp)):
        print("\n".join(["", *more]))
    papers = read_papers(exp)
    if papers:
        print()
        print("\n".join(table(papers)))
    print()
    print("\n".join(samples(source, hypotheses, references, count)))
    print("\n".join(stage_times(exp)))


if __name__ == "__main__":
    command(report)
