"""What the counts of a text mean: what is wrong, how bad it is, and what to do about it."""

from collections.abc import Iterator
from typing import Any

from pipeline.languages import find
from preprocess.features import SCRIPTS, script_columns
from preprocess.filters import identifiable

# An error says that training on the text would be a waste of time.
ERROR, WARNING, NOTE = "error", "warning", "note"
_ORDER = (ERROR, WARNING, NOTE)

Finding = tuple[str, str]


def error(text: str) -> Finding:
    """A reason not to train."""
    return ERROR, text


def warning(text: str) -> Finding:
    """A reason to look closer."""
    return WARNING, text


def note(text: str) -> Finding:
    """Something to know."""
    return NOTE, text


def findings(report: dict[str, Any]) -> list[dict[str, str]]:
    """Severity and one sentence for each thing worth knowing, the worst first."""
    found: list[Finding] = []
    for name, entry in report["sets"].items():
        found += _of_the_files(name, entry)
        for code, side in entry["sides"].items():
            found += _of_a_side(f"{name}.{code}", code, side, report["languages"])
        if "pairs" in entry:
            found += _of_the_pairs(name, entry)
        found += _of_the_overlap(name, entry)
    found.sort(key=lambda item: _ORDER.index(item[0]))
    return [{"severity": severity, "text": text} for severity, text in found]


def _share(count: int, of: int) -> str:
    return f"{count:,} of {of:,} ({100 * count / max(1, of):.1f} %)"


def _of_the_files(name: str, entry: dict[str, Any]) -> Iterator[Finding]:
    if not entry["lines"]:
        yield error(f"{name}: there is no line in it; look at the file and at how it was fetched")
    if entry["mended"]:
        listed = ", ".join(f"{count:,} {what}" for what, count in sorted(entry["mended"].items()))
        yield note(
            f"{name}: {listed} inside lines; all stages here read separators as a space and drop "
            "NUL and BOM, but other tools may break or cut these lines"
        )
    for file, packed in zip(entry["files"], entry["compression"], strict=True):
        if packed["by_content"] != packed["by_name"]:
            yield note(
                f"{file} is {packed['by_content'] or 'not compressed'} though its name says "
                f"{packed['by_name'] or 'plain text'}; it is read as what it is, but rename it"
            )


def _of_a_side(where: str, code: str, side: dict[str, Any], codes: list[str]) -> Iterator[Finding]:
    lines = side["lines"]
    language = find(code)
    own = sum(side["scripts"].get(SCRIPTS[column], 0) for column in script_columns(language.script))
    if side["scripts"] and own < 0.5:
        main = next(iter(side["scripts"]))
        yield error(
            f"{where}: only {100 * own:.0f} % of the letters are {language.script}, as "
            f"{language.name} is written; are the files swapped? If it is written in another "
            f"script, say so in its code, as {language.iso3}_{main}"
        )
    elif side["scripts"] and own < 0.95:
        yield warning(
            f"{where}: {100 * (1 - own):.0f} % of the letters are not {language.script}; the "
            "filter script drops lines of another script"
        )
    if len(script_columns(language.script)) == 1 and side["mixed_scripts"] > 0.01 * lines:
        yield note(
            f"{where}: {_share(side['mixed_scripts'], lines)} lines mix scripts, as `Нови Sad`; "
            "if these are not names or terms, the filter `scripts: {max: 1}` drops them"
        )
    yield from _of_its_language(where, code, side["identified"], codes)
    if side["mojibake"] > 0.0005 * lines:
        yield warning(
            f"{where}: {_share(side['mojibake'], lines)} lines look as if UTF-8 had been read as "
            "Windows-1252 (`Ã©`); convert the file again from its source, or use ftfy"
        )
    if side["replaced"]:
        yield warning(
            f"{where}: {side['replaced']:,} lines hold U+FFFD, where a character was lost in an "
            "earlier conversion; fetch the text anew"
        )
    if side["composed"] and side["decomposed"]:
        yield warning(
            f"{where}: accents are written in two ways, composed in {side['composed']:,} lines "
            f"and decomposed in {side['decomposed']:,}, and look the same; preprocess.clean "
            "makes them one (nfc), but references must have that form too"
        )
    elif side["decomposed"]:
        yield note(
            f"{where}: {side['decomposed']:,} lines hold decomposed accents (NFD); "
            "preprocess.clean composes them, and then references must be composed too"
        )
    if side["entities"] > 0.001 * lines:
        yield note(
            f"{where}: {_share(side['entities'], lines)} lines hold entities such as &amp;; they "
            "are kept as text; if they come from HTML, unescape them before"
        )
    if side["reserved"]:
        yield note(
            f"{where}: {side['reserved']:,} lines hold text such as <unk>, @@ or ▁, which is "
            "kept as text and never acts as a control symbol"
        )
    long = side["lengths"][-1]
    if long > 0.001 * lines:
        yield note(
            f"{where}: {_share(long, lines)} lines have a hundred words or more; the filter "
            "words drops what a model would have to cut"
        )


def _of_its_language(
    where: str, code: str, identified: dict[str, Any], codes: list[str]
) -> Iterator[Finding]:
    if not identified["lines"]:
        return
    if not identifiable(code):
        yield note(f"{where}: py3langid does not know {find(code).name}; its language is unchecked")
        return
    seen = identified["languages"]
    own = seen.get(find(code).moses, {"share": 0.0})["share"]
    top = next(iter(seen))
    others = [find(other).moses for other in codes if find(other).moses != find(code).moses]
    if own < 0.5 and top in others and seen[top]["share"] > 0.5:
        yield error(
            f"{where}: {100 * seen[top]['share']:.0f} % of {identified['lines']:,} lines are in "
            f"the language of the other side ({top}); are the files swapped?"
        )
    elif own < 0.8:
        yield warning(
            f"{where}: of {identified['lines']:,} lines py3langid takes {100 * own:.0f} % for "
            f"{find(code).name} and {100 * seen[top]['share']:.0f} % for {top}; look at some, "
            "for it confuses close relatives and short lines, and use the filter language if it "
            "is right"
        )


def _of_the_pairs(name: str, entry: dict[str, Any]) -> Iterator[Finding]:
    pairs, lines = entry["pairs"], entry["lines"]
    for shift in entry["shifts"]:
        side, other = ("target", "source") if shift["offset"] > 0 else ("source", "target")
        end = "the end" if shift["last"] + abs(shift["offset"]) >= lines else f"{shift['last']:,}"
        yield error(
            f"{name}: from about line {shift['first']:,} to {end} the sides are shifted: source "
            f"line n goes with target line n{shift['offset']:+d}; just before it the {side} has "
            f"{abs(shift['offset'])} too many, or the {other} too few"
        )
    if not entry["shifts"] and entry["unrelated"] > 0.5:
        yield error(
            f"{name}: in {100 * entry['unrelated']:.0f} % of the stretches the two sides agree "
            "in length, numbers and punctuation no better than by chance; are these "
            "translations?"
        )
    elif not entry["shifts"] and entry["unrelated"] > 0.02:
        yield warning(
            f"{name}: {100 * entry['unrelated']:.0f} % of the stretches agree no better than by "
            "chance; the plot shows where"
        )
    if pairs["one_side_empty"] > 0.05 * lines:
        yield error(
            f"{name}: {_share(pairs['one_side_empty'], lines)} pairs have one empty side; the "
            "sides may be shifted: look at the first of them"
        )
    if pairs["ratio_is_off"] > 0.1 * max(1, pairs["ratio_known"]):
        yield error(
            f"{name}: {_share(pairs['ratio_is_off'], pairs['ratio_known'])} pairs are three "
            "times longer or shorter than usual; the sides may be shifted, or are not "
            "translations"
        )
    if pairs["copies"] > 0.01 * lines:
        yield warning(
            f"{name}: {_share(pairs['copies'], lines)} pairs are the same on both sides and "
            "teach to copy; the filter copy drops them from train"
        )
    if name not in ("dev", "test") and pairs["repeated"] > 0.01 * lines:
        yield note(
            f"{name}: {_share(pairs['repeated'], lines)} pairs stand there more than once; the "
            "filter repeated_pair keeps the first"
        )
    if pairs["numbers_differ"] > 0.1 * lines:
        yield warning(
            f"{name}: in {_share(pairs['numbers_differ'], lines)} pairs the numbers differ; the "
            "filter digits drops them, if the languages write numbers alike"
        )


def _of_the_overlap(name: str, entry: dict[str, Any]) -> Iterator[Finding]:
    for code, found in entry.get("in_train", {}).items():
        if found["nearly"]:
            yield warning(
                f"{name}.{code}: {_share(found['nearly'], entry['lines'])} lines also stand in train "
                f"({found['exact']:,} exactly, the rest but for case, spaces and punctuation); "
                "preprocess.clean drops them from train"
            )
    for code, share in entry.get("unknown_words", {}).items():
        if share > 0.2:
            yield note(
                f"{name}.{code}: {100 * share:.0f} % of the words never occur in train; expect "
                "little, or add text of the same kind"
            )
