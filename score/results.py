"""RESULTS.md of a recipe: what came out, where and by which command, from manifests alone."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipeline.command import command
from pipeline.lines import write_lines
from score.compare import with_interval
from score.experiment import (
    all_scores,
    beside_scores,
    hosts,
    read,
    read_papers,
    repeat,
    set_of,
    signatures,
    stages_of,
    star_means,
    systems,
)
from score.metrics import mean_and_spread
from score.tables import markdown


def results(experiments: list[Path], out: Path) -> None:
    """Write the results of a recipe's experiments as Markdown.

    Example: python -m score.results --experiments+ exp --experiments+ exp-de-en
    --out recipes/multi30k/RESULTS.md

    Args:
        experiments: directories of experiments, each of which becomes a section.
        out: the file; it is written anew.

    """
    lines = [
        "# Results",
        "",
        "Written by `python -m score.results` from the manifests of the experiments. Scores are",
        "means over seeds ± standard deviation, in brackets the 95 % confidence interval over",
        "samples of the test set.",
    ]
    for experiment in experiments:
        lines += ["", *_section(experiment)]
    write_lines(out, lines)
    print(f"{out}: {len(experiments)} experiments")


def _section(experiment: Path) -> Iterator[str]:
    found = all_scores(experiment)
    manifests = [manifest for _, manifest in stages_of(experiment)]
    yield f"## {experiment.resolve().name}"
    yield f"{max(manifest.started for manifest in manifests)[:10]}; " + "; ".join(hosts(manifests))
    if run := repeat(experiment):
        # Where somebody keeps their data is nobody's business.
        words = [word if "://" in word else re.sub(r"(^|[=:])/.*/", r"\1.../", word)
                 for word in run]  # fmt: skip
        yield from ("", "    " + shlex.join(words))
    shown: dict[str, None] = {}
    for scores in found:
        rows = []
        for system in systems(scores):
            row = {"system": system.title, "seeds": str(len(system.seeds))}
            row |= {m: with_interval(system, m) + system.star(m) for m in system.values}
            row["updates"] = "; ".join(f"{m.facts['updates']:,}" for m in system.manifests)
            row["minutes"] = "; ".join(f"{minutes:.1f}" for minutes in system.minutes())
            rows.append(row)
        written = read(scores)
        yield from ("", f"### {set_of(scores)}", "", *markdown(rows))
        if written["baseline"]:
            yield from ("", "\\" + star_means(written))
        for metric, text in signatures(written).items():
            shown[f"{metric} `{text}`"] = None
    yield from ("", ", ".join(shown))
    for line in beside_scores(experiment):
        yield from ("", line)
    papers = read_papers(experiment)
    if papers:
        yield from ("", f"### As in {papers[0]['source']}", "", papers[0]["conditions"], "")
        yield from markdown([
            {"test set": paper["name"],
             "published": f"{paper['published']:.2f}" if paper["published"] else "",
             "ours": mean_and_spread(paper["scores"]),
             "seeds": str(len(paper["scores"])),
             "precisions, brevity, lengths": "; ".join(paper["details"])}
            for paper in papers
        ])  # fmt: skip


if __name__ == "__main__":
    command(results)
