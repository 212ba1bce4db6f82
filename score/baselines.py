"""What a model has to beat: copying the source, and a translation memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pipeline.command import command
from pipeline.lines import read_lines, write_lines
from preprocess.bitext import languages, read_set

# Test lines compared at once: bounds the memory of the similarity matrix.
_BLOCK_LINES = 256


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


def baselines(bitext: Path, out: Path) -> None:
    """Translate the test set by copying it, and by the nearest source sentence in train.

    Writes copy.txt and memory.txt, to be scored beside a model.

    Example: python -m score.baselines --bitext exp/clean --out exp/baselines

    Args:
        bitext: directory with train and test.
        out: directory for the two files.

    """
    src, tgt = languages(bitext)
    train = list(read_set(bitext, "train", src, tgt))
    sources = list(read_lines(bitext / f"test.{src}"))
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / "copy.txt", sources)
    found = nearest(sources, [source for source, _ in train])
    write_lines(out / "memory.txt", (train[index][1] for index in found))


if __name__ == "__main__":
    command(baselines)
