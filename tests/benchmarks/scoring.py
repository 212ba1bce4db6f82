"""Races score.metrics against sacreBLEU's command: the same systems, metrics and bootstraps.

    python tests/benchmarks/scoring.py --references test.de

Ten systems are made of the references by leaving out words; the first is the baseline. Both give
scores, intervals and p-values, which are compared.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.lines import read_lines, write_lines


def main() -> None:
    """Race, and print both times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=3000)
    parser.add_argument("--systems", type=int, default=10)
    given = parser.parse_args()
    references = list(read_lines(given.references))[: given.lines]
    dice = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        reference, systems = Path(place) / "reference", []
        write_lines(reference, references)
        for number in range(given.systems):
            share = 0.1 + 0.005 * number
            systems.append(Path(place) / f"system{number}")
            write_lines(
                systems[-1],
                (" ".join(w for w in line.split() if dice.random() > share) for line in references),
            )
        metrics = ["bleu", "chrf", "ter"]
        theirs = [sys.executable, "-m", "sacrebleu", str(reference), "-i", *map(str, systems),
                  "-m", *metrics, "--paired-bs", "--paired-jobs", str(len(os.sched_getaffinity(0))),
                  "-f", "text"]  # fmt: skip
        ours = [sys.executable, "-m", "score.metrics", "--references", str(reference),
                "--target-language", "de", "--baseline", "system0",
                "--out", f"{place}/out"]  # fmt: skip
        for path in systems:
            ours += [f"--systems.{path.name}", str(path)]
        times, work, shown = list[float](), list[float](), ""
        for command in (theirs, ours):
            started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            times.append(time.perf_counter() - started)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            work.append(used.ru_utime - before.ru_utime)
            shown = shown or done.stdout
        written = json.loads((Path(place) / "out" / "scores.json").read_text())["systems"]
    values = [float(value) for value in re.findall(r"\(p = ([\d.]+)\)", shown)]
    found = [row["p_value"] for name in list(written)[1:] for row in written[name]["scores"]]
    largest = max(abs(a - b) for a, b in zip(values, found, strict=True))
    print(
        f"{given.systems} systems, {len(references):,} lines, {', '.join(metrics)}, 1,000 samples"
    )
    ratio = times[0] / times[1]
    print(f"sacreBLEU {times[0]:.1f} s, score.metrics {times[1]:.1f} s: {ratio:.1f} times")
    print(f"processor time {work[0]:.1f} s against {work[1]:.1f} s: {work[0] / work[1]:.1f} times")
    print(f"{len(found)} p-values, largest difference {largest:.4f} (they show four digits)")


if __name__ == "__main__":
    main()
