"""What a model has to beat: copying the source in three ways, a translation memory, and rules."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import note
from pipeline.progress import progress
from preprocess.bitext import languages, read_set
from score.apertium import find_mode, translate, version

# Test lines compared at once: bounds the memory of the similarity matrix.
_BLOCK_LINES = 256
# A word, once its letters and marks are all "a": also F4, don't and e-mail, but not 3,5 or "-".
_WORD = re.compile(r"\d*a[a\d]*(?:['’·‐-][a\d]+)*")


def nearest(queries: Sequence[str], memory: Sequence[str]) -> list[int]:
    """Index of the most similar line of `memory` for each query; ties go to the first.

    Similarity is the cosine of tf-idf vectors of the 2- to 4-grams of characters within words.
    """
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), dtype=np.float32)
    known = vectorizer.fit_transform(memory)
    asked = vectorizer.transform(queries)
    found: list[int] = []
    for start in range(0, asked.shape[0], _BLOCK_LINES):
        similarity = (asked[start : start + _BLOCK_LINES] @ known.T).toarray()
        found += [int(index) for index in similarity.argmax(axis=1)]
    return found


def without_words(line: str) -> str:
    """The punctuation, signs and numbers of a line, with a space where words were."""
    letters = "".join(
        {"L": "a", "M": "a", "C": ""}.get(unicodedata.category(char)[0], char) for char in line
    )
    return " ".join(_WORD.sub(" ", letters).split())


def romanised(lines: Sequence[str], language: str) -> Iterator[str] | None:
    """Lines in Latin letters, by uroman (Hermjakob et al. 2018); None where it is not installed."""
    try:
        from uroman import Uroman
    except ImportError:
        return None
    uroman, code = Uroman(), find(language).iso3
    shown = progress(lines, "romanising", "lines", len(lines))
    return (str(uroman.romanize_string(line, lcode=code)) for line in shown)


def baselines(bitext: Path, out: Path) -> None:
    """Translate the test set by copying it, by the nearest source sentence in train, and by rules.

    Writes, to be scored beside a model, copy.txt, memory.txt, and punctuation.txt: what is no
    word, for which BLEU gives points to a system that translates nothing. Where the target
    language has Latin letters and the source other ones, also transliteration.txt: the source in
    Latin letters, if uroman is installed; and apertium.txt if Apertium is, with this pair
    (recipes score both where they are there).

    Example: python -m score.baselines --bitext exp/clean --out exp/baselines

    Args:
        bitext: directory with train and test.
        out: directory for these files.

    """
    src, tgt = languages(bitext)
    train = list(read_set(bitext, "train", src, tgt))
    sources = list(read_lines(bitext / f"test.{src}"))
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / "copy.txt", sources)
    write_lines(out / "punctuation.txt", map(without_words, sources))
    for name in ("transliteration.txt", "apertium.txt"):
        (out / name).unlink(missing_ok=True)  # of an earlier run, with what is not here now
    transliterated = False
    if find(tgt).script == "Latn" != find(src).script:
        if lines := romanised(sources, src):
            write_lines(out / "transliteration.txt", lines)
            transliterated = True
        else:
            print("no transliteration: pip install -c constraints.txt -e '.[transliteration]'")
    rules = None
    try:
        rules = find_mode(src, tgt)
    except RecipeError as error:
        print(f"no row of rules: {error}; then run this again (a stage with --force)")
    else:
        write_lines(out / "apertium.txt", translate(sources, rules))
    found = nearest(sources, [source for source, _ in train])
    write_lines(out / "memory.txt", (train[index][1] for index in found))
    note(out, transliterated=transliterated, rules=rules and f"{version()}, {rules}")


if __name__ == "__main__":
    command(baselines)
