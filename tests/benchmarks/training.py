"""Races train.fairseq against plain fairseq-train: same model, data, batches and seed.

    python tests/benchmarks/training.py --data exp/binary --out /tmp/race --rounds 3

Runs them by turns and prints target tokens per second (the first five updates left out), the
largest difference between the losses of any update, and the share that training reaches of the
machine's own speed in multiplying matrices. `--config` names the model; Transformer-Tiny of
recipes/multi30k unless given. `--processes 2` gives ours two processes, each with one of the two
batches of an update, where fairseq-train goes through both (update-freq 2).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from pipeline.parallel import cores
from train.child import ENVIRONMENT
from train.curves import parameters, parse_record
from train.fairseq import _devices, arguments

REPOSITORY = Path(__file__).resolve().parents[2]
PLAIN = (
    "import argparse, torch; torch.serialization.add_safe_globals([argparse.Namespace]);"
    "from fairseq_cli.train import cli_main; cli_main()"
)


def records(lines: list[str]) -> list[dict[str, Any]]:
    """Of training, one for each update."""
    parsed = (parse_record(line) for line in lines)
    return [record for kind, record in filter(None, parsed) if kind == "train_inner"]


def speed(found: list[dict[str, Any]]) -> float:
    """Target tokens per second, without the first five updates."""
    tokens = sum(record["wpb"] for record in found[5:])
    return float(tokens / sum(record["wpb"] / record["wps"] for record in found[5:]))


def run(command: list[str], environment: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Records of a training, and its whole log."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, text=True, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return records(done.stdout.split("\n")), done.stdout


def matmul_speed() -> float:
    """Floating-point operations per second in large products of matrices."""
    gpu = torch.cuda.is_available()
    size = 8192 if gpu else 2048
    a = torch.randn(size, size, device="cuda" if gpu else "cpu")
    times = []
    for _ in range(9):
        start = time.perf_counter()
        a @ a
        if gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / median(times))


def main() -> None:
    """Race, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    config = given.config or REPOSITORY / "recipes" / "multi30k" / "conf" / "paper.yaml"
    options = yaml.safe_load(config.read_text())["options"]
    options |= {
        "max-update": given.updates,
        "max-tokens": 4096,
        "update-freq": given.processes,
        "disable-validation": True,
    }
    for name in ("save-interval-updates", "patience"):
        options.pop(name, None)
    words = arguments(given.data, given.out, options, {"seed": 1})
    words = [w for w in words if not w.startswith(("--log-interval", "--tensorboard"))]
    words += ["--log-interval=1", "--no-save", "--save-dir=" + str(given.out)]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "fairseq.log").touch()
    settings = json.dumps({"out": str(given.out)})
    start, environment, more = [sys.executable, "-m"], dict(ENVIRONMENT), ["--update-freq=1"]
    if given.processes > 1:
        start += [
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={given.processes}",
            "-m",
        ]
        environment["OMP_NUM_THREADS"] = str(max(1, cores() // given.processes))
        devices = _devices(given.processes, "none").items()
        more += [f"--{name}" if value is True else f"--{name}={value}" for name, value in devices]
    start.append("train.fairseq_main")
    plain, ours = [], []
    for number in range(given.rounds):
        plain.append(run([sys.executable, "-c", PLAIN, *words], {})[0])
        found, log = run([*start, settings, *words, *more], environment)
        ours.append(found)
        print(f"round {number + 1}: plain {speed(plain[-1]):,.0f}, ours {speed(ours[-1]):,.0f} "
              "target tokens/s", flush=True)  # fmt: skip
    differences = [abs(a["loss"] / b["loss"] - 1) for a, b in zip(ours[0], plain[0], strict=True)]
    slow, fast = (median(speed(found) for found in side) for side in (plain, ours))
    print(f"medians: plain {slow:,.0f}, ours {fast:,.0f} target tokens/s: {fast / slow:.2f} times")
    print(
        f"losses of {len(differences)} updates: largest relative difference {max(differences):.1e}"
    )
    # A product and a sum for each parameter and token, once forward and twice backward.
    reached, possible = 6 * (parameters(log.split("\n")) or 0) * fast, matmul_speed()
    print(
        f"{reached / 1e9:.0f} GFLOP/s: {reached / possible:.0%} of what this machine reaches in "
        f"large products of matrices ({possible / 1e9:.0f})"
    )


if __name__ == "__main__":
    main()
