"""Time and memory of each step for 100 thousand, 1 and 10 million pairs: does time grow in line?

    .venv/bin/python -m tests.benchmarks.scale --bitext exp/clean

Memory is that of a step and all its workers together, shared pages counted once (PSS).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.speed import longer

_STEPS = {
    "inspect": ("--bitext", "clean", "--out", "inspect", "--identify", "0"),
    "clean": ("--bitext", "raw", "--out", "clean"),
    "tokenise": ("--bitext", "clean", "--out", "tokenise"),
    "subword": ("--bitext", "tokenise", "--out", "subword", "--vocab-size", "8000",
                "--model-type", "subword-nmt"),
    "binarise": ("--subwords", "subword", "--out", "binary"),
}  # fmt: skip
_DIRECTORIES = {"raw", "clean", "inspect", "tokenise", "subword", "binary"}


def memory(process: int) -> int:
    """Bytes that a process and its descendants occupy."""
    total = 0
    waiting = [process]
    while waiting:
        number = waiting.pop()
        try:
            for line in Path(f"/proc/{number}/smaps_rollup").read_text().split("\n"):
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
            for task in Path(f"/proc/{number}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total


def run(work: Path, step: str) -> tuple[float, float]:
    """Seconds and GiB of one step."""
    arguments = [str(work / word) if word in _DIRECTORIES else word for word in _STEPS[step]]
    start, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", f"preprocess.{step}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return time.perf_counter() - start, peak / 2**30


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bitext", type=Path, required=True, help="directory with train.SRC …")
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    options = parser.parse_args()
    print(f"{'pairs':>12}" + "".join(f"{step:>18}" for step in _STEPS))
    for pairs in options.pairs:
        row = f"{pairs:>12,}"
        with tempfile.TemporaryDirectory(prefix="scale-") as name:
            work = Path(name)
            longer(options.bitext, pairs, work / "raw")
            results = {}
            for step, later in (("clean", "raw"), ("inspect", ""), ("tokenise", "clean"),
                                ("subword", "tokenise"), ("binarise", "subword")):  # fmt: skip
                results[step] = run(work, step)
                if later:
                    shutil.rmtree(work / later)
            row += "".join(f"{results[s][0]:>9.1f} s{results[s][1]:>4.1f} GiB" for s in _STEPS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
