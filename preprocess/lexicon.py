"""Word pairs from a dictionary of FreeDict's, in the format of dictd, which Debian packages.

An article is the headword, its pronunciation and its grammar on a line, and its translations on
those below, with remarks in brackets of all kinds.
"""

import gzip
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import file_record, note
from preprocess.debian import download, files

LEXICON = "lexicon.tsv"
_PACKAGE = re.compile(r"freedict-[a-z]{3}-[a-z]{3}")
# Of the two numbers in the index, most significant digit first.
_DIGITS = {digit: value for value, digit in enumerate(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}  # fmt: skip
_REMARK = re.compile(r"<[^>]*>|\([^)]*\)|\[[^\]]*\]|/[^/]*/|^\s*\d+\.")
_WORD = re.compile(r"[^\W\d_]+(?:['’·-][^\W\d_]+)*")


def lexicon(dictionary: str, out: Path, lowercase: bool = True) -> None:
    """Write the word pairs of a bilingual dictionary, for train.mapping.

    Pairs of single words; what takes several on either side is left out. Writes lexicon.tsv, a
    source word, a tab and a target word a line, in the order of the dictionary, each pair once.

    Example: python -m preprocess.lexicon --dictionary freedict-spa-por --out exp/lexicon

    Args:
        dictionary: a package of Debian's without its dict-, as freedict-spa-por, which is
            downloaded; or a file …/freedict-spa-por.dict.dz with its .index beside it.
        out: directory for lexicon.tsv.
        lowercase: write words in lower case, as vectors' words often are.

    """
    facts: dict[str, str] = {}
    if _PACKAGE.fullmatch(dictionary):
        found, facts["package"] = _of_package(dictionary)
    else:
        found = _of_file(Path(dictionary))
    pairs = dict.fromkeys(
        (word.lower(), translation.lower()) if lowercase else (word, translation)
        for article in found
        for word, translation in word_pairs(article)
    )
    if not pairs:
        raise RecipeError(f"{dictionary} has no pairs of single words; give another dictionary")
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / LEXICON, ("\t".join(pair) for pair in pairs))
    words = len({word for word, _ in pairs})
    note(out, dictionary=dictionary, pairs=len(pairs), words=words, **facts)
    print(f"{len(pairs):,} pairs, {words:,} source words")


def word_pairs(article: str) -> Iterator[tuple[str, str]]:
    """Pairs of single words of an article: its headword and each of its translations."""
    first, *others = article.split("\n")
    headword = _REMARK.sub("", first).strip()
    if not _WORD.fullmatch(headword):
        return
    for line in others:
        if "{" in line:  # see also, synonyms
            continue
        for translation in re.split("[,;]", _REMARK.sub("", line)):
            if _WORD.fullmatch(translation.strip()):
                yield headword, translation.strip()


def articles(text: bytes, index: list[str], name: str) -> Iterator[str]:
    """Each article once, in the order of the text.

    A line of the index is a headword, and place and length of its article in digits of base 64,
    with tabs between them; headwords that begin with 00- tell of the dictionary itself. Raises
    RecipeError for any other line, and for a text that is cut off.
    """
    places = set()
    for number, line in enumerate(index, start=1):
        word, *numbers = line.split("\t")
        try:
            start, length = (_number(digits) for digits in numbers)
        except (ValueError, KeyError) as error:
            raise RecipeError(
                f"{name}.index, line {number}: expected a headword, a place and a length, not "
                f"{line[:60]!r}"
            ) from error
        if start + length > len(text):
            raise RecipeError(f"{name}.dict.dz is cut off: {word!r} lies behind its end")
        if not word.startswith("00"):
            places.add((start, length))
    for start, length in sorted(places):
        try:
            yield text[start : start + length].decode()
        except UnicodeDecodeError as error:
            raise RecipeError(
                f"{name}.dict.dz, byte {start + error.start}: no UTF-8; get the dictionary again"
            ) from error


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value


def _of_package(name: str) -> tuple[list[str], str]:
    package, wanted = f"dict-{name}", re.compile(r"\./usr/share/dictd/([^/]+\.(?:dict\.dz|index))")
    with tempfile.TemporaryDirectory(prefix="lexicon-") as place:
        path = download([package], Path(place), "give a file as --dictionary (see --help)")[package]
        for file, content in files(path, wanted):
            (Path(place) / file).write_bytes(content)
        source = f"apt:{path.name} sha256:{file_record(path).sha256}"
        return _of_file(Path(place) / f"{name}.dict.dz"), source


def _of_file(path: Path) -> list[str]:
    name = path.name.removesuffix(".dict.dz")
    index = path.with_name(f"{name}.index")
    if name == path.name or not path.is_file() or not index.is_file():
        raise RecipeError(
            f"{path}: expected a package such as freedict-spa-por, or a file that ends with "
            ".dict.dz, with its .index beside it"
        )
    try:
        text = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise RecipeError(f"{path} is damaged: {error}; get it again") from error
    return list(articles(text, list(read_lines(index)), name))


if __name__ == "__main__":
    command(lexicon)
