"""Translate a shard of monolingual text: the synthetic side of a bitext."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from decode.bundle import Bundle, Description, Hypothesis
from decode.search import Search
from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import one_line, read_lines, whole_file
from pipeline.manifest import facts, note
from pipeline.parallel import in_blocks, parallel_map
from pipeline.progress import progress
from preprocess.monolingual import read_shard

FILE = "synthetic.tsv"

Method = Literal["beam", "greedy", "sampling", "top-k", "copy"]
# As their papers define them. Noised and tagged back-translation are beam search, with noise or
# a tag put on the source when it is combined with the bitext.
METHODS = {
    "beam": Search(beam=5, scores=True),  # Sennrich et al. 2016
    "greedy": Search(beam=1, scores=True),
    "sampling": Search(sampling=True, scores=True),  # Edunov et al. 2018, unrestricted
    "top-k": Search(sampling=True, top_k=10, scores=True),  # Edunov et al. 2018
}

# Lines that one process translates before it takes the next: enough to sort into full batches.
_CHUNK_LINES = 2000


def backtranslate(
    shard: Path,
    out: Path,
    bundle: Path | None = None,
    method: Method = "beam",
    seed: int = 1,
    threads: int | None = None,
) -> None:
    """Translate a shard of monolingual text with a model of the opposite direction.

    Writes synthetic.tsv: number of the monolingual line, log-probability of the translation per
    subword (none for a line that was translated in parts), 1 if it was cut, the line, and its
    translation. Its bytes depend on shard, bundle, method and seed, not on the threads.

    Example: python -m decode.backtranslate --shard exp/monolingual/shard-1.tsv
    --bundle exp/bundle-reverse --method sampling --out exp/synthetic-1

    Args:
        shard: file that preprocess.monolingual made.
        out: directory for synthetic.tsv.
        bundle: the model; with the direction of the final model, forward translation
            (self-training).
        method: beam (of 5), greedy, sampling, top-k (of 10), or copy: the line is its own
            translation (Currey et al. 2017), and needs no bundle.
        seed: of the drawing.
        threads: number of cores to use (default: all).

    """
    if (method == "copy") != (bundle is None):
        raise RecipeError("method copy takes no bundle, and every other method needs --bundle")
    if bundle:
        known = Description.read(bundle).source_language  # a mistake is best found here
        language = facts(shard.resolve().parent).get("language", known)
        if find(language) != find(known):
            raise RecipeError(
                f"{shard} is text in {find(language).name}, and {bundle} translates from "
                f"{find(known).name}; give the bundle of the other direction"
            )
    total = sum(1 for _ in read_shard(shard))
    started, counts = time.monotonic(), Counter[str]()

    def translate(chunk: list[tuple[int, str]]) -> tuple[list[Hypothesis], Counter[str]]:
        lines = [line for _, line in chunk]
        if bundle is None:
            return [Hypothesis(line) for line in lines], Counter()
        search = METHODS[method]
        if search.sampling:  # by the number of its first line: whoever takes a chunk, and when
            search = replace(search, seed=(seed * 1_000_003 + chunk[0][0]) % 2**31)
        model = Bundle.load(bundle, 1, search)
        return [best for best, *_ in model.stream(lines)], Counter(asdict(model.counts))

    def translated() -> Iterator[Hypothesis]:
        chunks = in_blocks(read_shard(shard), _CHUNK_LINES)
        for hypotheses, part in parallel_map(translate, chunks, threads):
            counts.update(part)
            yield from hypotheses

    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / FILE) as file:
        hypotheses = progress(translated(), "translating", "lines", total)
        for (number, line), hypothesis in zip(read_shard(shard), hypotheses, strict=True):
            score = "" if hypothesis.score is None else f"{hypothesis.score:.4f}"
            text = one_line(hypothesis.text).replace("\t", " ")
            file.write(f"{number}\t{score}\t{int(hypothesis.cut)}\t{line}\t{text}\n")
    seconds = time.monotonic() - started
    note(
        out,
        method=method,
        seed=seed,
        counts=counts,
        seconds=round(seconds, 2),
        lines_per_second=round(total / seconds, 1),
    )
    print(f"{total:,} lines in {seconds:,.1f} s, {total / seconds:,.0f} a second")


@dataclass(frozen=True)
class Synthetic:
    """A row of synthetic.tsv; `score` is None where a line was copied or translated in parts."""

    number: int
    score: float | None
    cut: bool
    line: str
    translation: str


def read_synthetic(path: Path) -> Iterator[Synthetic]:
    """Yield the rows of a synthetic.tsv."""
    for row, text in enumerate(read_lines(path), 1):
        fields = text.split("\t")
        try:
            number, score, cut, line, translation = fields
            yield Synthetic(
                int(number), float(score) if score else None, cut == "1", line, translation
            )
        except ValueError as error:
            raise RecipeError(
                f"{path}, line {row}: not a row of decode.backtranslate; make it again"
            ) from error


if __name__ == "__main__":
    command(backtranslate)
