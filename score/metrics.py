"""Score hypotheses against references with sacreBLEU, signatures included."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json

# What tells the seeds of one system from another.
SEED = re.compile(r"-seed\d+$")
# Left in a hypothesis, these say that subwords were never joined.
_MARKERS = ("▁", "@@ ", "</s>", "<pad>")


@dataclass
class Score:
    """A metric's value, and the signature without which it means nothing.

    `p_value` is that of a difference as large from the baseline, if there is one.
    """

    metric: str
    value: float
    signature: str
    p_value: float | None = None


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean, and where there are several seeds, their standard deviation (n - 1)."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ±{stdev(values):.2f}"


def check(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
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
    return warnings


def scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    target_language: str,
    lowercase: bool = False,
) -> list[Score]:
    """BLEU (Papineni et al. 2002), chrF2 (Popović 2015) and TER (Snover et al. 2006).

    Computed by sacreBLEU (Post 2018) on text in NFC, in which the same visible text has the same
    bytes; BLEU's tokeniser is that of the target language.
    """
    hyps, refs = _composed(hypotheses), [_composed(references)]
    result = []
    for metric in (*_metrics(target_language, lowercase), TER()):
        score = metric.corpus_score(hyps, refs)
        name = score.name if score.name != "chrF2" else "chrF"
        result.append(Score(name, score.score, str(metric.get_signature())))
    return result


def _composed(lines: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", line) for line in lines]


def _metrics(target_language: str, lowercase: bool) -> tuple[BLEU, CHRF]:
    tokenizer = find(target_language).sacrebleu_tokenizer
    return BLEU(lowercase, tokenize=tokenizer), CHRF(lowercase=lowercase)


def p_values(
    hypotheses: Sequence[str],
    baseline: Sequence[str],
    references: Sequence[str],
    target_language: str,
    lowercase: bool = False,
) -> dict[str, float]:
    """Of the difference from a baseline, by metric: how often one as large comes by chance.

    By sacreBLEU's paired bootstrap (Koehn 2004) with 1,000 samples of the test set.
    """
    bleu, chrf = _metrics(target_language, lowercase)
    lines = {"baseline": _composed(baseline), "system": _composed(hypotheses)}
    test = PairedTest([*lines.items()], {"BLEU": bleu, "chrF": chrf}, [_composed(references)], "bs")
    found: Any = test()[1]
    return {
        name: float(found[key][1].p_value) for name, key in (("BLEU", "BLEU"), ("chrF", "chrF2"))
    }


def score(
    systems: dict[str, Path],
    references: Path,
    out: Path,
    target_language: str,
    lowercase: bool = False,
    baseline: str | None = None,
) -> None:
    """Score one or more systems on the same references.

    Writes scores.json.

    Example: python -m score.metrics --references test.ca --target-language ca --out exp/score
    --systems.model exp/translate/hypotheses.txt --systems.copy test.es

    Args:
        systems: file of hypotheses for each system, by a name of your choice; NAME-seed1,
            NAME-seed2 … are one system in the tables, with mean and spread.
        references: file with the reference of each line, untouched.
        out: directory for scores.json.
        target_language: code of the target language; it chooses BLEU's tokeniser.
        baseline: name of the system to compare all others with, each seed with its seed, by
            paired bootstrap (Koehn 2004): p-values in scores.json.
        lowercase: take no account of case, for a model that was trained on lowercased text.

    """
    refs = list(read_lines(references))
    hypotheses = {name: list(read_lines(path)) for name, path in systems.items()}
    result = {}
    for name, lines in hypotheses.items():
        try:
            warnings = check(lines, refs)
        except RecipeError as error:
            raise RecipeError(f"{systems[name]}: {error}") from error
        for warning in warnings:
            print(f"warning: {systems[name]}: {warning}")
        values = scores(lines, refs, target_language, lowercase)
        if baseline and (against := _baseline(name, baseline, hypotheses)):
            found = p_values(lines, hypotheses[against], refs, target_language, lowercase)
            values = [replace(value, p_value=found.get(value.metric)) for value in values]
        result[name] = {"scores": [asdict(value) for value in values], "warnings": warnings}
        print(f"{name:<20}" + "".join(f"  {v.metric} {v.value:6.2f}" for v in values))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "scores.json", {"lines": len(refs), "systems": result})
    note(out, lines=len(refs))


def _baseline(name: str, baseline: str, systems: Iterable[str]) -> str | None:
    """The system to compare with: the baseline's of the same seed; None for the baseline."""
    system, seed = SEED.sub("", name), SEED.search(name)
    if system == baseline or name == baseline:
        return None
    for candidate in (f"{baseline}{seed[0]}" if seed else baseline, baseline):
        if candidate in systems:
            return candidate
    raise RecipeError(f"there is no system {baseline} to compare {name} with")


if __name__ == "__main__":
    command(score)
