"""Another segmentation of the training text in every epoch; of dev and test, never.

BPE-dropout (Provilkov et al. 2020) and subword regularisation (Kudo 2018) teach a model many
spellings of a word. That works only if an epoch does not repeat the last one's, so the text is
cut anew before each, on all cores, from a seed that depends on the epoch alone: a run that is
resumed sees what it would have seen.
"""

import shutil
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.lines import read_blocks
from pipeline.parallel import parallel_map
from preprocess.binarise import indexer, number_type, read_dictionary, write_indexed
from preprocess.bitext import languages
from preprocess.codec import Codec
from preprocess.subword import DICTIONARY


def require_sampling(codec: Codec, subwords: Path) -> None:
    """Raise RecipeError if the dictionary lacks what another segmentation may need."""
    if not codec.can_sample:
        raise RecipeError(
            f"{subwords} has no dictionary entries for all that BPE-dropout can make; run "
            "preprocess.subword with --sampled true"
        )


def write_epoch(subwords: Path, out: Path, sampling: float, seed: int, epoch: int) -> None:
    """Cut train anew and write it as fairseq's train.SRC-TGT.SRC.bin and .idx.

    `subwords` is the directory of preprocess.subword that the training data was made from.
    `sampling` is BPE-dropout's probability, or for a unigram model the exponent α of Kudo 2018
    (smaller is more varied). The same seed and epoch give the same bytes.
    """
    codec = Codec(subwords)
    require_sampling(codec, subwords)
    numbers = read_dictionary(subwords / DICTIONARY)
    look_up, dtype = indexer(numbers), number_type(numbers)
    src, tgt = languages(subwords)
    symbols = set(codec.symbols)
    out.mkdir(parents=True, exist_ok=True)

    def recut(block: tuple[int, int, list[str]]) -> tuple[bytes, NDArray[np.int32]]:
        side, place, lines = block
        state = np.random.SeedSequence([seed, epoch, side, place]).generate_state(1)
        # Tags and blanks are not text, and would be cut like text.
        parts = [
            [(known, list(part)) for known, part in groupby(line.split(" "), symbols.__contains__)]
            for line in lines
        ]
        text = [codec.decode(part) for line in parts for known, part in line if not known]
        cut = iter(codec.sample(text, (src, tgt)[side], sampling, int(state[0])))
        again = ([part if known else next(cut) for known, part in line] for line in parts)
        return look_up([" ".join(chain.from_iterable(line)) for line in again])

    for side, language in enumerate((src, tgt)):
        blocks = read_blocks(subwords / f"train.{language}")
        numbered = ((side, place, lines) for place, lines in enumerate(blocks))
        write_indexed(out / f"train.{src}-{tgt}.{language}", parallel_map(recut, numbered), dtype)


def install(subwords: Path, sampling: float, seed: int, out: Path) -> None:
    """Let fairseq's translation task train on text that is cut anew for each epoch.

    The task keeps its name, so that plain fairseq loads the checkpoints.
    """
    from fairseq.tasks import TASK_REGISTRY
    from fairseq.tasks.translation import TranslationTask

    class ResamplingTask(TranslationTask):  # type: ignore[misc]
        def has_sharded_data(self, split: str) -> bool:
            # Makes the trainer load train again at each epoch.
            return True

        def load_dataset(
            self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any
        ) -> None:
            if split != "train":
                super().load_dataset(split, epoch=epoch, combine=combine, **kwargs)
                return
            directory, first = out / f"epoch{epoch}", not _rank()
            if first:
                write_epoch(subwords, directory, sampling, seed, epoch)
            if torch.distributed.is_initialized():
                torch.distributed.barrier()
            data, self.cfg.data = self.cfg.data, str(directory)
            super().load_dataset(split, epoch=epoch, combine=combine, **kwargs)
            self.cfg.data = data
            for old in _others(out, directory) if first else ():
                shutil.rmtree(old)

    TASK_REGISTRY["translation"] = ResamplingTask


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _others(out: Path, directory: Path) -> Iterator[Path]:
    return (path for path in out.glob("epoch*") if path != directory)
