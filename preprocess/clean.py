"""Drop the training pairs that teach a model nothing or the wrong thing; each for one reason."""

import os
from collections.abc import Iterator
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_bitext_blocks, read_lines, write_bitext
from pipeline.manifest import note
from pipeline.parallel import parallel_map
from pipeline.progress import progress
from preprocess.bitext import all_sets, languages, read_set, refuse_mixed, write_languages
from preprocess.features import Side, earlier_equal, squash
from preprocess.filters import Filter, Pairs, Scores, read_filters
from preprocess.normalise import Normaliser, steps_by_language, write_steps

# Safe for any language: nothing here depends on how it is written.
DEFAULT_FILTERS: list[dict[str, dict[str, Any] | None]] = [
    {"words": {"max": 200}},
    {"characters": {"max": 2000}},
    {"length_ratio": {"max": 2.5}},
    {"copy": {"max": 0}},
    {"held_out": {"max": 0}},
    {"repeated_pair": {"max": 0}},
]


def decide(pairs: Pairs, filters: list[Filter]) -> tuple[NDArray[np.int16], Scores]:
    """For each pair the place of the first filter that drops it, or -1; and the score it had.

    Filters of the corpus are passed over: they need all pairs.
    """
    size = len(pairs.source.lines)
    reason, value = np.full(size, -1, np.int16), np.zeros(size)
    for place, one in enumerate(filters):
        if one.of_the_corpus:
            continue
        scores = np.asarray(one.score(pairs, **one.parameters), dtype=float).reshape(size, -1)
        outside = (scores < one.least) | (scores > one.most) | np.isnan(scores)
        new = outside.any(axis=1) & (reason < 0)
        reason[new] = place
        value[new] = scores[new, outside[new].argmax(axis=1)]
    return reason, value


def decide_in_corpus(
    reason: NDArray[np.int16],
    values: Scores,
    keys: dict[int, NDArray[np.int64]],
    filters: list[Filter],
) -> None:
    """Let each filter of the corpus judge the pairs that all filters before it have kept."""
    for place, hashes in keys.items():
        still = np.flatnonzero((reason < 0) | (reason > place))
        counts = earlier_equal(hashes[still])
        outside = (counts < filters[place].least) | (counts > filters[place].most)
        reason[still[outside]] = place
        values[still[outside]] = counts[outside]


def held_out_lines(bitext: Path, language: str, form: Normaliser) -> frozenset[str]:
    """The lines of all sets but train, in their form and squashed, for the filter held_out.

    None where the bitext has no such language; `spa` is `es`.
    """
    sets = [name for name in all_sets(bitext) if name != "train"]
    codes = [code for code in languages(bitext) if find(code).iso3 == find(language).iso3]
    files = (bitext / f"{name}.{code}" for code in codes for name in sets)
    return frozenset(squash([form(line) for file in files for line in read_lines(file)]))


def clean(
    bitext: Path,
    out: Path,
    filters: list[dict[str, dict[str, Any] | None]] | None = None,
    normalise: dict[str, list[str]] | None = None,
    hold_out: list[Path] | None = None,
    workers: int | None = None,
) -> None:
    """Normalise and filter the training pairs; dev is normalised, test stays as it is.

    Pairs are judged after normalising, by one filter after the other, and dropped as pairs by
    the first that their score does not suit. Writes train, dev and test, normalise.json, and
    dropped.tsv with line number, reason, score and both sides as they were judged.
    preprocess/README.md lists the filters. They are best kept in a file:

    filters:
      - words: {max: 100}
      - script: {min: 0.5}
      - repeated_pair: {max: 0}
    normalise:
      default: [nfc]
      es: [nfc, quotes]

    Example: python -m preprocess.clean --bitext exp/fetch --out exp/clean --config clean.yaml

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for the same files, cleaned.
        filters: list of filters; pairs with an empty side are always dropped.
        normalise: steps (nfc, nfkc, quotes) for each language code, or for `default`.
        hold_out: further bitexts whose dev and test lines are dropped from train, too, in the
            languages that they share: those of a child, where this is for its parent.
        workers: processes; one per core unless given. The result is the same.

    """
    refuse_mixed(bitext)
    src, tgt = languages(bitext)
    steps = steps_by_language(normalise, (src, tgt))
    chosen = read_filters(
        [{"empty": {"max": 0}}, *(DEFAULT_FILTERS if filters is None else filters)]
    )
    shape = [Normaliser(steps[language]) for language in (src, tgt)]
    for other in hold_out or []:
        if not any(find(a).iso3 == find(b).iso3 for a in languages(other) for b in (src, tgt)):
            print(f"{other} has neither {src} nor {tgt}: nothing to hold out")
    held = [
        frozenset[str]().union(
            *(held_out_lines(one, code, form) for one in (bitext, *(hold_out or [])))
        )
        for code, form in zip((src, tgt), shape, strict=True)
    ]
    train = bitext / f"train.{src}", bitext / f"train.{tgt}"
    usual = usual_ratio(*train) if any(one.name == "length_ratio" for one in chosen) else 1.0
    files = sorted({Path(f.parameters["file"]) for f in chosen if f.name == "external"})

    def judge(block: _Block) -> _Judged:
        number, sources, targets, columns = block
        pairs = Pairs(
            shape[0].side(sources),
            shape[1].side(targets),
            src,
            tgt,
            (held[0], held[1]),
            external=dict(zip(files, columns, strict=True)),
            first_line=number,
            usual_ratio=usual,
        )
        keys = [one.score(pairs) for one in chosen if one.of_the_corpus]
        return *decide(pairs, chosen), keys, (pairs.source.text, pairs.target.text)

    write_languages(out, src, tgt)
    write_steps(out, steps)
    normalised = out / f"normalised.{src}", out / f"normalised.{tgt}"
    judged: list[tuple[NDArray[np.int16], Scores, list[NDArray[np.int64]]]] = []
    with open(normalised[0], "wb") as source_file, open(normalised[1], "wb") as target_file:
        parts = parallel_map(judge, _blocks(*train, files), workers)
        for part_reason, part_values, part_keys, texts in progress(parts, "judging", "blocks"):
            judged.append((part_reason, part_values, part_keys))
            source_file.write(texts[0].encode())
            target_file.write(texts[1].encode())
    if not judged:
        raise RecipeError(f"{train[0]} is empty; there is nothing to train on")
    reason = np.concatenate([part[0] for part in judged])
    values = np.concatenate([part[1] for part in judged])
    places = [place for place, one in enumerate(chosen) if one.of_the_corpus]
    keys = {
        place: np.concatenate([part[2][index] for part in judged])
        for index, place in enumerate(places)
    }
    del judged
    decide_in_corpus(reason, values, keys, chosen)
    del keys
    counts = np.bincount(reason[reason >= 0], minlength=len(chosen)).tolist()
    kept = int((reason < 0).sum())
    if not kept:
        raise RecipeError(
            f"all {len(reason):,} training pairs would be dropped, most of them by "
            f"{chosen[counts.index(max(counts))].name}; look at the filters and at {train[0]}"
        )

    results = out / f"train.{src}", out / f"train.{tgt}", out / "dropped.tsv"
    partial = [path.with_name(path.name + ".partial") for path in results]

    def finish(part: int) -> None:
        if part < 2:
            _write_kept(normalised[part], partial[part], reason < 0)
        else:
            _write_dropped(normalised, partial[part], reason, values, chosen)

    list(parallel_map(finish, range(3), workers))
    for written, path in zip(partial, results, strict=True):  # all of them, or none
        os.replace(written, path)
    for path in normalised:
        path.unlink()
    dev = [(shape[0](s), shape[1](t)) for s, t in read_set(bitext, "dev", src, tgt)]
    dev = [pair for pair in dev if all(pair)]
    write_bitext(out / f"dev.{src}", out / f"dev.{tgt}", dev)
    for name in all_sets(bitext)[2:]:  # test sets stay as they are
        write_bitext(out / f"{name}.{src}", out / f"{name}.{tgt}", read_set(bitext, name, src, tgt))
    reasons = {one.name: 0 for one in chosen}
    for one, count in zip(chosen, counts, strict=True):
        reasons[one.name] += count
    note(
        out,
        train_kept=kept,
        train_dropped={name: count for name, count in reasons.items() if count},
        dev_kept=len(dev),
        normalise=steps,
        usual_ratio=usual,
    )

    print(f"train: {kept:,} of {len(reason):,} pairs kept")
    for one, count in zip(chosen, counts, strict=True):
        if count:
            print(f"  {count:>9,}  dropped: {one.name} ({describe(one)})")


def usual_ratio(source: Path, target: Path) -> float:
    """Target over source characters in the first pairs, some 100,000.

    The median over pairs, or where hardly any is long enough to tell, that of the whole.
    """
    ratios, total = [], np.zeros(2)
    for sources, targets in islice(read_bitext_blocks(source, target), 5):
        pairs = Side(sources).characters, Side(targets).characters
        long = (pairs[0] >= 20) & (pairs[1] > 0)  # of short ones the ratio says little
        ratios.append(pairs[1][long] / pairs[0][long])
        total += [side.sum() for side in pairs]
    known = np.concatenate(ratios) if ratios else np.zeros(0)
    if len(known) >= 20:
        return float(np.median(known))
    return float(total[1] / total[0]) if total.all() else 1.0


def describe(one: Filter) -> str:
    """What a filter asks of a pair, as it is written in the YAML file."""
    limits = {"min": one.least, "max": one.most}
    finite = {name: f"{limit:g}" for name, limit in limits.items() if np.isfinite(limit)}
    return ", ".join(f"{name}: {value}" for name, value in {**finite, **one.parameters}.items())


# Number of the first line, sources, targets, and the rows of each file of outside scores.
_Block = tuple[int, list[str], list[str], list[list[list[str]]]]
# Reason, score, what each filter of the corpus compares, and both sides, normalised.
_Judged = tuple[NDArray[np.int16], Scores, list[NDArray[np.int64]], tuple[str, str]]


def _write_kept(file: Path, out: Path, keep: NDArray[np.bool_]) -> None:
    """Copy the lines of the kept pairs; the sides cannot part, as both follow one list."""
    with open(file, "rb") as lines, open(out, "wb") as kept:
        kept.writelines(compress(lines, keep.tobytes()))


def _write_dropped(
    files: tuple[Path, Path],
    out: Path,
    reason: NDArray[np.int16],
    values: Scores,
    filters: list[Filter],
) -> None:
    rows = np.flatnonzero(reason >= 0).tolist()
    with open(files[0], "rb") as sources, open(files[1], "rb") as targets, open(out, "wb") as file:
        pairs = compress(zip(sources, targets, strict=True), (reason >= 0).tobytes())
        why = zip(rows, reason[rows].tolist(), values[rows].tolist(), strict=True)
        for (row, place, value), (source, target) in zip(why, pairs, strict=True):
            head = f"{row + 1}\t{filters[place].name}\t{value:g}".encode()
            columns = (line.rstrip(b"\n").replace(b"\t", b" ") for line in (source, target))
            file.write(b"\t".join([head, *columns]) + b"\n")


def _blocks(source: Path, target: Path, files: list[Path]) -> Iterator[_Block]:
    number = 1
    tables = [(file, read_lines(file)) for file in files]
    for sources, targets in read_bitext_blocks(source, target):
        columns = []
        for file, rows in tables:
            columns.append([row.split("\t") for row in islice(rows, len(sources))])
            if len(columns[-1]) < len(sources):
                raise RecipeError(f"{file} has fewer lines than {source}; it needs one for each")
        yield number, sources, targets, columns
        number += len(sources)
    extra = next(chain.from_iterable(rows for _, rows in tables), None)
    if extra is not None:
        raise RecipeError(f"{files} hold more lines than {source}, beginning with {extra!r}")


if __name__ == "__main__":
    command(clean)
