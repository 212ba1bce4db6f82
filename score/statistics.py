"""How sure a score is: confidence intervals, and whether a difference is more than chance.

A matrix says how often each line of the test set is in each sample; one product with what was
counted in the lines does what sacreBLEU does sample by sample. Scores of the sums are as
sacreBLEU's own functions have them (`score.fast`), so that intervals and p-values equal its to the
last digit; but for differences that are as large as the real one, which sacreBLEU's randomisation
does not count, so that two systems that differ in one line would differ beyond chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sacrebleu.significance import _compute_p_value, estimate_ci

from pipeline.errors import RecipeError
from score.measures import Counts, Measure

# sacreBLEU's.
SEED, BOOTSTRAPS, SHUFFLES = 12345, 1000, 10_000
# Numbers of a matrix at a time: three of them take 100 MB.
_BLOCK = 4_000_000

Samples = NDArray[np.float64]


@dataclass
class Confidence:
    """95 % interval of a score over samples of the test set: `mean` ± `interval`."""

    mean: float
    interval: float


def value(measure: Measure, counts: Counts) -> float:
    """The score of all lines together."""
    return float(measure.scores(_exact(counts.sum(0, keepdims=True)))[0])


def _exact(rows: Counts) -> Counts:
    """Whole numbers as integers, as sacreBLEU has them."""
    return rows.astype(np.int64) if np.all(rows == np.floor(rows)) else rows


def bootstrap(measure: Measure, counts: Counts, samples: int = BOOTSTRAPS) -> Samples:
    """Scores of samples of the test set, drawn with replacement (Koehn 2004).

    The samples are the same for all systems and measures, those of sacreBLEU's command.
    """
    lines = len(counts)
    drawn = np.random.default_rng(SEED).choice(lines, size=(samples, lines), replace=True)
    scores = []
    for part in np.array_split(drawn, 1 + samples * lines // _BLOCK):
        cells = (np.arange(len(part))[:, None] * lines + part).ravel()
        times = np.bincount(cells, minlength=len(part) * lines).reshape(len(part), lines)
        # sacreBLEU adds up in single precision.
        sums = (times.astype(np.float64) @ counts).astype(np.float32)
        scores.append(measure.scores(sums))
    return np.concatenate(scores)


def confidence(samples: Samples) -> Confidence:
    """The interval that 95 % of the samples' scores lie in, as sacreBLEU gives it."""
    mean, interval = estimate_ci(samples)
    return Confidence(float(mean), float(interval))


def bootstrap_p_value(difference: float, system: Samples, baseline: Samples) -> float:
    """How often chance alone gives a difference as large, by paired bootstrap (Koehn 2004).

    `system` and `baseline` are scores on the same samples; for several seeds, their means. 1 if
    there is no difference, where sacreBLEU would say 1/1001.
    """
    if not difference:
        return 1.0
    differences = np.abs(system - baseline)
    return float(_compute_p_value(differences - differences.mean(), abs(difference)))


def randomisation_p_value(
    measure: Measure, systems: Sequence[Counts], baselines: Sequence[Counts], trials: int = SHUFFLES
) -> float:
    """How often exchanging lines at random gives a difference as large (Riezler & Maxwell 2005).

    `systems` and `baselines` are the seeds of either, as many: the first is exchanged with the
    first, in the same lines for all; what is compared is the mean of their scores. Raises
    RecipeError if they are not as many.
    """
    if len(systems) != len(baselines):
        raise RecipeError(
            f"randomisation exchanges lines seed by seed, and there are {len(systems)} seeds "
            f"against {len(baselines)}; use --test bootstrap"
        )
    lines, count = len(systems[0]), len(systems)
    chosen = np.random.default_rng(SEED).integers(2, size=(trials, lines), dtype=bool)
    differences, real = np.zeros(trials), 0.0
    for system, baseline in zip(systems, baselines, strict=True):
        exchanged = np.concatenate(
            [
                part.astype(np.float64) @ (baseline - system)
                for part in np.array_split(chosen, 1 + trials * lines // _BLOCK)
            ]
        )
        one, other = exchanged + system.sum(0), baseline.sum(0) - exchanged
        differences += measure.scores(_exact(one)) - measure.scores(_exact(other))
        real += value(measure, system) - value(measure, baseline)
    # As large, but for rounding: scores are of 100.
    beyond = np.sum(np.abs(differences) / count > abs(real) / count - 1e-9)
    return float((beyond + 1) / (trials + 1))
