"""Translate raw text with a model bundle."""

import sys
from collections.abc import Iterator
from pathlib import Path

from decode.bundle import Bundle
from pipeline.command import command
from pipeline.lines import one_line, read_lines, read_stream, write_lines
from pipeline.manifest import note
from pipeline.progress import progress


def translate(
    bundle: Path,
    input: Path | None = None,
    out: Path | None = None,
    beam: int = 5,
    threads: int | None = None,
    detokenise: bool = True,
) -> None:
    """Translate text line by line: one output line per input line, blank for blank.

    Lines longer than any in training are split at sentence ends, and counted, as are outputs
    that were cut, are empty or repeat themselves.

    Example: echo "Abra el archivo." | python -m decode.translate --bundle exp/bundle

    Args:
        bundle: directory that decode.export made.
        input: file to translate, may be compressed (default: standard input).
        out: directory for hypotheses.txt and the counts (default: standard output).
        beam: number of hypotheses to follow; 1 is greedy search.
        threads: number of cores to use (default: all).
        detokenise: false leaves the output as the model was trained on it, lowercased and
            tokenised, for comparison with papers that score that.

    """
    model = Bundle.load(bundle, threads)
    model.detokenise = detokenise
    if input is None:
        lines: Iterator[str] = read_stream(sys.stdin.buffer, "standard input")
        total = None
    else:
        total = sum(1 for _ in read_lines(input))
        lines = read_lines(input)
    outputs = progress(model.stream(lines, beam), "translating", "lines", total)
    if out is None:
        for line in outputs:
            print(one_line(line))
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_lines(out / "hypotheses.txt", outputs)
        note(out, beam=beam, counts=model.counts.as_dict())
    counted = ", ".join(f"{count:,} {name}" for name, count in model.counts.as_dict().items())
    print(f"translated: {counted}", file=sys.stderr)


if __name__ == "__main__":
    command(translate)
