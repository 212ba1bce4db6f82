"""How close lines are to the text of a domain."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer

# Counted as seen this often before anything is: the share of an unseen n-gram.
_SMOOTHING = 0.1
_BUCKETS = 1 << 20


class Domain:
    """The cross-entropy difference of Moore & Lewis 2010, by models of single words and pairs.

    They took longer n-grams; these need no estimation but counting, and forget nothing between
    machines. Words are what stands between spaces, in lower case; for a language that writes
    none, one to three characters.
    """

    def __init__(
        self,
        domain: Iterable[Sequence[str]],
        general: Iterable[Sequence[str]],
        spaces: bool = True,
    ) -> None:
        """Learn from blocks of text of the domain, and of all of the text to choose from."""
        self._vectorizer = HashingVectorizer(
            token_pattern=r"\S+",  # noqa: S106 (a token of text)
            ngram_range=(1, 2), alternate_sign=False, norm=None,
            n_features=_BUCKETS,
        )  # fmt: skip
        if not spaces:
            self._vectorizer.set_params(analyzer="char", ngram_range=(1, 3))
        logs = [self._log_shares(blocks) for blocks in (domain, general)]
        self._weights = logs[1] - logs[0]

    def _log_shares(self, blocks: Iterable[Sequence[str]]) -> NDArray[np.float64]:
        counts = np.full(_BUCKETS, _SMOOTHING)
        for lines in blocks:
            counts += np.asarray(self._vectorizer.transform(lines).sum(axis=0)).ravel()
        shares: NDArray[np.float64] = np.log(counts / counts.sum())
        return shares

    def difference(self, lines: Sequence[str]) -> NDArray[np.float64]:
        """For each line, cross-entropy in the domain less that in general, in nats an n-gram.

        The lower, the closer to the domain.
        """
        counts = self._vectorizer.transform(lines)
        sizes = np.asarray(counts.sum(axis=1)).ravel()
        result: NDArray[np.float64] = counts @ self._weights / np.maximum(sizes, 1)
        return result
