"""Look at a bitext before training on it: what is in it, and is it safe?"""

import re
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.command import command
from pipeline.manifest import note, write_json
from preprocess.bitext import SETS, languages, read_set
from preprocess.features import squash

_RESERVED = re.compile(r"</?s>|<pad>|<unk>|@@(?: |$)|▁")
_DIGITS = re.compile(r"\d+")


def describe(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Counts over the pairs of one set: sizes, lengths in words, and what looks wrong."""
    words = [(len(source.split()), len(target.split())) for source, target in pairs]
    ratios = [target / source for source, target in words if source and target]
    return {
        "pairs": len(pairs),
        "source_words": sum(source for source, _ in words),
        "target_words": sum(target for _, target in words),
        "longest_source_words": max((source for source, _ in words), default=0),
        "longest_target_words": max((target for _, target in words), default=0),
        "median_length_ratio": round(statistics.median(ratios), 3) if ratios else None,
        "one_side_empty": sum((not s.strip()) != (not t.strip()) for s, t in pairs),
        "both_sides_empty": sum(not s.strip() and not t.strip() for s, t in pairs),
        "source_equals_target": sum(s == t and bool(s.strip()) for s, t in pairs),
        "repeated_pairs": len(pairs) - len(set(pairs)),
        "ratio_over_3": sum(not 1 / 3 <= ratio <= 3 for ratio in ratios),
        "digits_differ": sum(_digits(s) != _digits(t) for s, t in pairs),
        "reserved_tokens": sum(bool(_RESERVED.search(s + "\n" + t)) for s, t in pairs),
    }


def _digits(line: str) -> list[str]:
    return sorted(_DIGITS.findall(line))


def overlap(pairs: list[tuple[str, str]], held_out: list[tuple[str, str]]) -> dict[str, int]:
    """How many pairs share a side with a held-out set, letter case and punctuation aside."""
    held = [{squash([pair[side]])[0] for pair in held_out} for side in (0, 1)]
    return {
        "source": sum(squash([source])[0] in held[0] for source, _ in pairs),
        "target": sum(squash([target])[0] in held[1] for _, target in pairs),
    }


def findings(report: dict[str, Any]) -> list[tuple[str, str]]:
    """(severity, sentence) for each thing worth knowing; `error` means unsafe to train on."""
    found: list[tuple[str, str]] = []
    for name, counts in report["sets"].items():
        pairs = max(1, counts["pairs"])
        if counts["one_side_empty"] > 0.05 * pairs:
            found.append(
                ("error", f"{name}: {counts['one_side_empty']:,} pairs have one empty side; "
                 "the sides may be shifted: look at the first of them")
            )  # fmt: skip
        if counts["ratio_over_3"] > 0.1 * pairs:
            found.append(
                ("error", f"{name}: {counts['ratio_over_3']:,} pairs differ in length by a factor "
                 "over 3; the sides may be shifted, or are not translations")
            )  # fmt: skip
        if counts["reserved_tokens"]:
            found.append(
                ("note", f"{name}: {counts['reserved_tokens']:,} pairs hold text such as <unk> "
                 "or @@, which is kept as text")
            )  # fmt: skip
    for name, counts in report["train_overlap"].items():
        if any(counts.values()):
            found.append(
                ("warning", f"train: {counts['source']:,} sources and {counts['target']:,} "
                 f"targets also stand in {name}; preprocess.clean drops them from train")
            )  # fmt: skip
    for language, changes in report["characters_mended"].items():
        if changes:
            listed = ", ".join(f"{count:,} {name}" for name, count in changes.items())
            found.append(("note", f"{language}: characters mended while reading: {listed}"))
    return found


def inspect(bitext: Path, out: Path) -> None:
    """Report on the train, dev and test sets of a directory that preprocess.fetch made.

    Prints a table and findings, and writes report.json. Exits with 1 if a finding says that the
    text is not safe to train on.

    Example: python -m preprocess.inspect --bitext exp/fetch --out exp/inspect

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for report.json.

    """
    src, tgt = languages(bitext)
    changes = Counter[str]()
    sets = {name: list(read_set(bitext, name, src, tgt, changes)) for name in SETS}
    report: dict[str, Any] = {
        "source_language": src,
        "target_language": tgt,
        "characters_mended": {f"{src}-{tgt}": changes},
        "sets": {name: describe(pairs) for name, pairs in sets.items()},
        "train_overlap": {name: overlap(sets["train"], sets[name]) for name in ("dev", "test")},
    }
    found = findings(report)
    report["findings"] = [{"severity": severity, "text": text} for severity, text in found]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", report)
    note(out, findings=report["findings"])

    print(f"{'':<22}" + "".join(f"{name:>12}" for name in SETS))
    for key in report["sets"]["train"]:
        values = [report["sets"][name][key] for name in SETS]
        print(f"{key.replace('_', ' '):<22}" + "".join(f"{value:>12,}" for value in values))
    for severity, text in found:
        print(f"{severity}: {text}")
    if any(severity == "error" for severity, _ in found):
        sys.exit(1)


if __name__ == "__main__":
    command(inspect)
