"""Train a fairseq model: progress, resuming, averaging and a record around fairseq-train."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch
from tqdm import tqdm

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.launch import start_child
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json
from pipeline.progress import on_terminal
from preprocess.bitext import languages
from preprocess.subword import DICTIONARY
from train.checkpoints import average, load, mend_last, numbered
from train.curves import parse_record, plot, read_curves
from train.fairseq_main import main as fairseq_main

CHECKPOINT, LOG, RESAMPLED = "checkpoint.pt", "fairseq.log", "resampled"

# Memory that was freed is kept for the next update and asked for in large pages: glibc otherwise
# gives it back to the kernel, which has to clear it each time. It saves a fifth of the time.
_MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:" \
          "glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456"  # fmt: skip

# What the wrapper relies on, so that a configuration may not change it.
_OURS = {
    "log-format": "json",
    "log-interval": "10",
    # Above 1, fairseq drops a last batch that is not a multiple of it, without a word.
    "required-batch-size-multiple": "1",
    "no-epoch-checkpoints": "",
    # Batches are read from mapped memory: a worker process would only take a core.
    "num-workers": "0",
    "no-progress-bar": "",
}


def arguments(
    data: Path, out: Path, options: dict[str, Any], seed: int, average_last: int
) -> list[str]:
    """The command line of fairseq-train for these settings.

    `options` are fairseq's own, by name without `--`; true stands for a flag, false and null
    leave it out. Raises RecipeError for an option that the wrapper sets itself.
    """
    src, tgt = languages(data)
    given = {name.replace("_", "-"): value for name, value in options.items()}
    ours = {
        **_OURS,
        "source-lang": src,
        "target-lang": tgt,
        "save-dir": str(out),
        "seed": str(seed),
        "keep-interval-updates": str(average_last),
    }
    if clash := sorted(given.keys() & ours.keys()):
        raise RecipeError(f"{clash[0]} is set by train.fairseq itself; take it out of the options")
    result = [str(data)]
    for name, value in [*given.items(), *ours.items()]:
        if value is True or value == "":
            result.append(f"--{name}")
        elif value is not None and value is not False:
            result.append(f"--{name}={value}")
    return result


def train(
    data: Path,
    out: Path,
    options: dict[str, Any],
    seed: int = 1,
    average_last: int = 3,
    subwords: Path | None = None,
    sampling: float = 0.0,
) -> None:
    """Train a model with fairseq and average its last checkpoints.

    Writes checkpoint.pt (the average, for decode.export), fairseq.log, train.json with the
    curves, and loss.png. Run again after a kill, it goes on from the last whole checkpoint.

    Example: python -m train.fairseq --data exp/binary --out exp/train
    --config recipes/quickstart/conf/train.yaml --seed 2 --options.max-update 400

    Args:
        data: directory that preprocess.binarise made.
        out: directory for the checkpoint and the record.
        options: options of fairseq-train, by name without the two dashes.
        seed: seed of the parameters, the order of the batches and dropout.
        average_last: number of checkpoints to average, each save-interval-updates apart.
        subwords: directory of preprocess.subword that `data` was made from, for `sampling`.
        sampling: cut train anew in every epoch; BPE-dropout's probability (0.1), or a unigram
            model's exponent (0.2). 0 trains on the same subwords in every epoch.

    """
    resample: list[str] = []
    if sampling:
        _check_sampling(data, subwords, options)
        resample = ["--resample", str(subwords), str(sampling), str(seed), str(out / RESAMPLED)]
    out.mkdir(parents=True, exist_ok=True)
    command_line = arguments(data, out, options, seed, average_last)
    if not (out / CHECKPOINT).exists():  # else an earlier run was killed while tidying up
        mend_last(out)
        _run(command_line, out, resample)
        _finish(out, options, seed, average_last, command_line)
    for path in [*out.glob("checkpoint_*.pt"), *out.glob("*.partial")]:
        path.unlink()
    shutil.rmtree(out / RESAMPLED, ignore_errors=True)
    # The log's times differ from run to run; what a later stage reads is the checkpoint.
    summary = read_curves(read_lines(out / LOG))
    last = list(summary.valid.values())[-1:] or [{}]
    note(
        out,
        seed=seed,
        options=options,
        average_last=average_last,
        sampling=sampling,
        updates=max(summary.train, default=0),
        dev_perplexity=last[0].get("valid_ppl"),
        target_tokens_per_second=_median_speed(summary.train.values()),
    )


def _check_sampling(data: Path, subwords: Path | None, options: dict[str, Any]) -> None:
    """Refuse to cut train anew with a model that the data was not made with."""
    if not subwords:
        raise RecipeError("sampling needs --subwords, the directory that the data was made from")
    for language in languages(data):
        path = data / f"dict.{language}.txt"
        if path.read_bytes() != (subwords / DICTIONARY).read_bytes():
            raise RecipeError(
                f"{path} and {subwords / DICTIONARY} differ; sampling needs the directory that "
                "the data was made from"
            )
    # Beyond one device fairseq starts processes that would not know of it.
    if torch.cuda.device_count() > 1 and options.get("distributed-world-size") != 1:
        raise RecipeError(
            "sampling works on one device; set CUDA_VISIBLE_DEVICES=0, or distributed-world-size: "
            "1 among the options"
        )


def _run(command_line: list[str], out: Path, resample: list[str]) -> None:
    environment = dict(os.environ)
    # A spinning thread takes the core that another process needs: speed falls to a third.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("GLIBC_TUNABLES", _MALLOC)
    # Named by an import, so that the stage depends on its code.
    full = [sys.executable, "-m", fairseq_main.__module__, *resample, *command_line]
    with open(out / LOG, "a", encoding="utf-8") as log:
        log.write(f"$ fairseq-train {shlex.join(command_line)}\n")
        with start_child(
            full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        ) as process:
            if process.stdout is not None:
                _follow(process.stdout, log, _maximum(command_line))
    if process.returncode:
        tail = [line for line in read_lines(out / LOG) if line.strip()][-5:]
        if tail[-1].startswith("error: "):
            raise RecipeError(tail[-1].removeprefix("error: "))
        raise RecipeError(
            f"fairseq-train ended with exit code {process.returncode}; "
            f"see {out / LOG}, which ends with:\n" + "\n".join(tail)
        )


def _maximum(command_line: list[str]) -> int | None:
    for argument in command_line:
        if argument.startswith("--max-update="):
            return int(argument.partition("=")[2])
    return None


def _follow(stream: IO[bytes], log: IO[str], total: int | None) -> None:
    """Copy fairseq's output to the log, and draw a progress bar from its records."""
    bar = tqdm(
        desc="training",
        unit=" updates",
        total=total,
        mininterval=0.5 if on_terminal() else 30,
        ascii=not on_terminal(),
    )
    shown: dict[str, str] = {}
    with bar:
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            log.write(line + "\n")
            log.flush()
            parsed = parse_record(line)
            if not parsed:
                continue
            kind, record = parsed
            if kind == "valid":
                shown["dev"] = f"{record['valid_nll_loss']:.2f}"
                continue
            shown = {
                "loss": f"{record['nll_loss']:.2f}",
                **({"dev": shown["dev"]} if "dev" in shown else {}),
                "tokens/s": f"{record['wps']:,.0f}",
            }
            done = int(record["num_updates"])
            if bar.n == 0 and done > 10:  # resumed: what was done before says nothing of speed
                bar.initial = done
                bar.last_print_n = bar.n = done
            bar.set_postfix(shown, refresh=False)
            bar.update(done - bar.n)


def _finish(
    out: Path, options: dict[str, Any], seed: int, average_last: int, command_line: list[str]
) -> None:
    curves = read_curves(read_lines(out / LOG))
    if not curves.train:
        raise RecipeError(f"training ended after no update at all; see {out / LOG}")
    newest = numbered(out)[-average_last:]
    if not newest:
        raise RecipeError(
            f"no checkpoint was saved in {max(curves.train)} updates; lower save-interval-updates"
        )
    write_json(
        out / "train.json",
        {
            "command": ["fairseq-train", *command_line],
            "options": options,
            "seed": seed,
            "averaged": [path.name for path in newest],
            "train": list(curves.train.values()),
            "valid": list(curves.valid.values()),
        },
    )
    plot(curves, out / "loss.png")
    average(newest, out / CHECKPOINT)
    updates = int(load(newest[-1])["optimizer_history"][-1]["num_updates"])
    print(f"{updates:,} updates; averaged the last {len(newest)} checkpoints")


def _median_speed(records: Iterable[dict[str, Any]]) -> int | None:
    speeds = sorted(record["wps"] for record in records if "wps" in record)
    return round(speeds[len(speeds) // 2]) if speeds else None


if __name__ == "__main__":
    command(train)
