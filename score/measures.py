"""Measures of a translation: for each, what to count in a line, and the score of a sum of counts.

All are made of counts that can be added up over lines, so that the score of any part of a test
set, or of a sample of it, comes from the same table (`score.statistics`).
"""

import copy
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from pipeline.errors import RecipeError
from pipeline.languages import Language, find
from score import fast
from score.edits import edits

Counts = NDArray[np.float64]

STANDARD = ("BLEU", "chrF", "TER")
ALL = ("BLEU", "chrF", "chrF++", "TER", "spBLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L", "exact match",
       "length ratio")  # fmt: skip
COMET = "COMET"


class Measure(Protocol):
    """One measure, against references that it was made with."""

    signature: str

    def count(self, hypotheses: Sequence[str]) -> Counts:
        """What counts in each line: (lines, counts)."""

    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """The score of each row of counts that were added up, from 0 to 100 (TER: from 0)."""

    def score_line(self, counts: Counts) -> float:
        """The score of a single line."""


def measure(
    name: str, references: Sequence[Sequence[str]], target_language: str, lowercase: bool = False
) -> Measure:
    """The measure of this name, one of ALL; `references` has the lines of each reference.

    Text is compared in NFC, in which the same visible text has the same bytes. Raises RecipeError
    if the measure is unknown, or what it needs is not installed.
    """
    if name == COMET:  # only `score.comet` can count it
        return Shares()
    if name not in ALL:
        raise RecipeError(f"unknown metric {name!r}; there are {', '.join(ALL)}")
    language = find(target_language)
    composed = [compose(lines) for lines in references]
    if name.startswith("ROUGE"):
        return _Rouge(name, composed, language)
    if name in ("exact match", "length ratio"):
        return (_ExactMatch if name == "exact match" else _LengthRatio)(composed, lowercase)
    try:
        return _SacreBLEU(_metric(name, language, lowercase), composed)
    except (RuntimeError, OSError, SystemExit) as error:  # a tokeniser that is not here
        raise RecipeError(_missing(name, language)) from error


def compose(lines: Sequence[str]) -> list[str]:
    """In NFC."""
    return [unicodedata.normalize("NFC", line) for line in lines]


def _metric(name: str, language: Language, lowercase: bool) -> Metric:
    if name == "TER":
        return TER()
    if name.startswith("chrF"):  # chrF2 (Popović 2015), chrF++ with pairs of words (Popović 2017)
        return CHRF(lowercase=lowercase, word_order=2 if name == "chrF++" else 0)
    tokenizer = "flores200" if name == "spBLEU" else language.sacrebleu_tokenizer
    return BLEU(lowercase, tokenize=tokenizer, force=True)  # score.metrics.check says it better


def _missing(name: str, language: Language) -> str:
    tokenizer = "flores200" if name == "spBLEU" else language.sacrebleu_tokenizer
    if tokenizer in ("ja-mecab", "ko-mecab"):
        extra = tokenizer.partition("-")[0]
        needs = f"sacreBLEU's tokeniser for it: pip install 'sacrebleu[{extra}]'"
    else:
        needs = (
            "the subword model of FLORES-200, which could not be fetched: put it in "
            "~/.sacrebleu/models/flores200sacrebleuspm"
        )
    return f"{name} in {language.name} needs {needs}, or leave it out: --metrics+ chrF"


class _SacreBLEU:
    """BLEU (Papineni et al. 2002), chrF, TER (Snover et al. 2006), by sacreBLEU (Post 2018)."""

    def __init__(self, metric: Metric, references: Sequence[Sequence[str]]) -> None:
        self._metric = metric
        # Lines of the reference, if the metric has a quick way to count against one.
        self._reference: list[str] | None = None
        simple = isinstance(metric, TER) or (isinstance(metric, CHRF) and not metric.word_order)
        if simple and len(references) == 1:
            self._reference = [metric._preprocess_segment(line) for line in references[0]]
            metric.num_refs = 1  # the signature says so
        else:
            # Cut into n-grams once, for all systems.
            metric._ref_cache = metric._cache_references(references)
        self.signature = str(metric.get_signature())

    def count(self, hypotheses: Sequence[str]) -> Counts:
        lines = compose(hypotheses)
        if self._reference is None:
            found = self._metric._extract_corpus_statistics(lines, None)
            return np.array(found, dtype=np.float64)
        lines = [self._metric._preprocess_segment(line) for line in lines]
        if isinstance(self._metric, CHRF):
            return fast.chrf_counts(lines, self._reference, self._metric)
        ours, wanted = ([line.split() for line in side] for side in (lines, self._reference))
        return np.array([edits(ours, wanted), [len(words) for words in wanted]]).T

    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        # In the precision of the sums, as sacreBLEU has it.
        if isinstance(self._metric, BLEU):
            return fast.bleu_scores(sums, self._score)
        if isinstance(self._metric, CHRF):
            return fast.chrf_scores(sums, self._metric.beta, self._score)
        return np.array([self._score(row) for row in sums])

    def _score(self, sums: Any) -> float:
        return self._metric._compute_score_from_stats(sums).score  # type: ignore[no-any-return]

    def score_line(self, counts: Any) -> float:
        """As sacreBLEU's sentence_bleu: without n-grams that a short line cannot have."""
        metric = copy.copy(self._metric)
        if isinstance(metric, BLEU):
            metric.effective_order = True
        return float(metric._compute_score_from_stats(counts.astype(np.int64)).score)


class Shares:
    """A measure whose counts are a part, and what it is a part of."""

    signature = ""

    def count(self, hypotheses: Sequence[str]) -> Counts:
        """A kind of measure has its own; this one can only score what was counted before."""
        raise NotImplementedError

    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        part, whole = sums.astype(np.float64).T
        shares: NDArray[np.float64] = 100 * part / np.where(whole, whole, 1)
        return shares

    def score_line(self, counts: Counts) -> float:
        return float(self.scores(counts[None])[0])


class _Rouge(Shares):
    """F-measure of ROUGE-N or -L (Lin 2004), averaged over lines, by rouge-score.

    With several references, that of the best. Words are what Unicode calls so, in lower case;
    where a language has no spaces, each letter is a word.
    """

    def __init__(self, name: str, references: Sequence[Sequence[str]], language: Language) -> None:
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError as error:
            raise RecipeError(
                f"{name} needs rouge-score: pip install -c constraints.txt -e '.[rouge]'"
            ) from error
        self._kind = name.replace("ROUGE-", "rouge")
        self._words = _Words(language.has_spaces)
        self._scorer = RougeScorer([self._kind], tokenizer=self._words)
        self._references = list(zip(*references, strict=True))
        words = "words" if language.has_spaces else "letters"
        library = version("rouge-score")
        self.signature = (
            f"nrefs:{len(references)}|case:lc|tok:{words}|avg:lines|rouge-score:{library}"
        )

    def count(self, hypotheses: Sequence[str]) -> Counts:
        best = [
            max(self._scorer.score(reference, line)[self._kind].fmeasure for reference in wanted)
            for wanted, line in zip(self._references, compose(hypotheses), strict=True)
        ]
        return np.stack([np.array(best), np.ones(len(best))], axis=1)


class _Words:
    """A tokeniser as rouge-score wants it; its own knows a to z only."""

    def __init__(self, spaces: bool) -> None:
        self._spaces = spaces

    def tokenize(self, text: str) -> list[str]:
        text = text.lower()
        # Letters, marks on them, and numbers.
        seen = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
        return seen.split() if self._spaces else [c for c in seen if c != " "]


class _ExactMatch(Shares):
    """Percentage of lines that equal a reference, but for spaces at the ends."""

    def __init__(self, references: Sequence[Sequence[str]], lowercase: bool) -> None:
        self._lowercase = lowercase
        self._wanted = [set(map(self._seen, lines)) for lines in zip(*references, strict=True)]
        self.signature = f"nrefs:{len(references)}|case:{'lc' if lowercase else 'mixed'}|unit:line"

    def _seen(self, line: str) -> str:
        return line.strip().lower() if self._lowercase else line.strip()

    def count(self, hypotheses: Sequence[str]) -> Counts:
        pairs = zip(compose(hypotheses), self._wanted, strict=True)
        return np.array([[self._seen(line) in wanted, 1.0] for line, wanted in pairs])


class _LengthRatio(Shares):
    """Characters of the hypotheses as a percentage of those of the (first) reference."""

    def __init__(self, references: Sequence[Sequence[str]], lowercase: bool) -> None:
        self._lengths = [len(line.strip()) for line in references[0]]
        self.signature = "unit:character|form:NFC|ref:first"

    def count(self, hypotheses: Sequence[str]) -> Counts:
        pairs = zip(compose(hypotheses), self._lengths, strict=True)
        return np.array([[float(len(line.strip())), float(length)] for line, length in pairs])
