"""The first checkpoint of a child model, from the parameters of its parent."""

import json
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from torch import Tensor

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.manifest import note
from preprocess.binarise import read_dictionary
from preprocess.bitext import languages
from preprocess.subword import DICTIONARY
from train.checkpoints import load, save
from train.embeddings import read_vectors
from train.marian_files import CHECKPOINT as MARIAN_CHECKPOINT
from train.marian_files import (
    OWN,
    VOCABULARY,
    check_whole,
    of_dictionary,
    read_vocabulary,
    write_vocabulary,
)
from train.multilingual import PAIRS_OF, take_out

CHECKPOINT = "checkpoint.pt"
# <s>, <pad>, </s> and <unk>, which every dictionary of fairseq begins with.
_OWN = 4
# Rows of an embedding matrix that go by a side's dictionary.
_TABLES = {
    "encoder": ("encoder.embed_tokens.weight",),
    "decoder": ("decoder.embed_tokens.weight", "decoder.output_projection.weight"),
}
# The same of Marian's, by its one vocabulary; the biases of the output are one row.
_OF_VOCABULARY = re.compile(r"Wemb$|^decoder_ff_logit_out_(Wt|b)$")
_NEIGHBOURS = 3
# Fewer pairs do not make a map; one in ten is left out of it to see what it is worth.
_LEAST_PAIRS, _HELD_OUT = 20, 10


def transfer(
    parent: Path,
    data: Path,
    out: Path,
    rest: Literal["random", "nearest", "mapped"] = "random",
    vectors: Path | None = None,
    direction: str | None = None,
    seed: int = 1,
) -> None:
    """Make the first checkpoint of a child from a parent with another dictionary.

    Subwords that both know keep their embeddings, all other parameters are the parent's (Zoph et
    al. 2016; by matching strings, Aji et al. 2020). Where the child's text was cut with the
    parent's own model (`preprocess.subword --model`), none of this is needed.

    Writes checkpoint.pt, for train.fairseq --options.finetune-from-model; of a parent of Marian's,
    checkpoint.npz for train.marian --parent.

    Example: python -m train.transfer --parent exp/parent/train-1/checkpoint.pt --data exp/binary
    --out exp/first

    Args:
        parent: checkpoint of train.fairseq or train.marian, with its dictionaries beside it.
        data: what preprocess.binarise made of the child's text; for Marian, preprocess.subword.
        out: directory for the checkpoint.
        rest: embeddings of subwords that the parent does not know: random, as spread as the
            parent's; means of those of the three nearest by the letters that they share; or
            mapped from `vectors`.
        vectors: vectors.txt of the child's subwords, by train.embeddings. The subwords that the
            parent knows as well show how these vectors go over into its embeddings.
        direction: what to begin with of a parent of several pairs, as es-ca (default: the first).
        seed: seed of the random ones, and of those held out to see what the map is worth.

    """
    if (rest == "mapped") != (vectors is not None):
        raise RecipeError("--rest mapped and --vectors go together; give both or neither")
    words = dict(zip(*read_vectors(vectors), strict=True)) if vectors else {}
    if parent.suffix == ".npz":
        if direction:
            raise RecipeError(f"{parent} is Marian's, of one pair; leave out --direction")
        _marian(parent, data, out, rest, words, vectors, seed)
        return
    state = load(parent)
    model: dict[str, Tensor] = state["model"]
    pairs_of = parent.with_name(PAIRS_OF)
    if pairs_of.exists():
        pairs = json.loads(pairs_of.read_text(encoding="utf-8"))
        model = state["model"] = take_out(model, pairs, direction or pairs[0])
    elif direction:
        raise RecipeError(f"{parent} is of one pair of languages; leave out --direction")
    generator = torch.Generator().manual_seed(seed)
    moved: dict[int, Tensor] = {}  # tables that were one stay one
    kept = {}
    maps: dict[str, dict[str, float | int]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for language, side in zip(languages(data), ("encoder", "decoder"), strict=True):
        beside = parent.parent / f"dict.{side}.txt"
        if not beside.exists():
            raise RecipeError(f"{beside} is missing; give a checkpoint that train.fairseq made")
        theirs = list(read_dictionary(beside))
        ours = list(read_dictionary(data / f"dict.{language}.txt"))
        rows, kept[side] = _rows(side, theirs, ours, _OWN)
        for name in _TABLES[side]:
            if name not in model:
                continue
            table = model[name]
            if len(table) != len(theirs):
                raise RecipeError(
                    f"{parent} knows {len(table):,} subwords, {beside} {len(theirs):,}"
                )
            key = table.data_ptr()
            if key not in moved:
                moved[key] = _move(table, rows, theirs, ours, rest, generator, _OWN)
                if vectors:
                    maps[name] = _fill_in(moved[key], table, rows, ours, words, vectors, seed, _OWN)
            if len(moved[key]) != len(ours):
                raise RecipeError(
                    f"{parent} shares embeddings between its sides, so the child's dictionaries "
                    "must be the same, too; learn one subword model for both"
                )
            model[name] = moved[key]
        (out / f"dict.{side}.txt").write_bytes((data / f"dict.{language}.txt").read_bytes())
    state.pop("last_optimizer_state", None)
    save(state, out / CHECKPOINT)
    note(out, from_parent=kept, rest=rest, seed=seed, **({"maps": maps} if maps else {}))


def _marian(
    parent: Path,
    subwords: Path,
    out: Path,
    rest: str,
    words: dict[str, NDArray[np.float32]],
    vectors: Path | None,
    seed: int,
) -> None:
    """The same for a model of Marian's, whose two sides have one vocabulary."""
    beside, own = parent.with_name(VOCABULARY), len(OWN)
    theirs = read_vocabulary(beside)
    ours = of_dictionary(read_dictionary(subwords / DICTIONARY))
    rows, kept = _rows("both sides", theirs, ours, own)
    generator = torch.Generator().manual_seed(seed)
    maps: dict[str, dict[str, float | int]] = {}
    moved: dict[str, Any] = {}
    check_whole(parent)
    with np.load(parent, allow_pickle=False) as model:
        for name in model.files:
            if name.startswith("special:") or name == "Wpos":
                continue  # its settings, which are the child's to choose, and what decoders need
            moved[name] = model[name]
            if not _OF_VOCABULARY.search(name):
                continue
            across = name.endswith("_b")
            table = torch.from_numpy(moved[name].T.copy() if across else moved[name])
            if len(table) != len(theirs):
                raise RecipeError(
                    f"{parent} knows {len(table):,} subwords, {beside} {len(theirs):,}"
                )
            new = _move(table, rows, theirs, ours, rest, generator, own)
            if vectors and not across:
                maps[name] = _fill_in(new, table, rows, ours, words, vectors, seed, own)
            moved[name] = new.numpy().T if across else new.numpy()
    out.mkdir(parents=True, exist_ok=True)
    write_vocabulary(ours, out / VOCABULARY)
    with open(out / MARIAN_CHECKPOINT, "wb") as file:
        np.savez(file, **moved)
    note(out, from_parent=kept, rest=rest, seed=seed, **({"maps": maps} if maps else {}))


def _rows(side: str, theirs: list[str], ours: list[str], own: int) -> tuple[NDArray[np.int64], int]:
    """The parent's row of each of the child's subwords, or -1, and how many it knows."""
    places = {word: number for number, word in enumerate(theirs)}
    rows = np.array([places.get(word, -1) for word in ours])
    kept = int((rows >= own).sum())
    print(f"{side}: {kept:,} of {len(ours) - own:,} subwords are the parent's")
    return rows, kept


def _move(
    table: Tensor,
    rows: NDArray[np.int64],
    theirs: list[str],
    ours: list[str],
    rest: str,
    generator: torch.Generator,
    own: int,
) -> Tensor:
    """Embeddings in the child's order: (subwords of the child, dimensions).

    The first `own` of each vocabulary are its toolkit's symbols.
    """
    moved = torch.empty(len(rows), table.shape[1], dtype=table.dtype)
    known = torch.from_numpy(rows >= 0)
    moved[known] = table[torch.from_numpy(rows[rows >= 0])]
    new = [number for number, row in enumerate(rows) if row < 0]
    spread = table[own:].float().std()
    shape = (len(new), table.shape[1])
    # Biases are far from 0 for most subwords, and one that is not would be chosen everywhere.
    centre = table[own:].float().mean() if table.shape[1] == 1 else 0.0
    moved[new] = (torch.randn(shape, generator=generator) * spread + centre).to(table.dtype)
    if rest == "nearest":
        names = [ours[number] for number in new]
        for number, near in zip(new, _nearest(names, theirs, own), strict=True):
            if near:
                moved[number] = table[near].mean(0)
    return moved


def _fill_in(
    moved: Tensor,
    table: Tensor,
    rows: NDArray[np.int64],
    ours: list[str],
    words: dict[str, NDArray[np.float32]],
    path: Path,
    seed: int,
    own: int,
) -> dict[str, float | int]:
    """Put mapped vectors in the place of the new subwords' random embeddings, in `moved`.

    The map is least squares with a ridge, not Procrustes: vectors and embeddings need not have
    as many dimensions, nor is a model's table a rotation of vectors learned otherwise. The ridge's
    strength is chosen by leaving out one pair at a time. What comes out is too short, as ridges
    draw to the mean, and is scaled to the parent's root mean square.

    Returns the mean cosine of mapped and actual embeddings of held-out subwords, that of the
    mean embedding and the actual ones, and the numbers of subwords.
    """
    has = np.array([word in words for word in ours])
    shared = np.flatnonzero((rows >= own) & has)
    new = np.flatnonzero((rows < 0) & has)
    if len(shared) < _LEAST_PAIRS:
        raise RecipeError(
            f"{path} has vectors of {len(shared)} subwords that the parent knows, and a map takes "
            f"{_LEAST_PAIRS}; use --rest random or nearest"
        )
    shared = np.random.default_rng(seed).permutation(shared)
    x = np.stack([words[ours[number]] for number in shared])
    y = table[torch.from_numpy(rows[shared])].float().numpy()
    ridge = RidgeCV(alphas=np.logspace(-4, 4, 9))
    held_out = len(shared) // _HELD_OUT
    mapped = ridge.fit(x[held_out:], y[held_out:]).predict(x[:held_out])
    mean = np.broadcast_to(y[held_out:].mean(0), mapped.shape)
    facts = {
        "cosine": _mean_cosine(mapped, y[:held_out]),
        "cosine_of_mean": _mean_cosine(mean, y[:held_out]),
        "shared": len(shared),
        "mapped": len(new),
        "random": int((rows < 0).sum()) - len(new),
    }
    if len(new):
        mapped = ridge.fit(x, y).predict(np.stack([words[ours[number]] for number in new]))
        usual = table[own:].float().square().mean().sqrt().item()
        mapped *= usual / max(float(np.sqrt(np.square(mapped).mean())), 1e-12)
        moved[torch.from_numpy(new)] = torch.from_numpy(mapped).to(moved.dtype)
    print(
        f"  {facts['mapped']:,} new subwords mapped, {facts['random']:,} without a vector; on "
        f"{held_out:,} held out, the cosine with the parent's embedding is {facts['cosine']:.3f} "
        f"({facts['cosine_of_mean']:.3f} for the mean)"
    )
    return facts


def _mean_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(np.mean((one * other).sum(1) / np.maximum(lengths, 1e-12)))


def _nearest(words: list[str], known: list[str], own: int) -> list[list[int]]:
    """Numbers of the most similar entries, by the cosine of their letters' n-grams, if any."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), dtype=np.float32)
    vectors = vectorizer.fit_transform(known[own:])
    found: list[list[int]] = []
    for start in range(0, len(words), 256):
        near = (vectorizer.transform(words[start : start + 256]) @ vectors.T).toarray()
        best = np.argsort(-near, axis=1, kind="stable")[:, :_NEIGHBOURS]
        found += [[own + at for at in row if shares[at] > 0]
                  for row, shares in zip(best.tolist(), near, strict=True)]  # fmt: skip
    return found


if __name__ == "__main__":
    command(transfer)
