"""How a translation is looked for: beam search, greedy search, or sampling."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import RecipeError


@dataclass(frozen=True)
class Search:
    """Settings of the search.

    Args:
        beam: number of hypotheses to follow; 1 is greedy search.
        length_penalty: the score of a hypothesis is the sum of its log-probabilities over its
            length to this power (Wu et al. 2016 without their constant): above 1 prefers long ones.
        sampling: draw each subword by its probability instead, as for back-translation (Edunov
            et al. 2018).
        top_k: draw from so many of the most probable (0: from all).
        top_p: draw from the most probable that together have this probability (Holtzman et al.
            2020).
        temperature: divide the scores by this before drawing; below 1 sharpens.
        seed: of the drawing; the same seed, threads and lines give the same outputs.
        n_best: number of hypotheses to give for each line; with sampling, of independent draws.
        prefix: begin each translation with this text.
        tag: begin each source with this symbol, one of those that preprocess.subword was given:
            <2es> for a target language, <BT> for text as back-translation makes it.
        scores: have scores, though there is but one hypothesis for each line.

    """

    beam: int = 5
    length_penalty: float = 1.0
    sampling: bool = False
    top_k: int = 0
    top_p: float = 1.0
    temperature: float = 1.0
    seed: int = 1
    n_best: int = 1
    prefix: str = ""
    tag: str = ""
    scores: bool = False

    def __post_init__(self) -> None:
        """Raise RecipeError for settings that would be left unused, or cannot be."""
        if not self.sampling and (self.top_k or self.top_p != 1 or self.temperature != 1):
            raise RecipeError("top_k, top_p and temperature are for sampling; add sampling true")
        if min(self.beam, self.n_best) < 1 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise RecipeError("beam and n_best are at least 1, top_k at least 0, top_p in (0, 1]")
        if not self.temperature > 0:
            raise RecipeError("temperature is above 0; near 0, the most probable is drawn")
        if not self.sampling and self.n_best > self.beam:
            raise RecipeError(f"{self.n_best} hypotheses need a beam of as many, not {self.beam}")

    @property
    def among_the_best(self) -> bool:
        """Whether improbable subwords may be left out: not if they are drawn, or in a prefix."""
        return not self.prefix and (not self.sampling or self.top_k > 0)

    def options(self) -> dict[str, Any]:
        """CTranslate2's names for it."""
        options: dict[str, Any] = {
            "beam_size": self.beam,
            "length_penalty": self.length_penalty,
            "num_hypotheses": self.n_best,
            "return_scores": self.scores or self.n_best > 1,
        }
        if self.sampling:
            options |= {
                "beam_size": 1,
                "sampling_topk": self.top_k,
                "sampling_topp": self.top_p,
                "sampling_temperature": self.temperature,
            }
        return options
