"""Train a model with fairseq: progress, resuming, averaging and a record around fairseq-train."""

import json
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import UNFINISHED, note, write_json
from pipeline.parallel import cores
from preprocess.binarise import read_dictionary
from preprocess.bitext import PAIRS, languages
from preprocess.codec import Codec
from preprocess.subword import DICTIONARY
from train import multilingual, presets
from train.checkpoints import (
    LAST,
    average,
    best,
    keep_last,
    mend_last,
    numbered,
    updates_of,
)
from train.child import TORCHRUN, run
from train.curves import parameters, parse_record, plot, read_curves
from train.data import check_data, check_parent, number_of_pairs
from train.fairseq_main import main as fairseq_main
from train.multilingual import Share
from train.resample import require_sampling
from train.settings import refuse_changes
from train.stopping import LOG, unfinished
from train.trouble import DivergenceWatch, explain, last_run

CHECKPOINT, RECORD, RESAMPLED, TRAINED = "checkpoint.pt", "train.json", "resampled", "trained"
# What fairseq says when patience ends a training.
_EARLY = "early stop since"

# What the wrapper relies on, so that a configuration may not change it.
_OURS = {
    "log-format": "json",
    "log-interval": "10",
    # Above 1, fairseq drops a last batch that is not a multiple of it, without a word.
    "required-batch-size-multiple": "1",
    # Batches are read from mapped memory: a worker process would only take a core.
    "num-workers": "0",
    "no-progress-bar": "",
}


def arguments(data: Path, out: Path, options: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """The command line of fairseq-train for these settings.

    `options` are fairseq's own, by name without `--`; true stands for a flag, false and null
    leave it out. `ours` are those that the wrapper sets. Raises RecipeError for an option in both.
    """
    src, tgt = languages(data)
    given = {name.replace("_", "-"): value for name, value in options.items()}
    fixed = {**_OURS, "source-lang": src, "target-lang": tgt, "save-dir": str(out),
             "tensorboard-logdir": str(out / "tensorboard"), **ours}  # fmt: skip
    if clash := sorted(given.keys() & fixed.keys()):
        raise RecipeError(f"{clash[0]} is set by train.fairseq itself; take it out of the options")
    result = [str(data)]
    for name, value in [*given.items(), *fixed.items()]:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # as YAML reads 1e4, which fairseq-train takes for no whole number
        if value is True or value == "":
            result.append(f"--{name}")
        elif value is not None and value is not False:
            result.append(f"--{name}={value}")
    return result


def train(
    data: Path,
    out: Path,
    options: dict[str, Any] | None = None,
    preset: presets.Name | None = None,
    seed: int = 1,
    average_last: int | None = None,
    average_best: int = 0,
    stop_on: Literal["loss", "bleu", "chrf"] = "loss",
    minutes: float | None = None,
    subwords: Path | None = None,
    sampling: float = 0.0,
    freeze: list[str] | None = None,
    share: Share = "all",
    adversarial: float = 0.0,
    amp: Literal["none", "tf32", "bf16", "fp16"] = "none",
    processes: int | None = None,
    cpu_threads: int | None = None,
) -> None:
    """Train a model with fairseq and average some of its checkpoints.

    Writes checkpoint.pt (the average, for decode.export), fairseq.log, train.json with the
    curves, loss.png, and tensorboard/. Run again after a kill, it goes on from the last whole
    checkpoint. SIGTERM, SIGUSR1 and Ctrl-C end it after the update it is at, with a checkpoint.

    Example: python -m train.fairseq --data exp/binary --out exp/train
    --config recipes/quickstart/conf/train.yaml --seed 2 --options.max-update 400

    Args:
        data: directory that preprocess.binarise made.
        out: directory for the checkpoint and the record.
        options: options of fairseq-train, by name without the two dashes; they go before those of
            the preset.
        preset: settings from the literature for so much text (train/presets); chosen by the
            number of pairs if neither this nor options are given.
        seed: seed of the parameters, the order of the batches and dropout.
        average_last: number of checkpoints to average, save-interval-updates apart, or if that is
            not given, an epoch (default: the preset's, or else 3).
        average_best: average as many checkpoints with the best dev score instead.
        stop_on: what patience waits for, and average_best goes by: dev loss, or BLEU or chrF of
            dev, detokenised (greedy search; needs --subwords).
        minutes: end after so much time in training, as well as after max-update.
        subwords: directory of preprocess.subword that `data` was made from, for `sampling` and
            `stop_on`.
        sampling: cut train anew in every epoch; BPE-dropout's probability (0.1), or a unigram
            model's exponent (0.2). 0 trains on the same subwords in every epoch.
        freeze: beginnings of names of parameters that keep the values they begin with, such as
            encoder.embed_tokens, encoder.layers.0 or decoder (with finetune-from-model).
        share: what languages share, where preprocess.mix mixed several: all; the encoder, with a
            decoder for each target language; the decoder, with an encoder for each source
            language; or the embeddings alone.
        adversarial: weight with which the encoder learns to hide the source language from a
            discriminator; it rises from 0 during the training (Ganin et al. 2016). Begin with 0.1.
        amp: number format for a GPU, for more speed: tf32 rounds the factors of products to 10
            bits; bf16 and fp16 take half as much memory as well.
        processes: on so many GPUs, or in so many processes on the CPU (default: every GPU, or 1).
        cpu_threads: threads of each process on the CPU (default: one for each core, shared out).

    """
    if options is None or preset:
        preset = preset or presets.for_pairs(number_of_pairs(data))
        base = presets.load(preset)
        options = {**base.pop("options"), **(options or {})}
        average_last = base.get("average_last") if average_last is None else average_last
        print(f"preset {preset}: {presets.describe(preset)}")
    average_last = 3 if average_last is None else average_last
    if average_last < 1 or average_best < 0:
        raise RecipeError(
            "average_last is at least 1, for no averaging, and average_best at least 0"
        )
    processes = processes or max(1, torch.cuda.device_count())
    check_data(data)
    check_parent(data, options, plain=share == "all" and not adversarial)
    settings: dict[str, Any] = {
        "out": str(out), "cpu_threads": cpu_threads, "freeze": freeze, "tf32": amp == "tf32"
    }  # fmt: skip
    if share != "all" or adversarial:
        whole = multilingual.check(data, options, adversarial)
        if processes > 1:
            raise RecipeError("share and adversarial are for a single process: --processes 1")
        settings["multilingual"] = [str(data), share, adversarial, whole, options["arch"]]
    if sampling or stop_on != "loss":
        _check_subwords(data, subwords, sampling)
    if sampling:
        settings["resample"] = [str(subwords), sampling, seed, str(out / RESAMPLED)]
    ours = {"seed": seed, **_devices(processes, amp)}
    every = int(options.get("save-interval-updates") or options.get("save_interval_updates") or 0)
    if every:
        ours |= {"keep-interval-updates": average_last, "no-epoch-checkpoints": True}
    else:
        ours["keep-last-epochs"] = average_last
    if minutes:
        ours["stop-time-hours"] = minutes / 60
    if stop_on != "loss":
        settings["dev_score"] = {"subwords": str(subwords), "data": str(data), "metric": stop_on}
        ours |= {"best-checkpoint-metric": stop_on, "maximize-best-checkpoint-metric": True}
    if average_best:
        ours["keep-best-checkpoints"] = average_best
    command_line = arguments(data, out, options, ours)
    out.mkdir(parents=True, exist_ok=True)
    begun = any(out.glob("checkpoint*.pt"))
    text = " ".join(f"{path.name}:{path.stat().st_size}" for path in sorted(data.glob("train.*")))
    refuse_changes(
        out,
        {**options, **ours, "sampling": sampling, "freeze": freeze, "data": text,
         "share": share, "adversarial": adversarial, "amp": amp},
        begun,
    )  # fmt: skip
    if (out / CHECKPOINT).exists():
        print(f"{out / CHECKPOINT} is there already; delete the directory to train anew")
    else:
        (out / UNFINISHED).unlink(missing_ok=True)
        if not begun:  # what a failed one left, of other settings perhaps
            (out / LOG).unlink(missing_ok=True)
        mend_last(out)
        keep_last(out, every)  # killed between fairseq's copy of it and ours
        for side, language in zip(("encoder", "decoder"), languages(data), strict=True):
            shutil.copyfile(data / f"dict.{language}.txt", out / f"dict.{side}.txt")
        if (data / f"train{PAIRS}").exists():
            write_json(out / multilingual.PAIRS_OF, multilingual.directions(data))
        if not ((out / TRAINED).exists() or _ended(out, command_line)):
            _run(data, out, command_line, settings, processes, cpu_threads)
        if (updates := unfinished(out)) is not None:
            print(f"stopped when told to, after {updates:,} updates; run it again to go on")
            return
        (out / TRAINED).touch()
        _finish(out, options, seed, average_last, average_best, command_line)
    for pattern in (
        "checkpoint[_0-9]*.pt",
        "checkpoint.best_*.pt",
        "crash.pt",
        "*.pt.tmp",
        "*.partial",
        TRAINED,
    ):
        for path in out.glob(pattern):
            path.unlink()
    shutil.rmtree(out / RESAMPLED, ignore_errors=True)
    # The log's times differ from run to run; what a later stage reads is the checkpoint.
    summary = read_curves(read_lines(out / LOG))
    # Of a directory of an earlier version, what the log tells, which is of every tenth.
    updates = json.loads((out / RECORD).read_text(encoding="utf-8")).get(
        "updates", max(summary.train, default=0)
    )
    last = list(summary.valid.values())[-1:] or [{}]
    note(
        out,
        seed=seed,
        preset=preset,
        options=options,
        average_last=average_last,
        average_best=average_best,
        stop_on=stop_on,
        sampling=sampling,
        freeze=freeze,
        share=share,
        adversarial=adversarial,
        amp=amp,
        parameters=parameters(read_lines(out / LOG)),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        updates=updates,
        dev_perplexity=last[0].get("valid_ppl"),
        target_tokens_per_second=_median_speed(summary.train.values()),
        training_minutes=round(summary.seconds / 60, 2),
    )


def _devices(processes: int, amp: str) -> dict[str, Any]:
    """Options of fairseq-train for so many processes and a number format."""
    gpus = torch.cuda.device_count()
    if amp != "none" and not gpus:
        raise RecipeError(f"amp={amp} is for GPUs, and there is none; leave it out")
    if gpus and processes > gpus:
        raise RecipeError(f"{processes} processes need as many GPUs, and there are {gpus}")
    options: dict[str, Any] = {amp: True} if amp in ("bf16", "fp16") else {}
    if processes > 1:
        options |= {
            "distributed-world-size": processes,
            "distributed-init-method": "env://",
            "distributed-no-spawn": True,
            "distributed-backend": "nccl" if gpus else "gloo",
            "ddp-backend": "pytorch_ddp" if gpus else "legacy_ddp",
        }
    elif gpus:
        options["distributed-world-size"] = 1
    return options


def _check_subwords(data: Path, subwords: Path | None, sampling: float) -> None:
    """Refuse a directory that the data was not made from, and what its model cannot sample."""
    if not subwords:
        raise RecipeError(
            "sampling and stop_on need --subwords, the directory that the data was made from"
        )
    src, tgt = languages(data)
    another = (
        f"{data} was not made from {subwords}, whose training text is another; give the "
        "directory that preprocess.binarise was given"
    )
    if languages(subwords) != (src, tgt):
        raise RecipeError(another)
    for language in (src, tgt):
        path = data / f"dict.{language}.txt"
        if path.read_bytes() != (subwords / DICTIONARY).read_bytes():
            raise RecipeError(
                f"{path} and {subwords / DICTIONARY} differ; give the directory that the data was "
                "made from as --subwords"
            )
    if not sampling:
        return
    if not 0 < sampling <= 1:
        raise RecipeError(f"sampling is above 0 and at most 1, not {sampling}")
    require_sampling(Codec(subwords), subwords)
    names = [
        path.read_bytes() if path.exists() else None
        for path in (data / f"train{PAIRS}", subwords / f"train{PAIRS}")
    ]
    if (
        sum(1 for _ in read_lines(subwords / f"train.{src}")) != number_of_pairs(data)
        or names[0] != names[1]
    ):
        raise RecipeError(another)


def _run(
    data: Path,
    out: Path,
    command_line: list[str],
    settings: dict[str, Any],
    processes: int,
    cpu_threads: int | None,
) -> None:
    environment = {}
    if cpu_threads or processes > 1:
        environment["OMP_NUM_THREADS"] = str(cpu_threads or max(1, cores() // processes))
    start = [sys.executable, "-m"]
    if processes > 1:
        start += [*TORCHRUN, f"--nproc-per-node={processes}", "-m"]
    # Named by an import, so that the stage depends on its code.
    full = [*start, fairseq_main.__module__, json.dumps(settings), *command_line]
    with open(out / LOG, "a", encoding="utf-8") as log:
        log.write(f"$ fairseq-train {shlex.join(command_line)}\n")
    _, target = languages(data)
    watch = DivergenceWatch(len(read_dictionary(data / f"dict.{target}.txt")))
    code, signals = run(full, out / LOG, environment, parse_record, _maximum(command_line), watch)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    if signals and code == -signal.SIGTERM:  # before it listened
        last = out / LAST
        write_json(out / UNFINISHED, {"updates": updates_of(last) if last.exists() else 0})
    elif code and unfinished(out) is None:
        tail = last_run(out / LOG)[-200:]
        if cause := explain(tail, code):
            raise RecipeError(f"{cause} (log: {out / LOG})")
        raise RecipeError(
            f"fairseq-train ended with exit code {code}; "
            f"see {out / LOG}, which ends with:\n" + "\n".join(tail[-5:])
        )


def _ended(out: Path, command_line: list[str]) -> bool:
    """Whether it was killed after its last checkpoint, and fairseq would make more updates."""
    if not (out / LAST).exists():
        return False
    maximum, updates = _maximum(command_line), updates_of(out / LAST)
    if maximum is not None and updates >= maximum:
        return True
    # Its patience may have ended before what it says of that was in a checkpoint.
    early = any(_EARLY in line for line in last_run(out / LOG))
    return early and updates >= max(read_curves(read_lines(out / LOG)).valid)


def _maximum(command_line: list[str]) -> int | None:
    for argument in command_line:
        if argument.startswith("--max-update="):
            return int(argument.partition("=")[2])
    return None


def _finish(
    out: Path,
    options: dict[str, Any],
    seed: int,
    average_last: int,
    average_best: int,
    command_line: list[str],
) -> None:
    curves = read_curves(read_lines(out / LOG))
    last = out / LAST
    if not curves.train and not last.exists():
        raise RecipeError(f"training ended after no update at all; see {out / LOG}")
    chosen = best(out, maximise="--maximize-best-checkpoint-metric" in command_line)
    chosen = chosen[:average_best] if average_best else numbered(out)[-average_last:]
    if not chosen and last.exists():  # a budget that ended before the first interval
        chosen = [last]
    if not chosen:
        raise RecipeError(
            f"no checkpoint was saved in {max(curves.train)} updates; see {out / LOG}"
        )
    updates = max(updates_of(path) for path in [*chosen, *([last] if last.exists() else [])])
    write_json(
        out / RECORD,
        {
            "updates": updates,
            "command": ["fairseq-train", *command_line],
            "options": options,
            "seed": seed,
            "averaged": [path.name for path in chosen],
            "train": list(curves.train.values()),
            "valid": list(curves.valid.values()),
        },
    )
    plot(curves, out / "loss.png")
    average(chosen, out / CHECKPOINT)
    kind = "best" if average_best else "last"
    print(f"{updates:,} updates; averaged the {kind} {len(chosen)} checkpoints")


def _median_speed(records: Iterable[dict[str, Any]]) -> int | None:
    speeds = sorted(record["wps"] for record in records if "wps" in record)
    return round(speeds[len(speeds) // 2]) if speeds else None


if __name__ == "__main__":
    command(train)
