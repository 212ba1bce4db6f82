"""What the counts of a text mean: what is wrong, how bad it is, and what to do about it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.languages import find
from preprocess.features import SCRIPTS, script_columns
from preprocess.filters import identifiable, told_as

# An error says that training on the text would be a waste of time.
ERROR, WARNING, NOTE = "error", "warning", "note"
_ORDER = (ERROR, WARNING, NOTE)


class Finding(NamedTuple):
    """One thing that is wrong in one place; `what` and `advice` are the same for all places."""

    severity: str
    what: str
    where: str
    advice: str


# Count of a side, share of its lines from which it matters, severity, what it is, what to do.
_OF_A_SIDE = (
    ("mojibake", 0.0005, WARNING, "lines look like UTF-8 that was read as Windows-1252 (`Ã©`)",
     "convert the file again from its source, or mend it with ftfy"),
    ("replaced", 0, WARNING, "lines hold U+FFFD, where an earlier conversion lost a character",
     "fetch the text anew"),
    ("entities", 0.001, NOTE, "lines hold entities such as &amp;",
     "they are kept as text; if they come from HTML or a tokeniser, unescape them before"),
    ("reserved", 0.05, WARNING, "many lines hold @@, ▁, <s> or the like",
     "is this text cut into subwords already? Give the text itself"),
    ("reserved", 0, NOTE, "lines hold @@, ▁, <s> or the like",
     "they are kept as text and never act as a control symbol"),
)  # fmt: skip

# The same for the pairs of a set.
_OF_THE_PAIRS = (
    ("one_side_empty", 0.05, ERROR, "pairs have one empty side",
     "the sides may be shifted: look at the first of them"),
    ("both_sides_empty", 0.5, ERROR, "pairs are blank", "look at the files"),
    ("both_sides_empty", 0.01, NOTE, "pairs are blank", "preprocess.clean drops them"),
    ("copies", 0.01, WARNING, "pairs are the same on both sides",
     "they teach to copy; the filter copy drops them from train"),
    ("numbers_differ", 0.1, WARNING, "pairs hold different numbers",
     "the filter digits drops them, if both languages write numbers alike"),
    ("repeated", 0.01, NOTE, "pairs stand there more than once",
     "the filter repeated_pair keeps the first in train"),
    ("sources_with_several_targets", 0.05, NOTE, "sources have several targets",
     "the filter repeated_source keeps the first"),
)  # fmt: skip


def findings(report: dict[str, Any]) -> list[dict[str, str]]:
    """Severity, text and advice for each thing worth knowing, the worst first."""
    found: list[Finding] = []
    for name, entry in report["sets"].items():
        found += _of_the_files(name, entry)
        for code, side in entry["sides"].items():
            found += _of_a_side(f"{name}.{code}", code, side)
            found += _of_its_language(f"{name}.{code}", code, side["identified"], report)
        if "pairs" in entry:
            found += _of_the_pairs(name, entry)
        found += _of_the_overlap(name, entry)
    places: dict[tuple[str, str, str], list[str]] = {}
    for severity, what, where, advice in sorted(found, key=lambda f: _ORDER.index(f.severity)):
        places.setdefault((severity, what, advice), []).append(where)
    return [
        {"severity": severity, "text": f"{what}: {'; '.join(listed)}", "advice": advice}
        for (severity, what, advice), listed in places.items()
    ]


def _counted(
    table: tuple[tuple[str, float, str, str, str], ...], where: str, counts: dict[str, Any], of: int
) -> Iterator[Finding]:
    said = set()
    for key, share, severity, what, advice in table:
        if counts[key] > share * of and key not in said:
            said.add(key)
            yield Finding(severity, what, f"{where} {_share(counts[key], of)}", advice)


def _share(count: int, of: int) -> str:
    return f"{count:,} ({100 * count / max(1, of):.1f} %)"


def _of_the_files(name: str, entry: dict[str, Any]) -> Iterator[Finding]:
    if not entry["lines"]:
        yield Finding(ERROR, "no line in it", name, "look at the file and at how it was made")
    if len(set(entry["counts"])) > 1:
        listed = " and ".join(f"{count:,}" for count in entry["counts"])
        yield Finding(
            ERROR, "the sides have different numbers of lines", f"{name} {listed}",
            "what follows is about the lines that stand beside each other; a shift says where they "
            "part, and without one it is at the end",
        )  # fmt: skip
    if entry["mended"]:
        listed = ", ".join(f"{count:,} {what}" for what, count in sorted(entry["mended"].items()))
        yield Finding(
            NOTE, "separators, NUL or BOM inside lines", f"{name} {listed}",
            "all stages here read separators as a space and drop NUL and BOM; other tools may "
            "break or cut these lines",
        )  # fmt: skip
    for file, packed in zip(entry["files"], entry["compression"], strict=True):
        if packed["by_content"] != packed["by_name"]:
            yield Finding(
                NOTE, "a name that hides how the file is compressed",
                f"{file} is {packed['by_content'] or 'plain text'}",
                "it is read as what it is, but rename it",
            )  # fmt: skip


def _of_a_side(where: str, code: str, side: dict[str, Any]) -> Iterator[Finding]:
    lines, language = side["lines"], find(code)
    yield from _counted(_OF_A_SIDE, where, side, lines)
    columns = script_columns(language.script)
    own_names = {SCRIPTS[column] for column in columns}
    own = sum(share for name, share in side["scripts"].items() if name in own_names)
    if columns and side["scripts"] and own < 0.95:
        main = next(name for name in side["scripts"] if name not in own_names)
        yield Finding(
            ERROR if own < 0.5 else WARNING, "letters of another script than the language's",
            f"{where} {100 * (1 - own):.0f} % not {language.script}, most {main}",
            "are the files swapped? Say how the language is written in its code, as in "
            "srp_Latn, or drop other lines with the filter script",
        )  # fmt: skip
    if len(columns) == 1 and side["mixed_scripts"] > 0.01 * lines:
        yield Finding(
            NOTE, "lines mix scripts, as `Нови Sad`",
            f"{where} {_share(side['mixed_scripts'], lines)}",
            "if these are not names or terms, the filter `scripts: {max: 1}` drops them",
        )  # fmt: skip
    if side["decomposed"]:
        yield Finding(
            WARNING if side["decomposed"] > 0.01 * lines else NOTE,
            "accents written as characters of their own (NFD) in some lines and composed in others"
            if side["composed"] else "accents written as characters of their own (NFD)",
            f"{where} {side['decomposed']:,} against {side['composed']:,}",
            "the same visible text is different to a model and to BLEU; preprocess.clean composes "
            "train and dev (nfc), so references must be composed too",
        )  # fmt: skip
    if side["lengths"][-1] > 0.001 * lines:
        yield Finding(
            NOTE, "lines of a hundred words or more",
            f"{where} {_share(side['lengths'][-1], lines)}, longest {side['longest_words']:,}",
            "the filter words drops what a model would have to cut",
        )  # fmt: skip


def _of_its_language(
    where: str, code: str, identified: dict[str, Any], report: dict[str, Any]
) -> Iterator[Finding]:
    if not identified["lines"]:
        return
    if not identifiable(code):
        yield Finding(
            NOTE, "languages that py3langid does not know", f"{where} {find(code).name}",
            "check by eye that it is this language",
        )  # fmt: skip
        return
    seen = identified["languages"]
    own = seen.get(told_as(code), {"share": 0.0})["share"]
    top = next(iter(seen))
    others = {told_as(other) for other in report["languages"]} - {told_as(code)}
    # A few lines, or short ones, are too little to stop for.
    if own < 0.5 and top in others and seen[top]["share"] > 0.5 and identified["lines"] >= 50:
        yield Finding(
            ERROR, "in the language of the other side",
            f"{where} {100 * seen[top]['share']:.0f} % {top}", "are the files swapped?",
        )  # fmt: skip
    elif own < 0.8:
        yield Finding(
            WARNING, "taken for another language by py3langid",
            f"{where} {100 * own:.0f} % {find(code).name}, {100 * seen[top]['share']:.0f} % {top}",
            "it confuses close relatives and short lines; look at some, and if it is right, use "
            "the filter language",
        )  # fmt: skip


def _of_the_pairs(name: str, entry: dict[str, Any]) -> Iterator[Finding]:
    pairs, lines = entry["pairs"], entry["lines"]
    for shift in entry["shifts"]:
        more, fewer = ("target", "source") if shift["offset"] > 0 else ("source", "target")
        yield Finding(
            ERROR, "the sides are shifted",
            f"{name} from about line {shift['first']:,} to {shift['last']:,}, where source line n "
            f"goes with target line n{shift['offset']:+d}",
            f"just before, the {more} has lines too many, or the {fewer} too few: mend it there, "
            "or leave the stretch out",
        )  # fmt: skip
    if not entry["shifts"] and entry["unrelated"] > 0.02:
        yield Finding(
            ERROR if entry["unrelated"] > 0.5 else WARNING,
            "stretches in which length, numbers and punctuation agree no better than by chance",
            f"{name} {100 * entry['unrelated']:.0f} %",
            "are these translations? The plot shows where they are not",
        )  # fmt: skip
    off, known = pairs["ratio_is_off"], pairs["ratio_known"]
    if off > 0.1 * known:
        yield Finding(
            ERROR, "pairs three times longer or shorter than usual", f"{name} {_share(off, known)}",
            "the sides may be shifted, or are not translations",
        )  # fmt: skip
    yield from _counted(_OF_THE_PAIRS, name, pairs, lines)


def _of_the_overlap(name: str, entry: dict[str, Any]) -> Iterator[Finding]:
    for code, found in entry.get("in_train", {}).items():
        if found["nearly"]:
            yield Finding(
                WARNING, "lines that also stand in train, case, spaces and punctuation aside",
                f"{name}.{code} {_share(found['nearly'], entry['lines'])}, "
                f"{found['exact']:,} of them exactly",
                "preprocess.clean drops them from train",
            )  # fmt: skip
    for code, share in entry.get("unknown_words", {}).items():
        if share > 0.2 and find(code).has_spaces:
            yield Finding(
                NOTE, "words that never occur in train", f"{name}.{code} {100 * share:.0f} %",
                "expect little, or add text of the same kind",
            )  # fmt: skip
