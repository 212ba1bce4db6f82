"""A model of Hugging Face decoded by transformers, where CTranslate2 does not know its kind."""

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from decode.converter import start_token
from decode.ensemble import Answer
from decode.huggingface import PretrainedCodec, save_files
from train.families import end_of
from train.hub import library, weights_of


def save(model: Path, out: Path) -> None:
    """Put the weights and their configuration into a bundle."""
    save_files(model, out)
    for path in [*model.glob("*.safetensors"), *model.glob("*.safetensors.index.json")]:
        shutil.copyfile(path, out / path.name)


class Generator:
    """Takes the place of CTranslate2's Translator.

    Beam search ends, as there, when it has as many finished hypotheses as the beam is wide.
    """

    def __init__(
        self, directory: Path, codec: PretrainedCodec, threads: int, seed: int | None
    ) -> None:
        """Prepare; the model is read when it is first used, in whatever process that is."""
        self._directory, self._codec = directory, codec
        self._threads, self._seed = threads, seed

    @cached_property
    def _model(self) -> Any:
        torch.set_num_threads(self._threads)
        if self._seed is not None:
            torch.manual_seed(self._seed)
        model = weights_of(self._directory)
        self._start = start_token(model)
        # Its own settings of the search must not mix with ours.
        model.generation_config = library().GenerationConfig()
        return model

    def translate_batch(
        self,
        sources: Sequence[Sequence[str]],
        prefixes: Sequence[Sequence[str]] | None,
        *,
        max_decoding_length: int,
        beam_size: int,
        length_penalty: float,
        num_hypotheses: int,
        return_scores: bool,
        sampling_topk: int = 1,
        sampling_topp: float = 1.0,
        sampling_temperature: float = 1.0,
        **_: object,
    ) -> list[Answer]:
        """The hypotheses of each source, both in subwords; all prefixes are the same."""
        model, numbers = self._model, self._codec.numbers
        tokeniser = self._codec.tokeniser
        rows = [[numbers[piece] for piece in pieces] for pieces in sources]
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), tokeniser.pad_token_id)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        prefix = [numbers[piece] for piece in prefixes[0]] if prefixes else []
        sampling = sampling_topk != 1
        eos = end_of(tokeniser)
        config = library().GenerationConfig(
            max_length=max_decoding_length + 1,
            min_new_tokens=len(prefix) + 1,
            num_beams=beam_size,
            early_stopping=beam_size > 1,
            length_penalty=length_penalty,
            num_return_sequences=num_hypotheses,
            do_sample=sampling,
            **({"top_k": sampling_topk, "top_p": sampling_topp,
                "temperature": sampling_temperature} if sampling else {}),
            eos_token_id=eos,
            pad_token_id=tokeniser.pad_token_id,
            decoder_start_token_id=self._start,
            suppress_tokens=[tokeniser.pad_token_id],
        )  # fmt: skip
        with torch.no_grad():
            found = model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=[_forced(prefix)],
            )[:, 1:].tolist()
        outputs = [row[: row.index(eos)] if eos in row else row for row in found]
        scores: list[float] = []
        if return_scores:
            scores = [
                self._score(rows[place // num_hypotheses], output, eos, max_decoding_length)
                / max(1, len(output)) ** length_penalty
                for place, output in enumerate(outputs)
            ]
        answers = []
        for first in range(0, len(outputs), num_hypotheses):
            places = list(range(first, first + num_hypotheses))
            if scores and not sampling:
                # Lengths of transformers count the end as a word; ours, as CTranslate2's, do not.
                places.sort(key=lambda place: -scores[place])
            answers.append(
                Answer(
                    [self._codec.named(outputs[place]) for place in places],
                    [scores[place] for place in places] if scores else [],
                )
            )
        return answers

    def _score(self, source: list[int], output: list[int], eos: int, limit: int) -> float:
        """The log-probability of an output, in nats, with its end if it has one."""
        wanted = torch.tensor(output if len(output) >= limit else [*output, eos])
        begin = torch.tensor([[self._start, *output][: len(wanted)]])
        with torch.no_grad():
            logits = self._model(input_ids=torch.tensor([source]), decoder_input_ids=begin).logits
        return float(logits[0].log_softmax(-1)[torch.arange(len(wanted)), wanted].sum())


def _forced(prefix: list[int]) -> Any:
    """Begins all hypotheses with `prefix`, which costs nothing and counts in their length."""

    def force(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        place = ids.shape[1] - 1
        if place >= len(prefix):
            return scores
        forced = torch.full_like(scores, -torch.inf)
        forced[:, prefix[place]] = 0
        return forced

    return force
