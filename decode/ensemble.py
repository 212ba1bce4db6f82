"""Several models of fairseq decoded as one, by fairseq: CTranslate2 takes a single model."""

import argparse
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from train.checkpoints import average


def save(checkpoints: Sequence[Path], dictionaries: Sequence[Path], out: Path) -> None:
    """Put into a bundle what decoding with all of these checkpoints needs."""
    out.mkdir(parents=True, exist_ok=True)
    for path in dictionaries:
        shutil.copyfile(path, out / path.name)
    for number, path in enumerate(checkpoints, 1):
        average([path], out / f"{number}.pt")  # of one: the same, without the optimiser's state


@dataclass
class Answer:
    """As an answer of CTranslate2 that is there already."""

    hypotheses: list[list[str]]
    scores: list[float]

    def result(self) -> "Answer":
        return self


class Ensemble:
    """Takes the place of CTranslate2's Translator.

    Each subword's probability is the mean of the models' probabilities (Sutskever et al. 2014).
    """

    def __init__(self, directory: Path, threads: int) -> None:
        from fairseq.checkpoint_utils import load_model_ensemble_and_task

        logging.getLogger("fairseq").setLevel(logging.WARNING)
        torch.serialization.add_safe_globals([argparse.Namespace])
        torch.set_num_threads(threads)
        self._models, _, self._task = load_model_ensemble_and_task(
            [str(path) for path in sorted(directory.glob("*.pt"))],
            arg_overrides={"data": str(directory)},
        )
        for model in self._models:
            model.eval()

    def translate_batch(
        self,
        sources: Sequence[Sequence[str]],
        prefixes: Sequence[Sequence[str]] | None,
        *,
        max_decoding_length: int,
        beam_size: int,
        length_penalty: float,
        num_hypotheses: int,
        **_: object,
    ) -> list[Answer]:
        """The best hypotheses of each source, both in subwords."""
        from fairseq.data.data_utils import collate_tokens
        from fairseq.sequence_generator import SequenceGenerator

        source, target = self._task.source_dictionary, self._task.target_dictionary
        tokens = [
            torch.tensor([*map(source.index, pieces), source.eos()], dtype=torch.long)
            for pieces in sources
        ]
        batch = {
            "src_tokens": collate_tokens(tokens, source.pad(), left_pad=True),
            "src_lengths": torch.tensor([len(sentence) for sentence in tokens]),
        }
        generator = SequenceGenerator(
            self._models,
            target,
            beam_size=beam_size,
            max_len_b=max_decoding_length,
            len_penalty=length_penalty,
        )
        start = None
        if prefixes:
            start = torch.tensor([[target.index(piece) for piece in row] for row in prefixes])
        found = generator.generate(self._models, {"net_input": batch}, prefix_tokens=start)
        return [
            Answer(
                [[target[i] for i in one["tokens"] if i != target.eos()] for one in best],
                [float(one["score"]) for one in best],
            )
            for best in (hypotheses[:num_hypotheses] for hypotheses in found)
        ]
