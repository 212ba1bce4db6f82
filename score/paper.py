"""BLEU as older papers computed it, and beside it what they published.

A number on lowercased, tokenised text says nothing beside one on raw text, so it has a name of its
own, is kept apart from sacreBLEU's scores, and is only compared with a published number whose
conditions are the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from sacrebleu.metrics.bleu import BLEU

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json
from score.metrics import mean_and_spread

FILE = "paper.json"


def bleu4(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """BLEU of tokens split at spaces, as by multi-bleu.perl and fairseq-generate (0 to 100).

    No tokenising, no smoothing; 0 if no 4-gram is right. The text after it is in their format:
    precisions of 1- to 4-grams, brevity penalty, length ratio, lengths.
    """
    if len(hypotheses) != len(references):
        raise RecipeError(
            f"{len(hypotheses):,} hypotheses but {len(references):,} references; translate again"
        )
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    precisions = "/".join(f"{value:.1f}" for value in score.precisions)
    return score.score, (
        f"{precisions} (BP={score.bp:.3f}, ratio={score.ratio:.3f}, "
        f"syslen={score.sys_len}, reflen={score.ref_len})"
    )


def paper(
    hypotheses: list[str], references: Path, published: Path, pair: str, name: str, out: Path
) -> None:
    """Score tokenised hypotheses of a test set as a paper did, next to the paper's number.

    Example: python -m score.paper --published conf/published.yaml --pair en-de --name test
    --references exp/tokens/test.de --hypotheses+ exp/tokens-test-1/hypotheses.txt --out exp/paper

    Args:
        hypotheses: name of a file of tokenised hypotheses, for each seed.
        references: the references, tokenised in the same way.
        published: YAML with the paper's `source`, its `conditions`, and `scores` by pair and set.
        pair: source and target language, as in `published`.
        name: name of the test set, as in `published`.
        out: directory for paper.json.

    """
    known: dict[str, Any] = yaml.safe_load(published.read_text(encoding="utf-8"))
    refs = list(read_lines(references))
    scored = [bleu4(list(read_lines(path)), refs) for path in hypotheses]
    result = {
        "name": name,
        "source": known["source"],
        "conditions": known["conditions"],
        "published": known["scores"].get(pair, {}).get(name),
        "scores": [value for value, _ in scored],
        "details": [details for _, details in scored],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FILE, result)
    note(out, pair=pair, name=name)
    print("\n".join(table([result])))


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Lines that show our scores beside the published ones, for test sets of one paper."""
    lines = [f"BLEU4 as in {results[0]['source']}", f"({results[0]['conditions']})", ""]
    lines.append(f"{'':<12}{'published':>11}{'ours':>16}{'seeds':>7}")
    for row in results:
        shown = f"{row['published']:.2f}" if row["published"] else "-"
        ours = mean_and_spread(row["scores"])
        lines.append(f"{row['name']:<12}{shown:>11}{ours:>16}{len(row['scores']):>7}")
    lines.append("")
    for row in results:
        lines += [f"{row['name']}: {details}" for details in row["details"]]
    return lines


if __name__ == "__main__":
    command(paper)
