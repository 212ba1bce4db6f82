"""One HTML page about an experiment, with all in it, for someone who was not there."""

import difflib
import importlib.resources
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, StrictUndefined

from decode.attention import attention
from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import Manifest, chain, file_record
from score import drawing
from score.compare import shown_p, with_interval
from score.experiment import (
    BASELINES,
    System,
    all_scores,
    beside_scores,
    hosts,
    maker,
    read,
    read_papers,
    repeat,
    set_of,
    signatures,
    stages_of,
    systems,
    warnings,
)
from score.measures import measure
from score.metrics import SCORES

_EXAMPLES = 8
# A dev loss that rose by so much since its best is overfitting, and said.
_ROSE = 0.02


@dataclass
class Example:
    """A line of the test set; `score` is its own, or the difference from a baseline's."""

    line: int
    source: str
    reference: str
    marked: str
    score: float
    other: str = ""


def page(exp: Path, source: Path, references: Path, out: Path, sentence: int | None = None) -> None:
    """Write one self-contained HTML page about an experiment.

    Example: python -m score.page --exp exp --source exp/clean/test.es
    --references exp/clean/test.ca --out exp/report.html

    Args:
        exp: the experiment's directory, with score/scores.json, or score-NAME/, in it.
        source: test set, source side.
        references: test set, target side.
        out: the page.
        sentence: line of the test set, counted from 1, to show the attention for (default: the
            first of 6 to 14 words).

    """
    found = all_scores(exp)
    wanted = file_record(references).sha256
    first = next((path for path in found if wanted in read(path)["references"]), None)
    if first is None:
        raise RecipeError(
            f"no scores in {exp} are of {references}; give the references of its test set"
        )
    main, base = _main(first)
    lines = _Lines(main, base, source, references)
    stages = stages_of(exp)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
    text = environment.from_string(template).render(
        name=exp.resolve().name,
        run=shlex.join(repeat(exp)),
        date=max(manifest.started for _, manifest in stages)[:10],
        hosts=hosts([manifest for _, manifest in stages]),
        verdicts=[*_verdicts(first, base), *_fitted(main), *beside_scores(exp)],
        scores=[(set_of(path), *_score_rows(path)) for path in found],
        papers=read_papers(exp),
        dropped=list(_dropped(stages)),
        curves=list(_curves(main)),
        parts=read(first)["parts"].get("length", {}),
        metric="BLEU" if "BLEU" in main.values else next(iter(main.values)),
        main=main.seeds[0],
        by=lines.metric,
        examples=lines.examples(),
        other=base.title if base else "",
        compared=lines.compared() if base else {},
        attention=_attention(main, source, sentence),
        stages=[(m.stage, m.title, f"{m.seconds:,.1f}", f"{m.peak_memory_bytes / 2**20:,.0f}",
                 m.damage(path) or "as it was made") for path, m in stages],
        settings=_settings(main),
        libraries=sorted({item for _, m in stages for item in m.key["libraries"].items()}),
        chain="\n".join(chain(first / SCORES)),
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    write_lines(out, text.split("\n"))
    print(f"report: {out} ({out.stat().st_size / 2**20:.1f} MiB)")


def _main(scores: Path) -> tuple[System, System | None]:
    """The system that the page is about, the first that was trained; and what it is compared to."""
    baseline, known = read(scores)["baseline"], systems(scores)
    base = next((one for one in known if baseline in (one.name, *one.seeds)), None)
    trained = [one for one in known if one.name not in BASELINES]
    main = next(iter([one for one in trained if one is not base] or trained or known))
    return main, None if main is base else base


def _verdicts(scores: Path, base: System | None) -> Iterator[str]:
    """Sentences: is each system better than the baseline beyond chance?"""
    if base is None:
        return
    test = read(scores)["test"]
    for system in systems(scores):
        if system.name == base.name or system.name in BASELINES:
            continue
        for metric in [name for name in ("BLEU", "chrF") if name in system.values] or system.values:
            ours, theirs = (mean(one.values[metric]) for one in (system, base))
            p = system.p_values[metric]
            both = f"{metric} {ours:.2f} against {theirs:.2f}"
            if p is None:
                yield f"{system.name} and {base.title}: {both}, not compared."
                continue
            chance = "beyond chance" if system.star(metric) else "which may be chance"
            word = (
                "scores as"
                if ours == theirs
                else "scores " + ("higher than" if ours > theirs else "lower than")
            )
            sure = f"{both}; p {shown_p(p)}, {test}"
            yield f"{system.name} {word} the {base.title}, {chance} ({sure})."


def _fitted(system: System) -> Iterator[str]:
    """Sentences: did the training overfit, or end too early?"""
    for seed, curve in _records(system):
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


def _records(system: System) -> list[tuple[str, dict[str, Any]]]:
    """The curves of each seed whose training is known."""
    return [
        (seed, json.loads((path / "train.json").read_text("utf-8")))
        for seed, path in zip(system.seeds, system.trainings, strict=True)
        if path and (path / "train.json").is_file()
    ]


def _curves(system: System) -> Iterator[tuple[str, str]]:
    for seed, record in _records(system):
        lines = {
            "train": [(r["num_updates"], r["nll_loss"]) for r in record["train"]],
            "dev": [(r["valid_num_updates"], r["valid_nll_loss"]) for r in record["valid"]],
        }
        yield seed, drawing.curves(lines, "updates", "loss, bits a subword")


def _score_rows(scores: Path) -> tuple[list[str], list[list[str]], list[str]]:
    written, known = read(scores), systems(scores)
    rows = []
    for system in known:
        cells = []
        for metric in system.values:
            p = system.p_values[metric]
            mark = "" if p is None else f", p {shown_p(p)}"
            cells.append(with_interval(system, metric) + mark)
        rows.append([system.title, str(len(system.seeds)), *cells])
    notes = [f"{metric}: {text}" for metric, text in signatures(written).items()]
    return list(known[0].values), rows, [*notes, *warnings(written)]


def _dropped(stages: Sequence[tuple[Path, Manifest]]) -> Iterator[tuple[str, str, str, str]]:
    """(stage, what came through, number, dropped by reason), from raw to train."""
    for _, manifest in stages:
        facts = manifest.facts
        for name, number in facts.get("pairs", {}).items() if "sources" in facts else ():
            yield manifest.title, f"{name} pairs fetched", f"{number:,}", ""
        for fact, number in facts.items():
            if not isinstance(number, int) or (fact != "kept" and not fact.endswith("_kept")):
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
    if not system.manifests:
        return []
    facts = system.manifests[0].facts
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


class _Lines:
    """Lines of the test set with the score of each, by the first seed of either system."""

    def __init__(self, main: System, base: System | None, source: Path, references: Path) -> None:
        self.metric = "chrF" if "chrF" in main.values else next(iter(main.values))
        self._made = measure(self.metric, [[]], read(main.scores)["target_language"])
        self._sources, self._references = (list(read_lines(path)) for path in (source, references))
        if len(self._sources) != len(self._references):
            raise RecipeError(
                f"{source} has {len(self._sources):,} lines, {references} {len(self._references):,}"
            )
        self._ours, self._scores = self._read(main)
        self._others, self._theirs = self._read(base) if base else ([], [])

    def _read(self, system: System) -> tuple[list[str], list[float]]:
        path = system.hypotheses[0]
        if path is None or not path.is_file():
            raise RecipeError(f"{path or system.seeds[0]}, which was scored, is not there any more")
        scores = [self._made.score_line(row) for row in system.counts(self.metric)[0]]
        return list(read_lines(path)), scores

    def _some(self, numbers: Sequence[int], scores: Sequence[float]) -> list[Example]:
        return [
            Example(
                n + 1,
                self._sources[n],
                self._references[n],
                marked(self._ours[n], self._references[n]),
                scores[n],
                self._others[n] if self._others else "",
            )
            for n in numbers
        ]

    def examples(self) -> dict[str, list[Example]]:
        """Lines with the best and the worst scores, and some between."""
        order = sorted(range(len(self._scores)), key=self._scores.__getitem__)
        order = [n for n in order if self._references[n].strip()]
        step = max(1, len(order) // _EXAMPLES)
        return {
            "evenly spread from worst to best": self._some(order[step // 2 :: step], self._scores),
            "the worst": self._some(order[:_EXAMPLES], self._scores),
            "the best": self._some(order[::-1][:_EXAMPLES], self._scores),
        }

    def compared(self) -> dict[str, list[Example]]:
        """The biggest gains and losses against the baseline."""
        gains = [ours - theirs for ours, theirs in zip(self._scores, self._theirs, strict=True)]
        order = sorted(range(len(gains)), key=gains.__getitem__)
        return {
            "the biggest gains": self._some(order[::-1][:_EXAMPLES], gains),
            "the biggest losses": self._some(order[:_EXAMPLES], gains),
        }


def _attention(
    system: System, source: Path, sentence: int | None
) -> tuple[list[str], list[tuple[str, list[str]]]] | None:
    """Subwords of a sentence of usual length, and for each of its translation the weights."""
    bundle = maker(system.hypotheses[0], "decode.export")
    lines = list(read_lines(source))
    if sentence is not None and not 0 < sentence <= len(lines):
        raise RecipeError(f"{source} has {len(lines):,} lines, and no line {sentence}")
    if sentence is not None:
        line: str | None = lines[sentence - 1]
    else:
        line = next((text for text in lines if 6 <= len(text.split()) <= 14), None)
    found = attention(bundle, line) if bundle and line else None
    if found is None:
        return None
    pieces, output, weights = found
    rows = [(piece, [f"{weight:.0%}" for weight in row])
            for piece, row in zip(output, weights, strict=False)]  # fmt: skip
    return pieces, rows


if __name__ == "__main__":
    command(page)
