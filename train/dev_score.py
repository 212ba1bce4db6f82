"""BLEU or chrF of the dev set at each validation, on detokenised text, to stop training by."""

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

import ctranslate2
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from pipeline.languages import find
from pipeline.lines import read_lines
from preprocess.bitext import languages
from preprocess.codec import Codec

# An output may be this much longer than its source before it is cut, in subwords.
_LONGER, _LONGER_BY = 2, 20
_BATCH_SUBWORDS = 2000


class DevScore:
    """Scores a model on dev: greedy search, subwords and tokenisation undone on both sides.

    The references come from the same subwords, so that what normalising or lowercasing took away
    is not counted against the model: the value is for comparing checkpoints, not for a paper.
    """

    def __init__(self, subwords: Path, data: Path, metric: str, threads: int) -> None:
        self._src, self._tgt = languages(subwords)
        self._data, self._threads = data, threads
        self._codec = Codec(subwords)
        sides = [
            [line.split(" ") if line else [] for line in read_lines(subwords / f"dev.{language}")]
            for language in (self._src, self._tgt)
        ]
        self._sources = sides[0]
        self._references = [self._codec.restore(pieces, self._tgt) for pieces in sides[1]]
        tokenizer = find(self._tgt).sacrebleu_tokenizer
        self._metric = BLEU(tokenize=tokenizer) if metric == "bleu" else CHRF()

    def __call__(self, model: dict[str, torch.Tensor], options: argparse.Namespace) -> float:
        """The score of these parameters, 0 to 100."""
        with tempfile.TemporaryDirectory() as directory:
            checkpoint = Path(directory) / "checkpoint.pt"
            torch.save({"args": options, "model": model}, checkpoint)
            converter = ctranslate2.converters.FairseqConverter(
                str(checkpoint), str(self._data), source_lang=self._src, target_lang=self._tgt
            )
            converted = converter.convert(str(Path(directory) / "model"))
            translator = ctranslate2.Translator(
                converted, inter_threads=self._threads, intra_threads=1
            )
            longest = max(len(pieces) for pieces in self._sources)
            results = translator.translate_batch(
                self._sources,
                beam_size=1,
                max_batch_size=_BATCH_SUBWORDS,
                batch_type="tokens",
                max_decoding_length=_LONGER * longest + _LONGER_BY,
                max_input_length=0,
            )
        hypotheses = [self._codec.restore(r.hypotheses[0], self._tgt) for r in results]
        return float(self._metric.corpus_score(hypotheses, [self._references]).score)


def install(subwords: str, data: str, metric: str) -> None:
    """Add the score to what fairseq logs of each validation, so that it can stop by it."""
    from fairseq_cli import train as cli

    score = DevScore(Path(subwords), Path(data), metric, torch.get_num_threads())
    original = cli.get_valid_stats

    def get_valid_stats(cfg: Any, trainer: Any, stats: dict[str, Any], tracking_best: bool) -> Any:
        # Building the model for the conversion draws random numbers and logs every layer.
        state, level = torch.get_rng_state(), logging.root.manager.disable
        logging.disable(logging.INFO)
        try:
            stats[metric] = round(score(trainer.model.state_dict(), cfg.model), 3)
        finally:
            logging.disable(level)
            torch.set_rng_state(state)
        return original(cfg, trainer, stats, tracking_best)

    cli.get_valid_stats = get_valid_stats
