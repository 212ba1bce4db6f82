"""Translate raw text with a model bundle."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from decode.bundle import Bundle, Hypothesis
from decode.search import Search
from pipeline.command import command
from pipeline.lines import one_line, read_lines, read_stream, whole_file
from pipeline.manifest import note
from pipeline.progress import progress

N_BEST = "n_best.tsv"


def translate(
    bundle: Path,
    input: Path | None = None,
    out: Path | None = None,
    search: Search = Search(),  # noqa: B008
    threads: int | None = None,
    detokenise: bool = True,
) -> None:
    """Translate text line by line: one output line per input line, blank for blank.

    Lines longer than any in training are split at sentence ends, and counted, as are outputs
    that were cut, are empty, repeat themselves, or have other numbers or addresses.

    Example: echo "Abra el archivo." | python -m decode.translate --bundle exp/bundle
    --search.beam 8 --search.n_best 3

    Args:
        bundle: directory that decode.export made.
        input: file to translate, may be compressed (default: standard input).
        out: directory for hypotheses.txt and the counts (default: standard output). With n_best
            or scores, also for n_best.tsv: number of the line, score, hypothesis.
        search: beam search, or sampling.
        threads: number of cores to use (default: all).
        detokenise: false leaves the output as the model was trained on it, lowercased and
            tokenised, for comparison with papers that score that.

    """
    model = Bundle.load(bundle, threads, search)
    model.detokenise = detokenise
    several = search.n_best > 1 or search.scores
    if input is None:
        lines: Iterator[str] = read_stream(sys.stdin.buffer, "standard input")
        total = None
    else:
        total = sum(1 for _ in read_lines(input))
        lines = read_lines(input)
    outputs = progress(model.stream(lines), "translating", "lines", total)
    if out is None:
        for number, hypotheses in enumerate(outputs, 1):
            for line in _rows(number, hypotheses) if several else [hypotheses[0].text]:
                print(one_line(line))
    else:
        out.mkdir(parents=True, exist_ok=True)
        (out / N_BEST).unlink(missing_ok=True)  # of an earlier run
        with (
            whole_file(out / "hypotheses.txt") as file,
            whole_file(out / N_BEST) if several else nullcontext() as table,
        ):
            for number, hypotheses in enumerate(outputs, 1):
                file.write(one_line(hypotheses[0].text) + "\n")
                if table:
                    table.writelines(one_line(row) + "\n" for row in _rows(number, hypotheses))
        note(out, search=vars(search), counts=model.counts.as_dict())
    counted = ", ".join(f"{count:,} {name}" for name, count in model.counts.as_dict().items())
    print(f"translated: {counted}", file=sys.stderr)


def _rows(number: int, hypotheses: list[Hypothesis]) -> list[str]:
    return [
        f"{number}\t{'' if each.score is None else f'{each.score:.4f}'}\t{each.text}"
        for each in hypotheses
    ]


if __name__ == "__main__":
    command(translate)
