"""One space for the words of two languages: a linear map between their vectors, and what it knows.

The method is vecmap's (Artetxe et al. 2018a, b), without its whitening: an orthogonal map from
seed pairs (Procrustes), the word pairs that are nearest under this map, a better map from these,
and so on. Neighbours are found by CSLS (Conneau et al. 2018).
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json
from pipeline.progress import progress
from train.embeddings import read_vectors, write_vectors

IDENTICAL, NONE = "identical", "none"
Vectors = NDArray[np.float32]  # (words, dimensions)
Places = NDArray[np.int64]

_NEIGHBOURS = 10
# Similarities in memory at once: 64 MB.
_SIMILARITIES = 1 << 24
_LEAST_RISE = 1e-6
# Without seeds: words that are compared (vecmap takes 4,000 and four times as long); the part of
# their similarities that counts at first, so that poor solutions are left; rounds without a rise
# until it doubles (Artetxe et al. 2018b).
_FIRST_WORDS = 2_000
_KEPT_AT_FIRST = 0.1
_PATIENCE = 50


def mapping(
    source: Path,
    target: Path,
    out: Path,
    lexicon: str = IDENTICAL,
    test: Path | None = None,
    cutoff: int = 20_000,
    seed: int = 1,
) -> None:
    """Map the vectors of one language into the space of another's.

    Writes vectors.source.txt and vectors.target.txt, of length 1 in one space, and scores.json:
    how often the nearest target word (P@1), or one of the five nearest (P@5), is a translation
    in the test lexicon, by cosine and by CSLS.

    Example: python -m train.mapping --source exp/vectors.es/vectors.txt
    --target exp/vectors.gl/vectors.txt --lexicon identical --test lexicon.tsv --out exp/mapping

    Args:
        source: vectors.txt of the source language, as train.embeddings writes it.
        target: vectors.txt of the target language, with as many dimensions.
        out: directory for the mapped vectors and scores.json.
        lexicon: what to begin with: a file of word pairs, with a tab between source and target;
            `identical`, the words that both have; or `none`, how similar words are to others.
        test: lexicon of the same form to score; none of its source words are used as seeds.
        cutoff: the most frequent words of either side that take part in self-learning.
        seed: seed of the pairs that are left out, without a lexicon.

    """
    source_words, source_vectors = read_vectors(source)
    target_words, target_vectors = read_vectors(target)
    if source_vectors.shape[1] != target_vectors.shape[1]:
        raise RecipeError(
            f"{source} has {source_vectors.shape[1]} dimensions and {target} "
            f"{target_vectors.shape[1]}; make both with the same --dimensions"
        )
    if cutoff < 2:
        raise RecipeError(f"--cutoff {cutoff}: give the number of words that take part, 2 or more")
    tested = read_lexicon(test) if test else []
    x, z = normalise(source_vectors), normalise(target_vectors)
    facts: dict[str, float | str] = {"lexicon": lexicon}
    if lexicon == NONE:
        seeds = unsupervised_seeds(x[:_FIRST_WORDS], z[:_FIRST_WORDS])
    else:
        if lexicon == IDENTICAL:
            shared = set(target_words)
            pairs = [(word, word) for word in source_words if word in shared]
        else:
            pairs = read_lexicon(Path(lexicon))
        held_out = {word for word, _ in tested}
        pairs = [pair for pair in pairs if pair[0] not in held_out]
        seeds = _known(pairs, source_words, target_words)
        if not len(seeds[0]):
            raise RecipeError(
                f"none of the {len(pairs):,} seed pairs of {lexicon!r} has both its words in the "
                "vectors (test words do not count); give another --lexicon, or none"
            )
    facts["seeds"] = len(seeds[0])
    print(f"{len(seeds[0]):,} pairs to begin with")
    rotation = procrustes(x[seeds[0]], z[seeds[1]])
    if lexicon == NONE:
        few = min(cutoff, _FIRST_WORDS)  # hundreds of rounds, which all words would make long
        rotation, _, tried = self_learning(x[:few], z[:few], rotation, _KEPT_AT_FIRST, seed)
        print(f"{tried} rounds with the {few:,} most frequent words, some pairs left out at random")
    rotation, facts["objective"], facts["rounds"] = self_learning(x[:cutoff], z[:cutoff], rotation)
    print(f"{facts['rounds']} rounds, mean CSLS {facts['objective']:.4f}")
    x = x @ rotation
    scores = word_translation(x, z, source_words, target_words, tested) if tested else {}
    out.mkdir(parents=True, exist_ok=True)
    write_vectors(out / "vectors.source.txt", source_words, x)
    write_vectors(out / "vectors.target.txt", target_words, z)
    write_json(out / "scores.json", {**facts, **scores})
    note(out, **facts, **scores)
    for name, value in scores.items():
        print(f"{name:<20} {value:>7.1%}" if isinstance(value, float) else f"{name:<20} {value:>7}")


def normalise(vectors: Vectors) -> Vectors:
    """Vectors of length 1, their mean taken off, and of length 1 again (Artetxe et al. 2016)."""
    vectors = _unit(vectors)
    return _unit(vectors - vectors.mean(0))


def procrustes(source: Vectors, target: Vectors) -> Vectors:
    """The orthogonal matrix W, (dimensions, dimensions), for which source @ W is nearest target.

    Row by row, by least squares (Schönemann 1966).
    """
    left, _, right = np.linalg.svd(source.T @ target)
    return np.asarray(left @ right, np.float32)


def neighbourhood(queries: Vectors, others: Vectors) -> NDArray[np.float32]:
    """Mean cosine of each query and its ten nearest among the others: r of CSLS."""
    nearest = min(_NEIGHBOURS, len(others))
    means = [
        np.partition(similar, -nearest, axis=1)[:, -nearest:].mean(1)
        for similar in _similarities(queries, others)
    ]
    return np.concatenate(means)


def retrieve(
    queries: Vectors, others: Vectors, hubness: NDArray[np.float32] | float = 0.0, best: int = 1
) -> tuple[Places, NDArray[np.float32]]:
    """Places of the most similar of the others, best first, and their similarities.

    With `hubness` (neighbourhood(others, queries)) these are the nearest by CSLS, 2 cos - r of
    the query - r of the other; r of the query changes nothing in the order, and what is returned
    is half of the rest, cos - r of the other / 2. Both results: (queries, best).
    """
    places, values = [], []
    for similar in _similarities(queries, others):
        similar -= np.asarray(hubness, np.float32) / 2
        near = np.argpartition(-similar, best - 1, axis=1)[:, :best]
        found = np.take_along_axis(similar, near, 1)
        order = np.argsort(-found, axis=1, kind="stable")
        places.append(np.take_along_axis(near, order, 1))
        values.append(np.take_along_axis(found, order, 1))
    return np.concatenate(places), np.concatenate(values)


def unsupervised_seeds(x: Vectors, z: Vectors) -> tuple[Places, Places]:
    """Pairs of words whose similarities to the words of their own language are alike.

    Sorted, these do not depend on which words they are to (Artetxe et al. 2018b). Both languages
    are cut to as many words as the smaller has.
    """
    words = min(len(x), len(z))
    profiles = []
    for vectors in (x[:words], z[:words]):
        # The root of vectors @ vectors.T, whose sorted rows were found to be more telling.
        left, lengths, _ = np.linalg.svd(vectors, full_matrices=False)
        root = (left * lengths) @ left.T
        root.sort(axis=1)
        profiles.append(normalise(root))
    return _induce(profiles[0], profiles[1])[:2]


def self_learning(
    x: Vectors, z: Vectors, rotation: Vectors, kept: float = 1.0, seed: int = 1
) -> tuple[Vectors, float, int]:
    """Find the nearest pairs, map by these, … until their mean CSLS rises no more.

    Args:
        x: source vectors, of length 1.
        z: target vectors, of length 1.
        rotation: the map to begin with.
        kept: part of the similarities that counts in a round, at first; 1 for all, always.
            Below 1, it doubles whenever 50 rounds have brought no rise.
        seed: seed of which.

    Returns the map, the objective (mean CSLS of the induced pairs, halved as in `retrieve`) and
    the number of rounds.
    """
    generator = np.random.default_rng(seed)
    best, best_rotation, since, rounds = -np.inf, rotation, 0, 0
    for _ in progress(count(), "self-learning", "rounds"):
        sources, targets, objective = _induce(x @ rotation, z, kept, generator)
        rounds, since = rounds + 1, since + 1
        if objective > best + _LEAST_RISE:
            best, best_rotation, since = objective, rotation, 0
        elif kept >= 1:
            break
        elif since >= _PATIENCE:
            kept, since = min(1.0, 2 * kept), 0
        rotation = procrustes(x[sources], z[targets])
    return best_rotation, float(best), rounds


def _induce(
    x: Vectors, z: Vectors, kept: float = 1.0, generator: np.random.Generator | None = None
) -> tuple[Places, Places, float]:
    """Each word of either side with the nearest of the other, and the mean similarity of these.

    With `kept` below 1, each similarity counts with this probability, for the pairs alone.
    """
    found, means = [], []
    for one, other in ((x, z), (z, x)):
        hubness = neighbourhood(other, one)
        places, highest = [], []
        for similar in _similarities(one, other):
            similar -= hubness / 2
            highest.append(similar.max(1))
            if generator and kept < 1:
                similar[generator.random(similar.shape, np.float32) >= kept] = -np.inf
            places.append(similar.argmax(1))
        found.append(np.concatenate(places))
        means.append(np.concatenate(highest).mean())
    forth, back = found
    sources = np.concatenate([np.arange(len(x)), back])
    return sources, np.concatenate([forth, np.arange(len(z))]), float(np.mean(means))


def word_translation(
    x: Vectors,
    z: Vectors,
    source_words: list[str],
    target_words: list[str],
    lexicon: list[tuple[str, str]],
) -> dict[str, float | int]:
    """P@1 and P@5 of the nearest words by cosine and CSLS, among all target words.

    Of a lexicon's source words, those count that have a vector, and of whose translations one has
    (Conneau et al. 2018); `coverage` is their part. `copied P@1` is what the word itself would
    get, which is much between related languages; `others` are the words for which it is wrong.
    """
    sources, targets = _known(lexicon, source_words, target_words)
    translations: dict[int, set[int]] = {}
    for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
        translations.setdefault(source, set()).add(target)
    asked = {word for word, _ in lexicon}
    scores: dict[str, float | int] = {
        "test words": len(asked),
        "coverage": len(translations) / len(asked),
    }
    if not translations:
        raise RecipeError(
            f"none of the {len(asked):,} words of the test lexicon has a vector, and a translation "
            "with one; is it of these languages, and in the case of the vectors?"
        )
    copies = np.array(
        [
            source_words[source] in {target_words[place] for place in found}
            for source, found in translations.items()
        ]
    )
    scores["copied P@1"] = float(copies.mean())
    queries = x[list(translations)]
    most = min(5, len(z))
    for name, hubness in (("nearest", 0.0), ("csls", neighbourhood(z, x))):
        near, _ = retrieve(queries, z, hubness, most)
        for best in (1, most):
            right = [
                not found.isdisjoint(places)
                for found, places in zip(
                    translations.values(), near[:, :best].tolist(), strict=True
                )
            ]
            scores[f"{name} P@{best}"] = float(np.mean(right))
            if not copies.all():
                scores[f"{name} P@{best}, others"] = float(np.array(right)[~copies].mean())
    return scores


def read_lexicon(path: Path) -> list[tuple[str, str]]:
    """Word pairs of a file, one a line, with a tab between them."""
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        source, tab, target = line.partition("\t")
        if not tab or not source.strip() or not target.strip() or "\t" in target:
            raise RecipeError(
                f"{path}, line {number}: expected a source word, a tab and a target word, "
                f"not {line[:60]!r}"
            )
        pairs.append((source.strip(), target.strip()))
    if not pairs:
        raise RecipeError(f"{path} is empty; give word pairs, one a line, with a tab between them")
    return pairs


def _known(
    pairs: list[tuple[str, str]], source_words: list[str], target_words: list[str]
) -> tuple[Places, Places]:
    """Places of the words of the pairs that have vectors on both sides."""
    sources, targets = (
        {word: place for place, word in enumerate(words)} for words in (source_words, target_words)
    )
    found = [(sources[s], targets[t]) for s, t in pairs if s in sources and t in targets]
    places = np.array(found, np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _similarities(queries: Vectors, others: Vectors) -> Iterator[NDArray[np.float32]]:
    """Cosines of some queries at a time and all others: (some, others)."""
    rows = max(1, _SIMILARITIES // len(others))
    for start in range(0, len(queries), rows):
        yield queries[start : start + rows] @ others.T


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


if __name__ == "__main__":
    command(mapping)
