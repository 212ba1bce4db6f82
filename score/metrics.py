"""Score hypotheses against references: signatures, confidence, and comparison with a baseline."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import file_record, note, write_json
from pipeline.parallel import parallel_map
from score import groups
from score.comet import Comet
from score.measures import COMET, STANDARD, Counts, Measure, measure
from score.statistics import (
    Samples,
    bootstrap,
    bootstrap_p_value,
    confidence,
    randomisation_p_value,
    value,
)

SCORES, COUNTS, SEGMENTS = "scores.json", "counts.npz", "segments.tsv"
# What tells the seeds of one system from another.
SEED = re.compile(r"-seed\d+$")
# Left in a hypothesis, these say that subwords were never joined.
_MARKERS = ("▁", "@@ ", "</s>", "<pad>")
_TOKENISED = re.compile(r"\s[.,](\s|$)")


@dataclass
class Score:
    """A metric's value, and the signature without which it means nothing.

    `mean` ± `interval` is the 95 % confidence interval over samples of the test set. `p_value` is
    that of a difference as large from the baseline, if there is one.
    """

    metric: str
    value: float
    signature: str
    mean: float
    interval: float
    p_value: float | None = None


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean, and where there are several seeds, their standard deviation (n - 1)."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ±{stdev(values):.2f}"


def check(
    hypotheses: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str] | None = None,
    lowercase: bool = False,
) -> list[str]:
    """What makes a score doubtful, in sentences; RecipeError for what makes it wrong."""
    if len(hypotheses) != len(references):
        raise RecipeError(
            f"{len(hypotheses):,} hypotheses but {len(references):,} references; "
            "each line needs one: translate the test set again"
        )
    if not references:
        raise RecipeError("there is nothing to score: both files are empty")
    for marker in _MARKERS:
        marked = sum(marker in line for line in hypotheses)
        if marked and marked > sum(marker in line for line in references):
            raise RecipeError(
                f"{marked:,} hypotheses hold the subword marker {marker!r}: subwords were not "
                "joined, and a score on pieces is far too high; decode them first"
            )
    warnings = []
    if not any(line.strip() for line in hypotheses):
        warnings.append("all hypotheses are blank")
    for name, lines in (("hypotheses", hypotheses), ("references", references)):
        changed = sum(not unicodedata.is_normalized("NFC", line) for line in lines)
        if changed:
            warnings.append(f"{changed:,} {name} are not in NFC; scored after composing them")
    enough = len(references) / 5
    # What has no letter, such as the baseline of punctuation alone, is neither of the following.
    worded = [line for line in hypotheses if any(map(str.isalpha, line))]
    tokenised, wanted = (
        sum(bool(_TOKENISED.search(line)) for line in lines) for lines in (worded, references)
    )
    if tokenised > enough + wanted:
        warnings.append(
            f"{tokenised:,} hypotheses look tokenised and {wanted:,} references: detokenise them"
        )
    small, capitals = (
        sum(line != line.lower() for line in lines) for lines in (hypotheses, references)
    )
    if not lowercase and not small and capitals > enough and worded:
        warnings.append(
            f"no hypothesis has a capital letter and {capitals:,} references have: restore case, "
            "or say --lowercase true"
        )
    if sources is not None and list(hypotheses) != list(sources):  # else they are meant to be
        pairs = zip(sources, hypotheses, references, strict=True)
        copied = sum(source == line != reference for source, line, reference in pairs)
        if copied > enough:
            warnings.append(f"{copied:,} hypotheses are the source as it was")
    return warnings


def scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    target_language: str,
    lowercase: bool = False,
    metrics: Sequence[str] = STANDARD,
) -> list[Score]:
    """Scores of one system against one reference for each line; see `score.measures`."""
    found = []
    for name in metrics:
        made = measure(name, [references], target_language, lowercase)
        counts = made.count(hypotheses)
        sure = confidence(bootstrap(made, counts))
        found.append(Score(name, value(made, counts), made.signature, sure.mean, sure.interval))
    return found


def score(
    systems: dict[str, Path],
    references: Path,
    out: Path,
    target_language: str,
    more_references: list[Path] | None = None,
    source: Path | None = None,
    metrics: list[str] | None = None,
    lowercase: bool = False,
    baseline: str | None = None,
    test: Literal["bootstrap", "randomisation"] = "bootstrap",
    by: list[str] | None = None,
    train: Path | None = None,
    segments: bool = False,
    comet: Path | None = None,
) -> None:
    """Score one or more systems on the same references.

    Writes scores.json, and counts.npz with what was counted in each line, from which
    score.compare tells whether systems of different experiments differ.

    Example: python -m score.metrics --references test.ca --target-language ca --out exp/score
    --systems.model exp/translate/hypotheses.txt --systems.copy test.es

    Args:
        systems: file of hypotheses for each system, by a name of your choice; NAME-seed1,
            NAME-seed2 … are one system in the tables, with mean and spread.
        references: file with the reference of each line, untouched.
        out: directory for scores.json.
        target_language: code of the target language; it chooses BLEU's tokeniser.
        more_references: further references of the same lines.
        source: the source side; hypotheses that only copy it are said.
        metrics: of BLEU, chrF, chrF++, TER, spBLEU, ROUGE-1, ROUGE-2, ROUGE-L, exact match and
            length ratio (default: BLEU, chrF and TER).
        lowercase: take no account of case, for a model that was trained on lowercased text.
        baseline: name of the system to compare all others with: p-values in scores.json, of each
            seed against the same seed, and of the means over seeds.
        test: paired bootstrap (Koehn 2004), or approximate randomisation (Riezler & Maxwell 2005).
        by: score parts of the test set, too: `length` of the reference in words; `rarest`, how
            often train has the rarest word of the source; or a file with a label for each line
            (its domain, its document).
        train: for `rarest`, the source side of the training text.
        segments: write segments.tsv with the scores of each line, too (of BLEU, sacreBLEU's
            sentence BLEU: eff:yes).
        comet: checkpoint of a COMET model (…/checkpoints/model.ckpt), to score with it, too;
            needs `source`, and an environment that comet.txt describes.

    """
    names = list(metrics or STANDARD)
    files = [references, *(more_references or [])]
    lines = [list(read_lines(path)) for path in files]
    sources = list(read_lines(source)) if source else None
    for path, more in zip([*files, source], [*lines, sources], strict=True):
        if more is not None and len(more) != len(lines[0]):
            raise RecipeError(f"{path} has {len(more):,} lines, {references} {len(lines[0]):,}")
    hypotheses = {name: list(read_lines(path)) for name, path in systems.items()}
    warnings = {}
    for name, path in systems.items():
        try:
            warnings[name] = check(hypotheses[name], lines[0], sources, lowercase)
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from error
        for warning in warnings[name]:
            print(f"warning: {path}: {warning}")
    if COMET in names:
        raise RecipeError("COMET needs a model: leave it out of --metrics and say --comet MODEL")
    measures = {name: measure(name, lines, target_language, lowercase) for name in names}
    if comet:
        if sources is None:
            raise RecipeError("COMET compares with the source, too: add --source FILE")
        measures[COMET] = Comet(comet, sources, lines[0], hypotheses)
        names.append(COMET)
    labels = {kind: groups.labels(kind, lines[0], sources, train) for kind in by or []}

    def measured(task: tuple[str, str]) -> tuple[Counts, Samples]:
        system, name = task
        counts = measures[name].count(hypotheses[system])
        return counts, bootstrap(measures[name], counts)

    tasks = [(system, name) for system in systems for name in names]
    found = dict(zip(tasks, parallel_map(measured, tasks), strict=True))
    counts = {task: table for task, (table, _) in found.items()}
    samples = {task: drawn for task, (_, drawn) in found.items()}

    together = seeds_of(systems)
    p_values = _p_values(baseline, test, measures, counts, samples) if baseline else {}

    result: dict[str, Any] = {}
    for system in systems:
        rows = []
        for name in names:
            sure = confidence(samples[system, name])
            rows.append(
                Score(name, value(measures[name], counts[system, name]), measures[name].signature,
                      sure.mean, sure.interval, p_values.get((system, name)))
            )  # fmt: skip
        result[system] = {"scores": [asdict(row) for row in rows], "warnings": warnings[system]}
        print(f"{system:<20}" + "".join(f"  {row.metric} {row.value:6.2f}" for row in rows))
    out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Any] = {f"{system}/{name}": counts[system, name] for system, name in tasks}
    np.savez_compressed(out / COUNTS, **tables)
    write_json(
        out / SCORES,
        {
            "lines": len(lines[0]),
            "target_language": target_language,
            "references": [file_record(path).sha256 for path in files],
            "baseline": baseline,
            "test": test if baseline else None,
            "systems": result,
            "seeds_together": {
                name: {
                    metric: _together([samples[seed, metric] for seed in seeds],
                                      p_values.get((name, metric)))
                    for metric in names
                }
                for name, seeds in together.items()
            },
            "parts": {
                kind: groups.scored(parts, counts, measures) for kind, parts in labels.items()
            },
        },
    )  # fmt: skip
    if segments:
        write_lines(out / SEGMENTS, _segments(list(systems), names, measures, counts))
    note(out, lines=len(lines[0]))


def _p_values(
    baseline: str,
    test: str,
    measures: dict[str, Measure],
    counts: dict[tuple[str, str], Counts],
    samples: dict[tuple[str, str], Samples],
) -> dict[tuple[str, str], float]:
    """Of each system against the baseline, by system and metric; and of all its seeds together."""
    systems = list(dict.fromkeys(system for system, _ in counts))
    groups = seeds_of(systems)
    pairs = {name: ([name], [against]) for name in systems
             if (against := _baseline(name, baseline, systems))}  # fmt: skip
    base = groups.get(baseline, [baseline])
    for name, seeds in groups.items():
        if name != baseline and baseline not in seeds:
            pairs[name] = (seeds, base)

    def compared(task: tuple[str, str]) -> float:
        system, name = task
        sides = pairs[system]
        if test == "randomisation":
            ours, theirs = ([counts[seed, name] for seed in side] for side in sides)
            if 1 in (len(ours), len(theirs)):  # as the copy of the source, which has no seeds
                ours, theirs = ours * len(theirs), theirs * len(ours)
            return randomisation_p_value(measures[name], ours, theirs)
        ours_value, theirs_value = (
            mean(value(measures[name], counts[seed, name]) for seed in side) for side in sides
        )
        drawn = [np.mean([samples[seed, name] for seed in side], axis=0) for side in sides]
        return bootstrap_p_value(ours_value - theirs_value, *drawn)

    tasks = [(system, name) for system in pairs for name in measures]
    workers = None if test == "randomisation" else 1
    return dict(zip(tasks, parallel_map(compared, tasks, workers), strict=True))


def seeds_of(systems: Iterable[str]) -> dict[str, list[str]]:
    """Names of the seeds of each system."""
    found: dict[str, list[str]] = {}
    for name in systems:
        found.setdefault(SEED.sub("", name), []).append(name)
    return found


def _together(samples: Sequence[Samples], p_value: float | None) -> dict[str, float | None]:
    """What is known of the mean over seeds, on the same samples of the test set."""
    sure = confidence(np.mean(samples, axis=0))
    return {"mean": sure.mean, "interval": sure.interval, "p_value": p_value}


def _segments(
    systems: Sequence[str],
    names: Sequence[str],
    measures: dict[str, Measure],
    counts: dict[tuple[str, str], Counts],
) -> Iterable[str]:
    yield "\t".join(["line", "system", *names])
    for line in range(len(next(iter(counts.values())))):
        for system in systems:
            values = [measures[n].score_line(counts[system, n][line]) for n in names]
            yield "\t".join([str(line + 1), system, *(f"{number:.4f}" for number in values)])


def _baseline(name: str, baseline: str, systems: Iterable[str]) -> str | None:
    """The system to compare with: the baseline's of the same seed.

    None for the baseline itself, and where it has seeds, but not this one. Raises RecipeError if
    there is no baseline at all.
    """
    system, seed = SEED.sub("", name), SEED.search(name)
    if system == baseline or name == baseline:
        return None
    for candidate in (f"{baseline}{seed[0]}" if seed else baseline, baseline):
        if candidate in systems:
            return candidate
    if baseline not in seeds_of(systems):
        raise RecipeError(f"there is no system {baseline} to compare {name} with")
    return None


if __name__ == "__main__":
    command(score)
