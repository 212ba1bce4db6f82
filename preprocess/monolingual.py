"""Prepare monolingual text for back-translation: cleaned, without dev and test, in shards."""

from collections import Counter
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import portions, read_lines, whole_file, write_lines
from pipeline.manifest import note
from pipeline.parallel import in_blocks, parallel_map
from pipeline.progress import progress
from preprocess.bitext import refuse_mixed
from preprocess.clean import decide, decide_in_corpus, held_out_lines
from preprocess.filters import Pairs, and_language, read_filters
from preprocess.normalise import Normaliser, read_steps
from preprocess.sources import Fetcher

ALWAYS: list[dict[str, dict[str, Any] | None]] = [
    {"empty": {"max": 0}},
    {"held_out": {"max": 0}},
]
DEFAULT_FILTERS: list[dict[str, dict[str, Any] | None]] = [
    {"words": {"max": 200}},
    {"characters": {"max": 2000}},
    {"punctuation": {"max": 0.5}},
    {"repetition": {"max": 5}},
    {"nearly_repeated": {"max": 0}},
]
_BLOCK_LINES = 20_000


def shard_name(number: int | str) -> str:
    """The file of a shard; the first has the number 1."""
    return f"shard-{number}.tsv"


def read_shard(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a shard, each with its number in the monolingual text."""
    for row, line in enumerate(read_lines(path), 1):
        number, tab, text = line.partition("\t")
        if not tab or not number.isdigit():
            raise RecipeError(
                f"{path}, line {row}: expected a number, TAB, text; make shards with "
                "preprocess.monolingual"
            )
        yield int(number), text


def monolingual(
    text: str,
    language: str,
    bitext: Path,
    out: Path,
    shards: int = 1,
    limit: int | None = None,
    choose: Literal["evenly", "domain"] = "evenly",
    filters: list[dict[str, dict[str, Any] | None]] | None = None,
    lock: Path | None = None,
    workers: int | None = None,
) -> None:
    """Clean and deduplicate monolingual text, and take out what is in dev or a test set.

    Writes shard-1.tsv, shard-2.tsv … with the number that a line has in the text, and the line,
    and dropped.tsv with number, reason and line. Lines are normalised as the bitext was.

    Example: python -m preprocess.monolingual --text 'file:/corpora/news.*.ca.gz' --language ca
    --bitext exp/clean --out exp/monolingual --shards 8 --limit 100000

    Args:
        text: where the text is: file:, https:, npm: or pypi:, as for preprocess.fetch.
        language: code of its language, one of the bitext's.
        bitext: directory of the bitext; from all its sets but train, lines are held out, letter
            case, spaces and punctuation aside.
        out: directory for the shards.
        shards: number of files to spread the lines over, in order.
        limit: keep at most so many lines.
        choose: which to keep: evenly over the text, or those closest to the bitext's train by
            cross-entropy difference (Moore & Lewis 2010).
        filters: as for preprocess.clean, each side of a pair being the line; blank lines, and
            those of dev and the test sets, are always dropped.
        lock: JSON file of url and sha256, as for preprocess.fetch.
        workers: processes; one per core unless given. The result is the same.

    """
    if shards < 1 or (limit is not None and limit < 1):
        raise RecipeError("shards and limit are at least 1")
    if choose == "domain" and limit is None:
        raise RecipeError("choose domain keeps the closest lines: say with --limit how many")
    refuse_mixed(bitext)
    steps = read_steps(bitext)
    if language not in steps:
        raise RecipeError(f"{bitext} holds {' and '.join(steps)}, not {language}")
    form = Normaliser(steps[language])
    if filters is None:
        # Each side of a pair is the line: one of them is enough.
        filters = and_language(DEFAULT_FILTERS, language, "source")
    chosen = read_filters([*ALWAYS, *filters])
    if any(one.name == "external" for one in chosen):
        raise RecipeError("the filter external is for pairs; monolingual text has no use of it")
    held = held_out_lines(bitext, language, form)
    fetcher, changes = Fetcher(lock), Counter[str]()

    def judge(lines: list[str]) -> tuple[NDArray[np.int16], list[NDArray[np.int64]], list[str]]:
        side = form.side(lines)
        pairs = Pairs(side, side, language, language, (held, held))
        keys = [np.asarray(one.score(pairs)) for one in chosen if one.of_the_corpus]
        return decide(pairs, chosen)[0], keys, list(side.lines)

    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(shard_name("*")):  # of an earlier run, which may have made more
        old.unlink()
    reasons, keys_of = [], []
    normalised = out / "normalised"
    with open(normalised, "w", encoding="utf-8", newline="\n") as file:
        # A document a line would fill the memory in blocks of so many lines.
        blocks = (
            part
            for block in in_blocks(fetcher.lines(text, changes), _BLOCK_LINES)
            for (part,) in portions([block])
        )
        for reason, keys, lines in progress(
            parallel_map(judge, blocks, workers), "judging", "blocks"
        ):
            reasons.append(reason)
            keys_of.append(keys)
            file.writelines(line + "\n" for line in lines)
    if not keys_of:
        raise RecipeError(f"{text} is empty; there is nothing to translate")
    reason = np.concatenate(reasons)
    places = [place for place, one in enumerate(chosen) if one.of_the_corpus]
    keys_by_place = {
        place: np.concatenate([keys[index] for keys in keys_of])
        for index, place in enumerate(places)
    }
    del reasons, keys_of
    decide_in_corpus(reason, np.zeros(len(reason)), keys_by_place, chosen)
    names = [one.name for one in chosen]
    kept = np.flatnonzero(reason < 0)
    if not len(kept):
        raise RecipeError(f"{text}: none of {len(reason):,} lines is left; look at the filters")
    if limit is not None and limit < len(kept):
        if choose == "domain":
            best = _closest(normalised, reason < 0, bitext / f"train.{language}", form, limit)
        else:
            best = np.linspace(0, len(kept) - 1, limit).round().astype(int)
        over = np.delete(kept, best)
        names.append("over the limit")
        reason[over] = len(names) - 1
        kept = kept[best]
    _write(normalised, reason, names, out, np.array_split(kept, shards))
    normalised.unlink()

    counts = np.bincount(reason[reason >= 0], minlength=len(names)).tolist()
    dropped = {name: count for name, count in zip(names, counts, strict=True) if count}
    note(
        out,
        language=language,
        lines=len(reason),
        kept=len(kept),
        dropped=dropped,
        characters_mended=changes,
        sources=[fetched.as_fact() for fetched in fetcher.fetched.values()],
    )
    print(f"{len(kept):,} of {len(reason):,} lines kept, in {shards} shards")
    for name, count in dropped.items():
        print(f"  {count:>9,}  dropped: {name}")


def _closest(
    file: Path, keep: NDArray[np.bool_], domain: Path, form: Normaliser, limit: int
) -> NDArray[np.intp]:
    """Places, among the kept lines, of the `limit` that are closest to the domain, in order."""
    from preprocess.domain import Domain  # scikit-learn takes its time to load

    def kept() -> Iterator[list[str]]:
        return in_blocks(compress(read_lines(file), keep.tobytes()), _BLOCK_LINES)

    spaces = find(domain.suffix[1:]).has_spaces
    own = in_blocks(map(form, read_lines(domain)), _BLOCK_LINES)
    model = Domain(own, kept(), spaces)
    scores = np.concatenate([model.difference(block) for block in kept()])
    return np.sort(np.argsort(scores, kind="stable")[:limit])


def _write(
    file: Path,
    reason: NDArray[np.int16],
    names: list[str],
    out: Path,
    shards: list[NDArray[np.intp]],
) -> None:
    numbered = enumerate(read_lines(file), 1)
    with whole_file(out / "dropped.tsv") as dropped:

        def kept(count: int) -> Iterator[str]:
            while count:
                number, line = next(numbered)
                place = reason[number - 1]
                if place < 0:
                    count -= 1
                    yield f"{number}\t{line}"
                else:
                    dropped.write(f"{number}\t{names[place]}\t{line}\n")

        for number, shard in enumerate(shards, 1):
            write_lines(out / shard_name(number), kept(len(shard)))
        dropped.writelines(
            f"{number}\t{names[reason[number - 1]]}\t{line}\n" for number, line in numbered
        )


if __name__ == "__main__":
    command(monolingual)
