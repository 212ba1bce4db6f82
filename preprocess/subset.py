"""Take a few of the training pairs, as if there were no more: for low-resource experiments."""

import shutil
from pathlib import Path
from typing import Literal

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import write_bitext, write_lines
from pipeline.manifest import note
from preprocess.bitext import hash_share, languages, read_set, refuse_mixed, write_languages

REST = "rest"


def subset(bitext: Path, out: Path, pairs: int | Literal["all"]) -> None:
    """Keep so many training pairs, chosen by a hash of the source: a smaller set is in a larger.

    Writes train.SRC and train.TGT, rest/SRC and rest/TGT with the sentences that are left, in
    another order each, for use as monolingual text, and all other files as they are.

    Example: python -m preprocess.subset --bitext exp/clean --pairs 2000 --out exp/bitext

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for the same with a smaller train.
        pairs: number of training pairs to keep, or all.

    """
    refuse_mixed(bitext)
    src, tgt = languages(bitext)
    train = list(read_set(bitext, "train", src, tgt))
    pairs = len(train) if pairs == "all" else pairs
    if not 0 < pairs <= len(train):
        raise RecipeError(f"{bitext} has {len(train):,} training pairs; choose 1 to as many")
    places = sorted(range(len(train)), key=lambda place: hash_share(train[place][0]))
    chosen = set(places[:pairs])
    write_languages(out, src, tgt)
    for path in bitext.iterdir():
        if path.is_file() and path.name.split(".")[0] not in ("train", "dropped", "manifest"):
            shutil.copyfile(path, out / path.name)
    kept = (pair for place, pair in enumerate(train) if place in chosen)
    write_bitext(out / f"train.{src}", out / f"train.{tgt}", kept)
    (out / REST).mkdir(exist_ok=True)  # not as a set, which would be held out
    rest = [train[place] for place in places[pairs:]]
    for language, lines in (
        (src, dict.fromkeys(pair[0] for pair in rest)),
        (tgt, dict.fromkeys(pair[1] for pair in rest)),
    ):
        write_lines(out / REST / language, sorted(lines, key=hash_share))
    note(out, train_kept=pairs, rest=len(rest))
    print(f"train {pairs:>9,} pairs, rest {len(rest):,}")


if __name__ == "__main__":
    command(subset)
