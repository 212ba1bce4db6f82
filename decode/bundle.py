"""A model bundle: one directory with all that translating needs.

model/            CTranslate2's model; or
ensemble/         several models, which fairseq decodes
subword.model     with subword.json: how text is cut, and its type
bundle.json       languages, limits, origin
training.json     the manifest of the training, where a recipe made it
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import ctranslate2

from decode.ensemble import DIRECTORY as ENSEMBLE
from decode.ensemble import Ensemble
from decode.segments import is_loop, split_long
from pipeline.errors import RecipeError
from preprocess.codec import Codec

DESCRIPTION, MODEL = "bundle.json", "model"

# Lines read before translating begins; they are sorted by length to waste little padding.
_WINDOW_LINES = 4096
# Source subwords in one batch, padding included.
_BATCH_SUBWORDS = 2000
# An output may be this much longer than its source (in subwords) before it is cut.
_LONGER, _LONGER_BY = 2.0, 20


@dataclass
class Description:
    """What bundle.json says. `max_source_subwords` is the longest source seen in training."""

    source_language: str
    target_language: str
    max_source_subwords: int
    quantization: str
    checkpoint_sha256: str


@dataclass
class Counts:
    """What happened to the lines of one translation; blank lines stay blank."""

    lines: int = 0
    blank: int = 0
    split: int = 0  # source longer than the model's limit, translated in parts
    cut: int = 0  # output reached its length limit
    empty: int = 0  # no output for a source that is not blank
    looping: int = 0  # the same words again and again

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


@dataclass
class Bundle:
    """A model that turns raw text into raw text.

    Example: `Bundle.load(Path("exp/bundle")).translate(["Abra el archivo."])`.
    """

    description: Description
    codec: Codec
    translator: ctranslate2.Translator | Ensemble
    counts: Counts = field(default_factory=Counts)
    # Off, outputs stay tokenised, as the scores of many papers want them.
    detokenise: bool = True

    @staticmethod
    def load(directory: Path, threads: int | None = None) -> "Bundle":
        """Load a bundle that decode.export made; `threads` is the number of cores to use."""
        cores = threads or os.cpu_count() or 1
        try:
            text = (directory / DESCRIPTION).read_text(encoding="utf-8")
            description = Description(**json.loads(text))
        except (OSError, ValueError, TypeError) as error:
            raise RecipeError(
                f"{directory} is not a model bundle ({error}); make one with decode.export"
            ) from error
        translator: ctranslate2.Translator | Ensemble
        if (directory / ENSEMBLE).is_dir():
            translator = Ensemble(directory / ENSEMBLE, cores)
        else:
            # Several sentences at once use the cores better than several threads for one.
            translator = ctranslate2.Translator(
                str(directory / MODEL), inter_threads=cores, intra_threads=1
            )
        return Bundle(description, Codec(directory), translator)

    def translate(self, lines: Sequence[str], beam: int = 5) -> list[str]:
        """Translate raw lines: one output line for each, in order, blank for blank."""
        return list(self.stream(lines, beam))

    def stream(self, lines: Iterable[str], beam: int = 5) -> Iterator[str]:
        """As `translate`, in constant memory; `counts` says what happened to the lines."""
        iterator = iter(lines)
        while window := list(islice(iterator, _WINDOW_LINES)):
            yield from self._translate_window(window, beam)

    def _translate_window(self, lines: list[str], beam: int) -> list[str]:
        limit, language = self.description.max_source_subwords, self.description.source_language
        encoded = self.codec.encode(lines, language)
        segments: list[tuple[int, list[str]]] = []  # line number, subwords
        for number, (line, pieces) in enumerate(zip(lines, encoded, strict=True)):
            parts = [pieces]
            if len(pieces) > limit:
                self.counts.split += 1
                parts = split_long(line, limit, self.codec, language)
            segments += [(number, part) for part in parts if part]
        outputs: list[list[str]] = [[] for _ in lines]
        cut: set[int] = set()
        for number, output, was_cut in self._decode(segments, beam):
            outputs[number].append(output)
            if was_cut:
                cut.add(number)
        joined = [" ".join(part for part in parts if part) for parts in outputs]
        self.counts.lines += len(lines)
        self.counts.blank += sum(not line.strip() for line in lines)
        self.counts.cut += len(cut)
        for line, output in zip(lines, joined, strict=True):
            self.counts.empty += bool(line.strip()) and not output.strip()
            self.counts.looping += is_loop(output)
        return joined

    def _decode(
        self, segments: list[tuple[int, list[str]]], beam: int
    ) -> Iterator[tuple[int, str, bool]]:
        """Yield (line number, text, whether it was cut) for each segment, in order."""
        order = sorted(range(len(segments)), key=lambda i: len(segments[i][1]))
        results: dict[int, tuple[str, bool]] = {}
        waiting = []
        while order:
            # Longest first, and so few at a time that the batch keeps to its size.
            longest = len(segments[order[-1]][1])
            size = max(1, _BATCH_SUBWORDS // longest)
            batch, order = order[-size:], order[:-size]
            limit = int(longest * _LONGER) + _LONGER_BY
            answers = self.translator.translate_batch(
                [segments[i][1] for i in batch],
                beam_size=beam,
                max_decoding_length=limit,
                max_input_length=0,
                asynchronous=True,
            )
            waiting.append((batch, limit, answers))
        for batch, limit, answers in waiting:
            for i, answer in zip(batch, answers, strict=True):
                pieces = answer.result().hypotheses[0]
                if self.detokenise:
                    text = self.codec.restore(pieces, self.description.target_language)
                else:
                    text = self.codec.decode(pieces)
                results[i] = text, len(pieces) >= limit
        for i, (number, _) in enumerate(segments):
            yield number, *results[i]
