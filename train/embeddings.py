"""Vectors of the words of a text, in the text format of word2vec."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import note
from pipeline.progress import progress

VECTORS = "vectors.txt"

# gensim leaves out, without a word, what a line has beyond so many words.
_LONGEST = 10_000
# Rows for n-grams of letters. fastText's two million would take 1 GB with 128 dimensions.
_BUCKETS = 200_000


def embeddings(
    text: Path,
    out: Path,
    dimensions: int = 128,
    epochs: int = 10,
    min_count: int = 2,
    window: int = 5,
    seed: int = 1,
) -> None:
    """Learn a vector for each word of a text, by gensim's FastText with skip-grams.

    A word is what stands between spaces, so the text should be tokenised, or be cut to subwords.
    A word's vector is the mean of its own and those of its n-grams of 3 to 6 letters, so that
    rare forms get something from frequent ones (Bojanowski et al. 2017).

    Writes vectors.txt, the most frequent word first: the same bytes for the same seed.

    Example: python -m train.embeddings --text exp/tokenise/train.gl --out exp/vectors.gl

    Args:
        text: one sentence a line.
        out: directory for vectors.txt.
        dimensions: length of a vector.
        epochs: passes through the text.
        min_count: words that occur less often have no vector.
        window: words on either side that a word is to predict, at most.
        seed: seed of the vectors and of what is sampled.

    """
    counts: Counter[str] = Counter()
    lines = 0
    for line in progress(read_lines(text), "counting words", "lines"):
        counts.update(line.split())
        lines += 1
    frequent = {word: count for word, count in counts.items() if count >= min_count}
    if len(frequent) < 2:
        raise RecipeError(
            f"{text} has {len(frequent)} words that occur {min_count} times or more; "
            "give more text, or a lower --min-count"
        )
    try:
        from gensim.models import FastText
    except ImportError as error:
        raise RecipeError(
            "gensim is missing; pip install -c constraints.txt -e '.[mapping]'"
        ) from error
    # It would warn of more examples than lines where a long line is cut.
    logging.getLogger("gensim").setLevel(logging.ERROR)
    model = FastText(
        vector_size=dimensions,
        window=window,
        min_count=1,
        sg=1,
        bucket=_BUCKETS,
        epochs=epochs,
        seed=seed,
        workers=1,  # threads would change the order of updates from run to run
    )
    model.build_vocab_from_freq(frequent, corpus_count=lines)
    model.train(
        _Passes(text, lines * epochs),
        total_examples=lines,
        total_words=counts.total(),
        epochs=epochs,
    )
    words = sorted(frequent, key=lambda word: (-frequent[word], word))
    out.mkdir(parents=True, exist_ok=True)
    write_vectors(out / VECTORS, words, model.wv[words])
    known = sum(frequent.values()) / counts.total()
    note(
        out,
        words=len(words),
        coverage=known,
        dimensions=dimensions,
        epochs=epochs,
        min_count=min_count,
        window=window,
        seed=seed,
    )
    print(f"{len(words):,} words have vectors, {known:.1%} of the text")


class _Passes:
    """The text's sentences once for each `iter`, with one progress bar for all passes."""

    def __init__(self, text: Path, lines: int) -> None:
        self._text = text
        self._ticks = progress(range(lines), "learning vectors", "lines", lines)

    def __iter__(self) -> Iterator[list[str]]:
        for line in read_lines(self._text):
            words = line.split()
            for start in range(0, len(words), _LONGEST):
                yield words[start : start + _LONGEST]
            next(self._ticks, None)


def write_vectors(path: Path, words: list[str], vectors: NDArray[np.float32]) -> None:
    """Write vectors, (words, dimensions), as word2vec, fastText and fairseq read them."""

    def lines() -> Iterator[str]:
        yield f"{vectors.shape[0]} {vectors.shape[1]}"
        for word, vector in zip(words, vectors, strict=True):
            yield word + " " + " ".join(f"{number:.6g}" for number in vector)

    write_lines(path, lines())


def read_vectors(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Words and their vectors, (words, dimensions), in the order of the file.

    Raises RecipeError with file and line for anything but the text format of word2vec. Of a word
    that is there twice, as in some of fastText's files, the first is taken.
    """
    lines = enumerate(progress(read_lines(path), f"reading {path.name}", "words"), start=1)
    first = next((line for _, line in lines), "").split()
    if len(first) != 2 or not all(part.isdecimal() and int(part) for part in first):
        raise RecipeError(
            f"{path}, line 1: expected the number of words and of dimensions, as in "
            "'5000 128'; give a file in the text format of word2vec"
        )
    count, dimensions = map(int, first)
    vectors = np.empty((count, dimensions), np.float32)
    places: dict[str, int] = {}
    number = 1
    for number, line in lines:
        word, *numbers = line.rstrip(" ").rsplit(" ", dimensions)
        try:
            if len(numbers) != dimensions or not word:
                raise ValueError("too few")
            vector = np.array(numbers, np.float32)
            if not np.isfinite(vector).all():
                raise ValueError("not finite")
        except ValueError as error:
            raise RecipeError(
                f"{path}, line {number}: expected a word and {dimensions} numbers, not "
                f"{line[:40]!r}; make the file anew"
            ) from error
        if number - 1 > count:
            break
        if word not in places:
            vectors[len(places)] = vector
            places[word] = len(places)
    if number - 1 != count:
        raise RecipeError(
            f"{path} should have {count:,} words by its first line and has "
            f"{'more' if number - 1 > count else f'{number - 1:,}'}; fetch or make it anew"
        )
    return list(places), vectors[: len(places)]


if __name__ == "__main__":
    command(embeddings)
