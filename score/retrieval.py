"""How near an encoder brings sentences that mean the same in two languages."""

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from decode.direction import take_direction
from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json
from preprocess.bitext import languages
from preprocess.codec import Codec
from train.checkpoints import average
from train.multilingual import pooled

Vectors = NDArray[np.float32]

_LINES = 64  # at a time
_FOLDS = 5


def found_first(queries: Vectors, candidates: Vectors) -> tuple[float, float]:
    """Percentages of queries whose nearest candidate, by the cosine, is the one in the same row.

    First among the candidates alone; then among the other queries as well, where a query finds its
    translation only if it means more to the encoder than the language (Roy et al. 2020).
    """
    one, other = (side / np.linalg.norm(side, axis=1, keepdims=True).clip(1e-12)
                  for side in (queries, candidates))  # fmt: skip
    found = found_among_all = 0
    for start in range(0, len(one), 1024):
        rows = np.arange(start, min(start + 1024, len(one)))
        to_other, to_own = one[rows] @ other.T, one[rows] @ one.T
        to_own[np.arange(len(rows)), rows] = -np.inf  # not itself
        found += int((to_other.argmax(axis=1) == rows).sum())
        to_all = np.concatenate([to_other, to_own], axis=1)
        found_among_all += int((to_all.argmax(axis=1) == rows).sum())
    return 100 * found / len(one), 100 * found_among_all / len(one)


def told_apart(one: Vectors, other: Vectors) -> float:
    """Percentage of vectors that a linear classifier, fitted to others, puts on the right side.

    Mean over five folds; 50 is chance for sides of equal size.
    """
    features = StandardScaler().fit_transform(np.concatenate([one, other]))
    sides = np.repeat([0, 1], [len(one), len(other)])
    classifier = LogisticRegression(max_iter=1000)
    # Both of a pair in one fold: else the meaning of one would help to place the other.
    folds = np.concatenate([np.arange(len(side)) % _FOLDS for side in (one, other)])
    splits = [(np.flatnonzero(folds != n), np.flatnonzero(folds == n)) for n in range(_FOLDS)]
    return 100 * float(cross_val_score(classifier, features, sides, cv=splits).mean())


def encode(
    checkpoint: Path, data: Path, codec: Codec, lines: Sequence[str], direction: str | None
) -> Vectors:
    """Means of the encoder's states over the words of each line: (lines, dimensions)."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    from fairseq.checkpoint_utils import load_model_ensemble_and_task
    from fairseq.data.data_utils import collate_tokens

    torch.serialization.add_safe_globals([argparse.Namespace])
    with tempfile.TemporaryDirectory() as place:
        plain = Path(place) / "plain.pt"
        begin = take_direction(checkpoint, direction, codec, plain, data)
        if not begin:
            average([checkpoint], plain)
        (model,), _, task = load_model_ensemble_and_task(
            [str(plain)], arg_overrides={"data": str(data)}
        )
    model.eval()
    dictionary, source = task.source_dictionary, (direction or languages(data)[0]).split("-")[0]
    cut = [[*([begin] if begin else []), *pieces] for pieces in codec.encode(lines, source)]
    tokens = [
        torch.tensor([*map(dictionary.index, pieces), dictionary.eos()], dtype=torch.long)
        for pieces in cut
    ]
    order = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
    vectors: list[Vectors] = [np.zeros(0, np.float32)] * len(tokens)
    with torch.inference_mode():
        for start in range(0, len(order), _LINES):
            rows = order[start : start + _LINES]
            batch = collate_tokens([tokens[n] for n in rows], dictionary.pad(), left_pad=True)
            lengths = torch.tensor([len(tokens[n]) for n in rows])
            states = pooled(model.encoder(batch, src_lengths=lengths)).numpy()
            for number, vector in zip(rows, states, strict=True):
                vectors[number] = vector
    return np.stack(vectors)


def retrieval(
    checkpoint: Path,
    data: Path,
    subwords: Path,
    one: Path,
    other: Path,
    out: Path,
    directions: list[str] | None = None,
) -> None:
    """Find the translation of each sentence among all, by the encoder's states alone.

    Prints and writes to retrieval.json the percentage of sentences whose nearest sentence of the
    other language is their translation, both ways, whose nearest of both languages is, and how
    often a linear classifier tells the language from a vector (50: it cannot).

    Example: python -m score.retrieval --checkpoint exp/train-1/checkpoint.pt --data exp/binary
    --subwords exp/subword --one test.ca --other test.gl --directions '[ca-es, gl-es]'
    --out exp/retrieval

    Args:
        checkpoint: of train.fairseq.
        data: what it was trained on.
        subwords: the directory of its subword model.
        one: sentences in one language.
        other: their translations.
        directions: for a model of several pairs, the directions to encode either side for. The
            same target language on both sides gives both the same tag.
        out: directory for retrieval.json.

    """
    codec = Codec(subwords)
    texts = [list(read_lines(path)) for path in (one, other)]
    if len(texts[0]) != len(texts[1]) or not texts[0]:
        raise RecipeError(
            f"{one} has {len(texts[0]):,} lines, {other} {len(texts[1]):,}; they should be "
            "translations of each other, line by line"
        )
    chosen: list[str | None] = [*directions] if directions else [None, None]
    if len(chosen) != 2:
        raise RecipeError(f"directions are two, one for each side, not {len(chosen)}")
    # A sentence that is there twice would have two right answers, and one that is the same on
    # both sides is in no language.
    kept: list[tuple[str, str]] = []
    seen: set[str] = {""}
    for pair in zip(*texts, strict=True):
        if pair[0] != pair[1] and seen.isdisjoint(map(str.strip, pair)):
            seen.update(map(str.strip, pair))
            kept.append(pair)
    if len(kept) < 2 * _FOLDS:
        raise RecipeError(
            f"{one} and {other} have {len(kept)} different sentences; {2 * _FOLDS} are needed"
        )
    first, second = (
        encode(checkpoint, data, codec, [pair[side] for pair in kept], chosen[side])
        for side in (0, 1)
    )
    result: dict[str, float] = {"sentences": len(kept)}
    result["found"], result["found_among_all"] = found_first(first, second)
    result["found_back"], result["found_back_among_all"] = found_first(second, first)
    result["language_told"] = told_apart(first, second)
    print(
        f"{len(kept):,} sentences: {result['found']:.1f} % found, {result['found_back']:.1f} % the "
        f"other way; among those of both languages {result['found_among_all']:.1f} %, "
        f"{result['found_back_among_all']:.1f} %; the language is told in "
        f"{result['language_told']:.1f} % (chance: 50)"
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "retrieval.json", result)
    note(out, **result)


if __name__ == "__main__":
    command(retrieval)
