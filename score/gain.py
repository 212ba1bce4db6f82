"""Whether a model is better than the one before by enough, for a recipe that goes on so long."""

import sys
from pathlib import Path
from statistics import mean

from pipeline.command import command
from score.experiment import read

# No other failure has this exit code.
ENDS = 3


def chrf(scores: Path) -> float:
    """Mean chrF over all systems in a directory of score.metrics: the seeds of one model."""
    systems = read(scores)["systems"].values()
    return float(mean(row["value"] for system in systems for row in system["scores"]
                if row["metric"] == "chrF"))  # fmt: skip


def gain(new: Path, old: Path, least: float) -> None:
    """Say what a round of training gave on dev; exit code 3 if that is less than asked for.

    Example: python -m score.gain --new exp/score-dev-iterative-2 --old exp/score-dev-beam
    --least 0.3

    Args:
        new: scores of the new model, as score.metrics wrote them.
        old: scores of the one before.
        least: chrF that it should have gained.

    """
    after, before = chrf(new), chrf(old)
    goes_on = after - before >= least
    verdict = "it goes on" if goes_on else "it ends here"
    print(f"    dev chrF {before:.2f} before this round, {after:.2f} after it: {verdict}")
    sys.exit(0 if goes_on else ENDS)


if __name__ == "__main__":
    command(gain)
