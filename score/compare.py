"""One table of many experiments: scores, how sure they are, and what they took."""

import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import write_lines
from score.experiment import BASELINES, System, read, scored, signatures, systems
from score.metrics import mean_and_spread
from score.statistics import bootstrap_p_value
from score.tables import FORMS, Row

# Not the number of lines: the digest of the references says more.
_SAME = {"references": "references", "target_language": "target language"}


def compare(
    experiments: list[Path],
    test_set: str = "test",
    baseline: str | None = None,
    form: Literal["table", "markdown", "csv", "latex"] = "table",
    out: Path | None = None,
) -> None:
    """Print one table of experiments that were scored on the same test set.

    Scores are means over seeds ± their standard deviation, in brackets the 95 % confidence
    interval over samples of the test set; p is that of a difference as large from the baseline,
    by paired bootstrap of the means over seeds. Minutes are those of one training.

    Example: python -m score.compare exp/* --baseline plain --form latex --out table.tex

    Args:
        experiments: directories of experiments of any recipe; they may come without the option.
        test_set: name of the test set, where there are several.
        baseline: name of the row to compare the others with.
        form: table, markdown, csv, or latex with booktabs.
        out: write the table to this file, too.

    """
    found: dict[str, System] = {}
    written: dict[str, dict[str, Any]] = {}
    paths = [path.resolve() for path in experiments]
    for path in paths:
        scores = scored(path, test_set)
        new = read(scores)
        _refuse_others(path, new, written)
        written[str(path)] = new
        # Many have the same name: exp.
        alone = sum(other.name == path.name for other in paths) == 1
        experiment = path.name if alone else f"{path.parent.name}/{path.name}"
        for system in systems(scores):
            same = found.get(system.title)
            if system.name in BASELINES and (same is None or same.values == system.values):
                found[system.title] = same or system
            elif system.name == "model":
                found[experiment] = system
            else:
                found[f"{experiment} {system.title}"] = system
    if baseline and baseline not in found:
        raise RecipeError(f"there is no row {baseline!r} to compare with: {', '.join(found)}")
    first = next(iter(written.values()))
    against = found[baseline] if baseline else None
    rows = [_row(name, system, against, first["target_language"]) for name, system in found.items()]
    lines = FORMS[form](rows)
    if form != "csv":
        mark = "% " if form == "latex" else ""
        lines += ["", *(f"{mark}{name}: {text}" for name, text in signatures(first).items())]
    if out:
        write_lines(out, lines)
    print("\n".join(lines))


def _refuse_others(experiment: Path, new: dict[str, Any], known: dict[str, dict[str, Any]]) -> None:
    """Refuse scores that do not belong in one column with those before."""
    for other, old in known.items():
        for part, name in _SAME.items():
            if new.get(part) != old.get(part):
                raise RecipeError(
                    f"{experiment} and {other} have different {name}, so that their scores do not "
                    "belong in one table"
                )
        ours, theirs = signatures(new), signatures(old)
        for metric in ours.keys() & theirs.keys():
            if ours[metric] != theirs[metric]:
                raise RecipeError(
                    f"{metric} of {experiment} and {other} has different signatures: "
                    f"{ours[metric]} and {theirs[metric]}; score them in the same way"
                )


def with_interval(system: System, metric: str) -> str:
    """A score as `41.12 ±0.57 [39.6, 42.5]`: mean and spread of seeds, confidence interval."""
    low, high = system.intervals[metric]
    return f"{mean_and_spread(system.values[metric])} [{low:.1f}, {high:.1f}]"


def shown_p(p: float) -> str:
    """As it is printed: `= 0.012`, or `< 0.001`."""
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"


def _row(name: str, system: System, baseline: System | None, language: str) -> Row:
    row = {"system": name, "seeds": str(len(system.seeds))}
    for metric, values in system.values.items():
        row[metric] = with_interval(system, metric)
        if baseline and baseline is not system and metric in baseline.values:
            difference = mean(values) - mean(baseline.values[metric])
            samples = [each.samples(metric, language) for each in (system, baseline)]
            p = bootstrap_p_value(difference, *samples)
            row[f"p {metric}"] = shown_p(p).removeprefix("= ")
    if system.pairs:
        row["pairs"] = f"{system.pairs:,}"
    if minutes := system.minutes():
        spread = f" ±{stdev(minutes):.1f}" if len(minutes) > 1 else ""
        row["minutes"] = f"{mean(minutes):.1f}{spread}"
    parameters = {manifest.facts.get("parameters") for manifest in system.manifests}
    if len(parameters) == 1 and (number := parameters.pop()):
        row["parameters"] = f"{number:,}"
    return row


if __name__ == "__main__":
    # exp/* by the shell, before any option.
    ends = next((n for n, word in enumerate(sys.argv[1:], 1) if word[0] == "-"), len(sys.argv))
    sys.argv[1:ends] = [word for path in sys.argv[1:ends] for word in ("--experiments+", path)]
    command(compare)
