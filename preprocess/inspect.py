"""Look at text before training on it: what is in it, and is it safe?"""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import compression, read_lines
from pipeline.manifest import note, write_json
from pipeline.parallel import parallel_map
from preprocess.bitext import SETS, languages
from preprocess.features import SCRIPTS
from preprocess.filters import identifier
from preprocess.findings import ERROR, findings
from preprocess.measure import STEPS, Measures, SideMeasures, measure
from preprocess.page import page
from preprocess.shifts import Agreement, agreement

# Shorter lines say too little about their language.
_SHORTEST_TO_IDENTIFY = 25
_POINTS = 400


def inspect(
    out: Path,
    bitext: Path | None = None,
    source: Path | None = None,
    target: Path | None = None,
    src: str | None = None,
    tgt: str | None = None,
    identify: int = 1000,
    workers: int | None = None,
) -> None:
    """Report on the sets of a bitext, on two parallel files, or on one file.

    Prints a table and findings, each with what to do about it; writes report.json and report.html,
    one page with plots. Exits with 1 if a finding says that the text is not safe to train on.

    Example: python -m preprocess.inspect --bitext exp/fetch --out exp/inspect
    python -m preprocess.inspect --source mono.de.gz --src de --out /tmp/look

    Args:
        out: directory for report.json and report.html.
        bitext: directory of preprocess.fetch, with train.SRC, train.TGT, dev.SRC …
        source: a file to look at instead.
        target: the file that is parallel to it.
        src: language of `source`.
        tgt: language of `target`.
        identify: how many lines of each side to identify the language of.
        workers: processes; one per core unless given. The result is the same.

    """
    sets, codes = _files(bitext, source, target, src, tgt)
    measured, described = {}, {}
    for name, files in sets.items():
        changes = Counter[str]()
        measured[name] = measure(files, changes, workers)
        described[name] = {
            "files": [file.name for file in files],  # the same wherever they lie
            "mended": dict(changes),
            "compression": [compression(file) for file in files],
            **describe(measured[name], codes),
        }
        for side, code in zip(measured[name].sides, codes, strict=True):
            described[name]["sides"][code]["identified"] = _identified(
                side.sample, code, identify, workers
            )
    if "train" in measured:
        for name in sets.keys() - {"train"}:
            described[name] |= overlap(measured["train"], measured[name], codes)
    for name, entry in described.items():
        for shift in entry.get("shifts", []):
            shift["examples"] = _examples(sets[name], shift["first"], shift["offset"])
    report: dict[str, Any] = {"languages": codes, "sets": described}
    report["findings"] = findings(report)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", report)
    (out / "report.html").write_text(page(report), encoding="utf-8")
    note(out, findings=report["findings"])
    print(table(report))
    for finding in report["findings"]:
        print(f"{finding['severity']}: {finding['text']}\n    {finding['advice']}")
    unsafe = any(finding["severity"] == ERROR for finding in report["findings"])
    # A stage that succeeds is renamed; one that fails stays where it is.
    place = out if unsafe else out.with_name(out.name.removesuffix(".partial"))
    print(f"plots: {place / 'report.html'}")
    if unsafe:
        sys.exit(1)


def _files(
    bitext: Path | None, source: Path | None, target: Path | None, src: str | None, tgt: str | None
) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each set, and the languages of their sides."""
    if bitext and not source:
        codes = list(languages(bitext))
        return {name: [bitext / f"{name}.{code}" for code in codes] for name in SETS}, codes
    if not source or bitext or not src or bool(target) != bool(tgt):
        raise RecipeError(
            "give --bitext DIR, or --source FILE --src CODE, or those with --target FILE --tgt CODE"
        )
    named = [src, tgt] if tgt else [src]
    if len({find(code) for code in named}) < len(named):
        raise RecipeError(f"both sides are {find(src).name}; look at them one by one")
    return {"text": [file for file in (source, target) if file]}, named


def describe(measures: Measures, codes: Sequence[str]) -> dict[str, Any]:
    """What was measured in one set, as it stands in report.json."""
    result: dict[str, Any] = {
        "lines": measures.lines,
        "counts": measures.counts,
        "sides": {
            code: _describe_side(side)
            for side, code in zip(measures.sides, codes, strict=True)
        },
    }  # fmt: skip
    if len(measures.sides) == 1:
        return result
    agreed = agreement(*(signs(side) for side in measures.sides))
    hashes = [side.row("hash") for side in measures.sides]
    sources, pairs = distinct_pairs(*hashes)
    result["pairs"] = {
        **{name: int(count) for name, count in measures.sums.items()},
        "repeated": measures.lines - pairs,
        "sources_with_several_targets": int((sources > 1).sum()),
        **_ratio(measures.ratios),
        "ratios": measures.ratios.tolist(),
    }
    result["shifts"] = [vars(shift).copy() for shift in agreed.shifts]
    result["agreement"] = _thinned(agreed)
    result["unrelated"] = round(agreed.unrelated, 4)
    return result


def _describe_side(side: SideMeasures) -> dict[str, Any]:
    hashes = side.row("hash")
    words = side.vocabulary()[0]
    letters = max(1, int(side.scripts.sum()))
    return {
        **{name: int(count) for name, count in sorted(side.sums.items())},
        "longest_words": side.longest,
        "distinct_words": len(words),
        "repeated": len(hashes) - len(np.unique(hashes)),
        "scripts": {
            SCRIPTS[number]: round(int(side.scripts[number]) / letters, 5)
            for number in np.argsort(-side.scripts, kind="stable")
            if side.scripts[number]
        },
        "lengths": side.lengths.tolist(),
    }


def signs(side: SideMeasures) -> NDArray[np.float32]:
    """The signs of a shift, as (signs, lines); see preprocess.shifts."""
    return np.stack([side.row(name).astype(np.float32) for name in ("length", "numbers", "last")])


def distinct_pairs(
    sources: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """How many distinct targets each distinct source has, and how many distinct pairs there are."""
    order = np.lexsort((targets, sources))
    sources, targets = sources[order], targets[order]
    new_source = np.diff(sources, prepend=sources[:1] - 1) != 0
    new_pair = new_source | (np.diff(targets, prepend=targets[:1] - 1) != 0)
    starts = np.flatnonzero(new_source)
    counts = np.add.reduceat(new_pair, starts, dtype=np.int64) if len(starts) else starts
    return counts, int(new_pair.sum())


def _ratio(histogram: NDArray[np.int64]) -> dict[str, Any]:
    """Median of target over source characters, and pairs that are three times off it."""
    total = int(histogram.sum())
    if not total:
        return {"median_ratio": None, "ratio_is_off": 0, "ratio_known": 0}
    middle = int(np.searchsorted(np.cumsum(histogram), (total + 1) // 2))
    width = round(STEPS * float(np.log2(3)))
    usual = int(histogram[max(0, middle - width) : middle + width + 1].sum())
    ratio = round(float(2 ** ((middle - 4 * STEPS) / STEPS)), 2)
    return {"median_ratio": ratio, "ratio_is_off": total - usual, "ratio_known": total}


def _thinned(agreed: Agreement) -> dict[str, Any]:
    """The scores of at most some hundred stretches: of each the worst window."""
    size = max(1, -(-len(agreed.scores) // _POINTS))
    starts = np.arange(0, len(agreed.scores), size)
    lowest = np.minimum.reduceat(agreed.scores, starts) if len(starts) else agreed.scores
    return {"lines": size * agreed.window, "scores": [round(float(x), 2) for x in lowest]}


def overlap(train: Measures, other: Measures, codes: Sequence[str]) -> dict[str, Any]:
    """What of a held-out set stands in train, and which of its words do not."""
    result: dict[str, Any] = {"in_train": {}, "unknown_words": {}}
    for known, held, code in zip(train.sides, other.sides, codes, strict=True):
        result["in_train"][code] = {
            "exact": int(np.isin(held.row("hash"), known.row("hash")).sum()),
            "nearly": int(np.isin(held.row("squashed"), known.row("squashed")).sum()),
        }
        words, counts = held.vocabulary()
        unknown = ~np.isin(words, known.vocabulary()[0])
        total = max(1, int(counts.sum()))
        result["unknown_words"][code] = round(int(counts[unknown].sum()) / total, 4)
    return result


def _identified(sample: list[str], code: str, most: int, workers: int | None) -> dict[str, Any]:
    """Languages that py3langid sees in a sample, by share of lines, with its mean certainty."""
    shortest = _SHORTEST_TO_IDENTIFY // (1 if find(code).has_spaces else 2)
    long = [line for line in sample if len(line) >= shortest]
    chosen = long[:: max(1, len(long) // most)][:most] if most else []
    blocks = [chosen[at : at + 50] for at in range(0, len(chosen), 50)]
    votes, certainty = Counter[str](), defaultdict[str, float](float)
    for found in parallel_map(_guess, blocks, workers):
        for code, probability in found:
            votes[code] += 1
            certainty[code] += probability
    return {
        "lines": len(chosen),
        "languages": {
            code: {"share": round(count / len(chosen), 4),
                   "certainty": round(certainty[code] / count, 3)}
            for code, count in votes.most_common(5)
        },
    }  # fmt: skip


def _guess(lines: list[str]) -> list[tuple[str, float]]:
    return [max(identifier(line).items(), key=lambda item: item[1]) for line in lines]


def _examples(files: list[Path], first: int, offset: int) -> list[list[Any]]:
    """Three pairs as they stand where a shift begins: line, source, target, and the better one."""
    start = max(1, first - 1)
    sources = list(islice(read_lines(files[0]), start - 1, start + 2))
    begin = max(0, start - 1 + min(0, offset))
    targets = list(islice(read_lines(files[1]), begin, start + 2 + max(0, offset)))
    rows = []
    for place, text in enumerate(sources):
        here = start - 1 + place - begin
        better = here + offset
        rows.append(
            [
                start + place,
                text,
                targets[here] if here < len(targets) else "",
                targets[better] if 0 <= better < len(targets) else "",
            ]
        )
    return rows


_ROWS = (
    "words", "distinct_words", "longest_words", "empty", "repeated", "reserved", "mojibake",
    "replaced", "entities", "mixed_scripts", "decomposed",
)  # fmt: skip
_PAIR_ROWS = (
    "one_side_empty", "both_sides_empty", "copies", "repeated", "sources_with_several_targets",
    "numbers_differ", "ratio_is_off", "median_ratio",
)  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """The counts of a report, aligned, for a terminal."""
    rows = [["", *(f"{name} {code}" for name in report["sets"] for code in report["languages"])]]
    columns = [side for entry in report["sets"].values() for side in entry["sides"].values()]
    for key in ("lines", *_ROWS):
        rows.append([key.replace("_", " "), *(f"{side[key]:,}" for side in columns)])
    rows.append(
        ["language", *(_top_language(side["identified"]) for side in columns)]
    )  # fmt: skip
    text = _aligned(rows)
    entries = report["sets"].values()
    if all("pairs" in entry for entry in entries):
        rows = [["pairs", *report["sets"]]]
        for key in _PAIR_ROWS:
            values = [entry["pairs"][key] for entry in entries]
            rows.append([key.replace("_", " "), *("-" if v is None else f"{v:,}" for v in values)])
        text += "\n" + _aligned(rows)
    return text


def _top_language(identified: dict[str, Any]) -> str:
    for code, seen in identified["languages"].items():
        return f"{code} {100 * seen['share']:.0f} %"
    return "-"


def _aligned(rows: list[list[str]]) -> str:
    first = max(len(row[0]) for row in rows)
    width = max(len(cell) for row in rows for cell in row[1:]) + 2
    return "".join(
        row[0].ljust(first) + "".join(cell.rjust(width) for cell in row[1:]) + "\n" for row in rows
    )


if __name__ == "__main__":
    command(inspect)
