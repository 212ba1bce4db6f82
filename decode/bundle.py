"""A model bundle: one directory with all that translating needs.

model/            CTranslate2's model; or
ensemble/         several models, which fairseq decodes; or
transformers/     a model of Hugging Face that CTranslate2 does not know
subword.model     with subword.json: how text is cut, and its type; or
tokeniser/        that of a model of Hugging Face
bundle.json       languages, limits, origin
MODEL_CARD.md     what it is, for people
training.json     the manifest of the training, where a recipe made it
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import ctranslate2

from decode.faithful import addresses, numbers
from decode.huggingface import TOKENISER, PretrainedCodec
from decode.search import Search
from decode.segments import Frame, is_loop, split_long
from decode.shortlist import FILE as SHORTLIST
from pipeline.errors import RecipeError
from pipeline.parallel import cores
from preprocess.codec import Codec

if TYPE_CHECKING:
    from decode.ensemble import Ensemble
    from decode.generate import Generator

DESCRIPTION, MODEL, ENSEMBLE, TRANSFORMERS = "bundle.json", "model", "ensemble", "transformers"

# Lines read before translating begins; they are sorted by length to waste little padding.
_WINDOW_LINES = 4096
# Source subwords in one batch, padding included: on a CPU, what is in its caches counts, and
# larger ones are slower. A beam needs more room for each.
_BATCH_SUBWORDS, _BATCH_SUBWORDS_BEAM = 500, 250
# An output may be this much longer than its source (in subwords) before it is cut.
_LONGER, _LONGER_BY = 2.0, 20


@dataclass
class Description:
    """What bundle.json says. `max_source_subwords` is the longest source seen in training.

    `tag` is what each source begins with, in a model of several target languages.
    `max_output_subwords` is how long the model can write at all, if there is such a limit.
    """

    source_language: str
    target_language: str
    max_source_subwords: int
    quantization: str
    checkpoint_sha256: str
    tag: str | None = None
    max_output_subwords: int | None = None

    @staticmethod
    def read(directory: Path) -> "Description":
        """That of a bundle. Raises RecipeError if it is none."""
        try:
            return Description(**json.loads((directory / DESCRIPTION).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RecipeError(
                f"{directory} is not a model bundle ({error}); make one with decode.export"
            ) from error


@dataclass
class Counts:
    """What happened to the lines of one translation; blank lines stay blank."""

    lines: int = 0
    blank: int = 0
    split: int = 0  # source longer than the model's limit, translated in parts
    cut: int = 0  # output reached its length limit
    empty: int = 0  # no output for a source that is not blank
    looping: int = 0  # the same words again and again
    other_numbers: int = 0  # not the numbers of the source (1,000 and 1.000 are the same)
    other_addresses: int = 0  # not the web addresses of the source

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Hypothesis:
    """A translation, its score if it was asked for, and whether it was cut for its length.

    The score is the log-probability, in nats, over the length by the length penalty.
    """

    text: str
    score: float | None = None
    cut: bool = False


@dataclass
class Bundle:
    """A model that turns raw text into raw text.

    Example: `Bundle.load(Path("exp/bundle")).translate(["Abra el archivo."])`.
    """

    description: Description
    codec: Codec | PretrainedCodec
    translator: "ctranslate2.Translator | Ensemble | Generator"
    search: Search = field(default_factory=Search)
    counts: Counts = field(default_factory=Counts)
    # Whether the model has lists of what a source subword may become.
    shortlist: bool = False
    # Off, outputs stay tokenised, as the scores of many papers want them.
    detokenise: bool = True
    frame: Frame = field(default_factory=Frame)

    @staticmethod
    def load(directory: Path, threads: int | None = None, search: Search = Search()) -> "Bundle":  # noqa: B008
        """Load a bundle that decode.export made; `threads` is the number of cores to use."""
        threads = threads or cores()
        description = Description.read(directory)
        codec: Codec | PretrainedCodec
        frame = Frame()
        if (directory / TOKENISER).is_dir():
            codec = PretrainedCodec(directory / TOKENISER)
            frame = codec.frame
        else:
            codec = _codec(directory, (directory / DESCRIPTION).stat().st_mtime_ns)
        if search.tag and search.tag not in codec.symbols:
            known = ", ".join(codec.symbols) or "none"
            raise RecipeError(f"{directory} knows no tag {search.tag}; its symbols: {known}")
        if (directory / ENSEMBLE).is_dir():
            if search.sampling:
                raise RecipeError(f"{directory} is an ensemble, which does not sample; use a beam")
            from decode import ensemble  # it loads torch and fairseq

            several = ensemble.Ensemble(directory / ENSEMBLE, threads)
            return Bundle(description, codec, several, search)
        if isinstance(codec, PretrainedCodec) and (directory / TRANSFORMERS).is_dir():
            from decode.generate import Generator  # it loads torch

            seed = search.seed if search.sampling else None
            generator = Generator(directory / TRANSFORMERS, codec, threads, seed)
            return Bundle(description, codec, generator, search, frame=frame)
        # Several sentences at once use the cores better than several threads for one; but who
        # draws which numbers must not depend on who comes first.
        inter, intra = threads, 1
        if search.sampling:
            ctranslate2.set_random_seed(search.seed)
            inter, intra = 1, threads
        translator = ctranslate2.Translator(
            str(directory / MODEL), inter_threads=inter, intra_threads=intra
        )
        has_list = (directory / MODEL / SHORTLIST).exists()
        return Bundle(description, codec, translator, search, shortlist=has_list, frame=frame)

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Translate raw lines: one output line for each, in order, blank for blank."""
        return [hypotheses[0].text for hypotheses in self.stream(lines)]

    def stream(self, lines: Iterable[str]) -> Iterator[list[Hypothesis]]:
        """The hypotheses of each line, best first, in constant memory; `counts` has the rest.

        A blank line has one, which is blank, and so has a line that was translated in parts.
        """
        iterator = iter(lines)
        while window := list(islice(iterator, _WINDOW_LINES)):
            yield from self._translate_window(window)

    def _translate_window(self, lines: list[str]) -> list[list[Hypothesis]]:
        limit, language = self.description.max_source_subwords, self.description.source_language
        encoded = self.codec.encode(lines, language)
        segments: list[tuple[int, list[str]]] = []  # line number, subwords
        for number, (line, pieces) in enumerate(zip(lines, encoded, strict=True)):
            parts = [pieces]
            if len(pieces) > limit:
                self.counts.split += 1
                parts = split_long(line, limit, self.codec, language)
            segments += [(number, part) for part in parts if part]
        outputs: list[list[list[Hypothesis]]] = [[] for _ in lines]
        for number, hypotheses in self._decode(segments):
            outputs[number].append(hypotheses)
        results = [parts[0] if len(parts) == 1 else _joined(parts) for parts in outputs]
        for line, hypotheses in zip(lines, results, strict=True):
            self._count(line, hypotheses[0].text)
            self.counts.cut += hypotheses[0].cut
        return results

    def _count(self, line: str, output: str) -> None:
        self.counts.lines += 1
        self.counts.blank += not line.strip()
        self.counts.empty += bool(line.strip()) and not output.strip()
        self.counts.looping += is_loop(output)
        if self.detokenise:
            self.counts.other_numbers += numbers(line) != numbers(output)
            self.counts.other_addresses += addresses(line) != addresses(output)

    def _decode(
        self, segments: list[tuple[int, list[str]]]
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yield (line number, hypotheses) for each segment, in order."""
        asked = self.codec.encode([self.search.prefix], self.description.target_language)[0]
        # Only the first part of a line that was split begins with what was asked for.
        begins = [
            bool(asked) and (i == 0 or segments[i - 1][0] != number)
            for i, (number, _) in enumerate(segments)
        ]
        order = sorted(range(len(segments)), key=lambda i: (begins[i], len(segments[i][1])))
        tag = self.search.tag or self.description.tag
        begin = [tag] if tag else []
        options = self.search.options()
        if self.frame.never:
            options["suppress_sequences"] = [[piece] for piece in self.frame.never]
        skip = len(self.frame.target)
        most = _BATCH_SUBWORDS_BEAM if options["beam_size"] > 1 else _BATCH_SUBWORDS
        results: dict[int, list[Hypothesis]] = {}
        waiting = []
        while order:
            # Longest first, and so few at a time that the batch keeps to its size.
            longest = len(segments[order[-1]][1])
            size = max(1, most // longest)
            batch = [i for i in order[-size:] if begins[i] == begins[order[-1]]]
            order = order[: -len(batch)]
            prefix = [*self.frame.target, *(asked if begins[batch[0]] else [])]
            limit = int(longest * _LONGER) + _LONGER_BY
            limit = min(limit, self.description.max_output_subwords or limit)
            answers = self.translator.translate_batch(
                [self.frame.around(begin + segments[i][1]) for i in batch],
                [prefix] * len(batch) if prefix else None,
                max_decoding_length=limit,
                max_input_length=0,
                asynchronous=True,
                use_vmap=self.shortlist and self.search.among_the_best,
                **options,
            )
            waiting.append((batch, limit, answers))
        for batch, limit, answers in waiting:
            for i, answer in zip(batch, answers, strict=True):
                answer = answer.result()
                scores = answer.scores or [None] * len(answer.hypotheses)
                results[i] = [
                    Hypothesis(self._text(pieces[skip:]), score, len(pieces) >= limit)
                    for pieces, score in zip(answer.hypotheses, scores, strict=True)
                ]
        for i, (number, _) in enumerate(segments):
            yield number, results[i]

    def _text(self, pieces: Sequence[str]) -> str:
        if self.detokenise:
            return self.codec.restore(pieces, self.description.target_language)
        return self.codec.decode(pieces)


@cache
def _codec(directory: Path, changed: int) -> Codec:
    """That of a bundle as it was at some time; decode.backtranslate loads its bundle often."""
    return Codec(directory)


def _joined(parts: list[list[Hypothesis]]) -> list[Hypothesis]:
    """The best of each part, as one; of no part, a blank."""
    best = [part[0] for part in parts]
    text = " ".join(one.text for one in best if one.text)
    return [Hypothesis(text, cut=any(one.cut for one in best))]
