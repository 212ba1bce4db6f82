"""Shifts corpora on purpose, and counts how many of the shifts preprocess.inspect finds, and where.

    .venv/bin/python -m tests.benchmarks.shifts exp/fetch other/exp/fetch

Of each corpus, six times one to three target lines are left out, or come twice, at a random place.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from preprocess.bitext import languages
from preprocess.inspect import signs
from preprocess.measure import measure
from preprocess.shifts import agreement


def main() -> None:
    """Print for each corpus how well its sides agree, and in the end what was found."""
    choose = np.random.default_rng(0)
    made, errors = 0, []
    for name in sys.argv[1:]:
        directory = Path(name)
        files = [directory / f"train.{code}" for code in languages(directory)]
        source, target = map(signs, measure(files, Counter()).sides)
        sound = agreement(source, target)
        print(f"{name}: {source.shape[1]:,} pairs, lowest agreement {sound.scores.min():.1f}")
        if sound.shifts:
            print(f"    shifted as it is, and left out: {sound.shifts}")
            continue
        for _ in range(6):
            place = int(choose.integers(source.shape[1] // 10, source.shape[1] * 9 // 10))
            offset = int(choose.choice([-3, -1, 1, 2]))
            moved = np.concatenate([target[:, :place], target[:, place - offset :]], axis=1)
            lines = min(source.shape[1], moved.shape[1])
            found = agreement(source[:, :lines], moved[:, :lines]).shifts
            made += 1
            if [shift.offset for shift in found] == [offset]:
                errors.append(abs(found[0].first - (place + 1)))
    near = sum(error <= 3 for error in errors)
    print(f"{len(errors)} of {made} found, {near} within 3 lines, the rest within {max(errors)}")


if __name__ == "__main__":
    main()
