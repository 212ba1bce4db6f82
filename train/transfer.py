"""The first checkpoint of a child model, from the parameters of its parent."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.manifest import note
from preprocess.binarise import read_dictionary
from preprocess.bitext import languages
from train.checkpoints import load, save

CHECKPOINT = "checkpoint.pt"
# <s>, <pad>, </s> and <unk>, which every dictionary of fairseq begins with.
_OWN = 4
# Rows of an embedding matrix that go by a side's dictionary.
_TABLES = {
    "encoder": ("encoder.embed_tokens.weight",),
    "decoder": ("decoder.embed_tokens.weight", "decoder.output_projection.weight"),
}
_NEIGHBOURS = 3


def transfer(
    parent: Path,
    data: Path,
    out: Path,
    rest: Literal["random", "nearest"] = "random",
    seed: int = 1,
) -> None:
    """Make the first checkpoint of a child from a parent with another dictionary.

    Subwords that both know keep their embeddings, all other parameters are the parent's (Zoph et
    al. 2016; by matching strings, Aji et al. 2020). Where the child's text was cut with the
    parent's own model (`preprocess.subword --model`), none of this is needed.

    Writes checkpoint.pt, for train.fairseq --options.finetune-from-model.

    Example: python -m train.transfer --parent exp/parent/train-1/checkpoint.pt --data exp/binary
    --out exp/first

    Args:
        parent: checkpoint of train.fairseq, with its dictionaries beside it.
        data: what preprocess.binarise made of the child's text.
        out: directory for the checkpoint.
        rest: embeddings of subwords that the parent does not know: random, as spread as the
            parent's, or means of those of the three nearest by the letters that they share.
        seed: seed of the random ones.

    """
    state = load(parent)
    model: dict[str, Tensor] = state["model"]
    generator = torch.Generator().manual_seed(seed)
    moved: dict[int, Tensor] = {}  # tables that were one stay one
    kept = {}
    out.mkdir(parents=True, exist_ok=True)
    for language, side in zip(languages(data), ("encoder", "decoder"), strict=True):
        beside = parent.parent / f"dict.{side}.txt"
        if not beside.exists():
            raise RecipeError(f"{beside} is missing; give a checkpoint that train.fairseq made")
        theirs = list(read_dictionary(beside))
        ours = list(read_dictionary(data / f"dict.{language}.txt"))
        places = {word: number for number, word in enumerate(theirs)}
        rows = np.array([places.get(word, -1) for word in ours])
        kept[side] = int((rows >= _OWN).sum())
        print(f"{side}: {kept[side]:,} of {len(ours) - _OWN:,} subwords are the parent's")
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
                moved[key] = _move(table, rows, theirs, ours, rest, generator)
            if len(moved[key]) != len(ours):
                raise RecipeError(
                    f"{parent} shares embeddings between its sides, so the child's dictionaries "
                    "must be the same, too; learn one subword model for both"
                )
            model[name] = moved[key]
        (out / f"dict.{side}.txt").write_bytes((data / f"dict.{language}.txt").read_bytes())
    state.pop("last_optimizer_state", None)
    save(state, out / CHECKPOINT)
    note(out, from_parent=kept, rest=rest, seed=seed)


def _move(
    table: Tensor,
    rows: NDArray[np.int64],
    theirs: list[str],
    ours: list[str],
    rest: str,
    generator: torch.Generator,
) -> Tensor:
    """Embeddings in the child's order: (subwords of the child, dimensions)."""
    moved = torch.empty(len(rows), table.shape[1], dtype=table.dtype)
    known = torch.from_numpy(rows >= 0)
    moved[known] = table[torch.from_numpy(rows[rows >= 0])]
    new = [number for number, row in enumerate(rows) if row < 0]
    if rest == "random":
        spread = table[_OWN:].float().std()
        shape = (len(new), table.shape[1])
        moved[new] = (torch.randn(shape, generator=generator) * spread).to(table.dtype)
    else:
        for number, near in zip(new, _nearest([ours[n] for n in new], theirs), strict=True):
            moved[number] = table[near].mean(0)
    return moved


def _nearest(words: list[str], known: list[str]) -> list[list[int]]:
    """Numbers of the most similar entries, by the cosine of their letters' n-grams."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), dtype=np.float32)
    vectors = vectorizer.fit_transform(known[_OWN:])
    found: list[list[int]] = []
    for start in range(0, len(words), 256):
        near = (vectorizer.transform(words[start : start + 256]) @ vectors.T).toarray()
        best = np.argsort(-near, axis=1, kind="stable")[:, :_NEIGHBOURS] + _OWN
        found += best.tolist()
    return found


if __name__ == "__main__":
    command(transfer)
