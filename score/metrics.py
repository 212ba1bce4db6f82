"""Score hypotheses against references with sacreBLEU, signatures included."""

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json

# Left in a hypothesis, these say that subwords were never joined.
_MARKERS = ("▁", "@@ ", "</s>", "<pad>")


@dataclass
class Score:
    """A metric's value, and the signature without which it means nothing."""

    metric: str
    value: float
    signature: str


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
    hyps = [unicodedata.normalize("NFC", line) for line in hypotheses]
    refs = [[unicodedata.normalize("NFC", line) for line in references]]
    tokenizer = find(target_language).sacrebleu_tokenizer
    result = []
    for metric in (BLEU(lowercase, tokenize=tokenizer), CHRF(lowercase=lowercase), TER()):
        score = metric.corpus_score(hyps, refs)
        name = score.name if score.name != "chrF2" else "chrF"
        result.append(Score(name, score.score, str(metric.get_signature())))
    return result


def score(
    systems: dict[str, Path],
    references: Path,
    out: Path,
    target_language: str,
    lowercase: bool = False,
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
        lowercase: take no account of case, for a model that was trained on lowercased text.

    """
    refs = list(read_lines(references))
    result = {}
    for name, path in systems.items():
        hypotheses = list(read_lines(path))
        try:
            warnings = check(hypotheses, refs)
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from error
        for warning in warnings:
            print(f"warning: {path}: {warning}")
        values = scores(hypotheses, refs, target_language, lowercase)
        result[name] = {"scores": [asdict(value) for value in values], "warnings": warnings}
        print(f"{name:<12}" + "".join(f"  {v.metric} {v.value:6.2f}" for v in values))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "scores.json", {"lines": len(refs), "systems": result})
    note(out, lines=len(refs))


if __name__ == "__main__":
    command(score)
