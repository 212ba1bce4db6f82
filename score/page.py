"""One HTML page about an experiment, with all in it, for someone who was not there."""

import difflib
import importlib.resources
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from decode.attention import attention
from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import Manifest, chain
from score import drawing
from score.compare import with_interval
from score.experiment import (
    BASELINES,
    System,
    hosts,
    hypotheses,
    read,
    repeat,
    stages_of,
    systems,
)
from score.measures import measure
from score.metrics import SCORES
from score.paper import FILE as PAPER
from score.statistics import value

_EXAMPLES = 8
# A dev loss that rose by so much since its best is overfitting, and said.
_ROSE = 0.02


@dataclass
class Example:
    """A line of the test set; `score` is chrF of the line, or its difference from a baseline's."""

    line: int
    source: str
    reference: str
    marked: str
    score: float
    other: str = ""


def page(exp: Path, source: Path, references: Path, out: Path) -> None:
    """Write one self-contained HTML page about an experiment.

    Example: python -m score.page --exp exp --source exp/clean/test.es
    --references exp/clean/test.ca --out exp/report.html

    Args:
        exp: the experiment's directory, with score/scores.json, or score-NAME/, in it.
        source: test set, source side.
        references: test set, target side.
        out: the page.

    """
    found = sorted(path.parent for path in exp.glob(f"score*/{SCORES}"))
    found = [path for path in found if not path.name.startswith("score-dev")]
    if not found:
        raise RecipeError(f"{exp} has no score/{SCORES} yet; run the recipe to its last stage")
    first = next((path for path in found if path.name in ("score", "score-test")), found[0])
    main = next(system for system in systems(exp, first) if system.name not in BASELINES)
    stages = stages_of(exp)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
    text = environment.from_string(template).render(
        name=exp.resolve().name,
        run=repeat(exp),
        date=max(manifest.started for _, manifest in stages)[:10],
        hosts=hosts([manifest for _, manifest in stages]),
        verdicts=[*_verdicts(exp, first), *_fitted(main)],
        scores=[(path.name.removeprefix("score").strip("-") or "test", *_score_rows(exp, path))
                for path in found],
        papers=[json.loads(path.read_text("utf-8")) for path in sorted(exp.glob(f"*/{PAPER}"))],
        dropped=list(_dropped(stages)),
        curves=list(_curves(main)),
        parts=read(first)["parts"].get("length", {}),
        main=main.seeds[0],
        examples=_examples(main, source, references),
        compared=_compared(exp, first, main, source, references),
        attention=_attention(exp, source),
        stages=[(m.stage, m.title, f"{m.seconds:,.1f}", f"{m.peak_memory_bytes / 2**20:,.0f}",
                 m.damage(path) or "as it was made") for path, m in stages],
        settings=_settings(main),
        libraries=sorted({item for _, m in stages for item in m.key["libraries"].items()}),
        chain="\n".join(chain(first / SCORES)),
    )  # fmt: skip
    write_lines(out, text.split("\n"))
    print(f"report: {out} ({out.stat().st_size / 2**20:.1f} MiB)")


def _verdicts(exp: Path, scores: Path) -> Iterator[str]:
    """Sentences: is each system better than the baseline beyond chance?"""
    written = read(scores)
    if not written["baseline"]:
        return
    known = {system.name: system for system in systems(exp, scores)}
    base = known[written["baseline"]]
    against = BASELINES.get(base.name, base.name)
    for system in known.values():
        if system is base or system.name in BASELINES:
            continue
        for metric in ("BLEU", "chrF"):
            if metric not in system.values:
                continue
            ours, theirs = (sum(s.values[metric]) / len(s.seeds) for s in (system, base))
            p = system.p_values[metric] or 1.0
            word = "better" if ours > theirs else "worse"
            chance = "beyond chance" if p < 0.05 else "which may be chance"
            yield (
                f"{system.name} is {word} than the {against} by {abs(ours - theirs):.2f} {metric} "
                f"({ours:.2f} against {theirs:.2f}), {chance} (p = {p:.4f}, paired "
                f"{written['test']})."
            )


def _fitted(system: System) -> Iterator[str]:
    """Sentences: did the training overfit, or end too early?"""
    for seed, curve in zip(system.seeds, _records(system), strict=False):
        losses = [(row["valid_num_updates"], row["valid_loss"]) for row in curve["valid"]]
        if len(losses) < 2:
            continue
        best = min(losses, key=lambda item: item[1])
        last = losses[-1]
        if last[1] > best[1] * (1 + _ROSE):
            yield (
                f"{seed} overfitted: its dev loss was best after {best[0]:,.0f} updates "
                f"({best[1]:.3f}) and rose to {last[1]:.3f} by {last[0]:,.0f}."
            )
        elif best == last:
            yield (
                f"{seed} did not overfit: its dev loss was still falling at the end "
                f"({last[1]:.3f} after {last[0]:,.0f} updates), so longer training may help."
            )
        else:
            yield (
                f"{seed} hardly overfitted: its dev loss was best after {best[0]:,.0f} of "
                f"{last[0]:,.0f} updates ({best[1]:.3f}, {last[1]:.3f} at the end)."
            )


def _records(system: System) -> list[dict[str, Any]]:
    paths = [path / "train.json" for path in system.training_directories]
    return [json.loads(path.read_text("utf-8")) for path in paths if path.is_file()]


def _curves(system: System) -> Iterator[tuple[str, str]]:
    for seed, record in zip(system.seeds, _records(system), strict=False):
        lines = {
            "train": [(r["num_updates"], r["nll_loss"]) for r in record["train"]],
            "dev": [(r["valid_num_updates"], r["valid_nll_loss"]) for r in record["valid"]],
        }
        yield seed, drawing.curves(lines, "updates", "loss, bits a subword")


def _score_rows(exp: Path, scores: Path) -> tuple[list[str], list[list[str]], list[str]]:
    written = read(scores)
    rows, metrics = [], list[str]()
    for system in systems(exp, scores):
        metrics = list(system.values)
        cells = []
        for metric in metrics:
            p = system.p_values[metric]
            mark = "" if p is None else f", p = {p:.3f}"
            cells.append(with_interval(system, metric) + mark)
        rows.append([BASELINES.get(system.name, system.name), str(len(system.seeds)), *cells])
    signatures = [
        f"{row['metric']}: {row['signature']}"
        for row in next(iter(written["systems"].values()))["scores"]
    ]
    warnings = [
        f"warning: {name}: {warning}"
        for name, system in written["systems"].items()
        for warning in system["warnings"]
    ]
    return metrics, rows, [*signatures, *warnings]


def _dropped(stages: Sequence[tuple[Path, Manifest]]) -> Iterator[tuple[str, str, str, str]]:
    """(stage, what came through, number, dropped by reason), from raw to train."""
    for _, manifest in stages:
        facts = manifest.facts
        for name, number in facts.get("pairs", {}).items() if "sources" in facts else ():
            yield manifest.title, f"{name} pairs fetched", f"{number:,}", ""
        for fact, number in facts.items():
            if fact != "kept" and not fact.endswith("_kept"):
                continue
            part = fact.removesuffix("kept").rstrip("_")
            reasons = facts.get(f"{part}_dropped" if part else "dropped") or {}
            listed = ", ".join(
                f"{count:,} {reason.replace('_', ' ')}"
                for reason, count in reasons.items()
                if count
            )
            yield manifest.title, f"{part} lines kept".strip(), f"{number:,}", listed


def _settings(system: System) -> list[tuple[str, str]]:
    if not system.trainings:
        return []
    facts = system.trainings[0].facts
    rows = [(name, str(number)) for name, number in facts.items()
            if name != "options" and number not in (None, 0, 0.0)]  # fmt: skip
    return rows + [(name, str(number)) for name, number in facts.get("options", {}).items()]


def marked(hypothesis: str, reference: str) -> str:
    """HTML of both in one: what only the hypothesis has is deleted, what it lacks inserted."""
    ours, theirs = hypothesis.split(), reference.split()
    parts = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, False).get_opcodes():
        if kind == "equal":
            parts.append(escape(" ".join(ours[a:b])))
            continue
        if b > a:
            parts.append(f"<del>{escape(' '.join(ours[a:b]))}</del>")
        if d > c:
            parts.append(f"<ins>{escape(' '.join(theirs[c:d]))}</ins>")
    return " ".join(parts)


def _lines(system: System) -> list[float]:
    """ChrF of each line by the first seed."""
    made = measure("chrF", [[]], read(system.scores)["target_language"])
    counts = system.counts("chrF")[0]
    return [value(made, counts[number : number + 1]) for number in range(len(counts))]


def _examples(system: System, source: Path, references: Path) -> dict[str, list[Example]]:
    """Lines with the best and the worst scores, and some between."""
    files = [list(read_lines(path)) for path in (source, references, hypotheses(system)[0])]
    scores = _lines(system)
    order = sorted((n for n in range(len(scores)) if files[1][n].strip()), key=scores.__getitem__)

    def some(numbers: Sequence[int]) -> list[Example]:
        return [Example(n + 1, files[0][n], files[1][n], marked(files[2][n], files[1][n]),
                        scores[n]) for n in numbers]  # fmt: skip

    step = max(1, len(order) // _EXAMPLES)
    return {
        "evenly spread from worst to best": some(order[step // 2 :: step][:_EXAMPLES]),
        "the worst": some(order[:_EXAMPLES]),
        "the best": some(order[::-1][:_EXAMPLES]),
    }


def _compared(
    exp: Path, scores: Path, main: System, source: Path, references: Path
) -> tuple[str, dict[str, list[Example]]]:
    """The biggest gains and losses against the baseline, or the second seed."""
    others = {system.name: system for system in systems(exp, scores)}
    base = others.get(read(scores)["baseline"] or "")
    if base is None or base.name == main.name:
        return "", {}
    files = [list(read_lines(path)) for path in
             (source, references, hypotheses(main)[0], hypotheses(base)[0])]  # fmt: skip
    gains = [ours - theirs for ours, theirs in zip(_lines(main), _lines(base), strict=True)]
    order = sorted(range(len(gains)), key=gains.__getitem__)

    def some(numbers: Sequence[int]) -> list[Example]:
        return [Example(n + 1, files[0][n], files[1][n], marked(files[2][n], files[1][n]), gains[n],
                        files[3][n]) for n in numbers]  # fmt: skip

    return BASELINES.get(base.name, base.name), {
        "the biggest gains": some(order[::-1][:_EXAMPLES]),
        "the biggest losses": some(order[:_EXAMPLES]),
    }


def _attention(
    exp: Path, source: Path
) -> tuple[list[str], list[tuple[str, list[tuple[float, str]]]]] | None:
    """Subwords of a sentence of usual length, and for each of its translation the weights."""
    bundles = sorted(exp.glob("bundle*"))
    line = next((s for s in read_lines(source) if 6 <= len(s.split()) <= 14), None)
    if not bundles or line is None:
        return None
    found = attention(bundles[0], line)
    if found is None:
        return None
    pieces, output, weights = found
    rows = [
        (piece, [(weight, f"{weight:.0%}") for weight in row])
        for piece, row in zip(output, weights, strict=False)
    ]
    return pieces, rows


if __name__ == "__main__":
    command(page)
