"""One direction of a model of several language pairs."""

import json
from pathlib import Path

from pipeline.errors import RecipeError
from preprocess.bitext import PAIRS
from preprocess.codec import Codec
from preprocess.mix import tag
from train.checkpoints import load, save
from train.multilingual import PAIRS_OF, take_out


def take_direction(
    checkpoint: Path, direction: str | None, codec: Codec, out: Path, data: Path
) -> str | None:
    """Write to `out` what a direction needs of a checkpoint; returns what its sources begin with.

    Writes nothing and returns None for a model of one pair. Raises RecipeError for a language that
    the model does not know.
    """
    known = checkpoint.with_name(PAIRS_OF)
    if not known.exists():
        if (data / f"train{PAIRS}").exists():
            raise RecipeError(
                f"{known} is missing, and {data} is of several pairs of languages; give the "
                "checkpoint where train.fairseq left it"
            )
        if direction:
            raise RecipeError(f"{checkpoint} is of one pair of languages; leave out --direction")
        return None
    pairs = json.loads(known.read_text(encoding="utf-8"))
    direction = direction or pairs[0]
    begin = tag(direction.partition("-")[2])
    if begin not in codec.symbols:
        raise RecipeError(f"the model of {checkpoint} knows no {begin}, but {codec.symbols}")
    state = load(checkpoint)
    state["model"] = take_out(state["model"], pairs, direction)
    save(state, out)
    return begin
