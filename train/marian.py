"""Train a model with Marian, from the same subwords and with the same settings as train.fairseq."""

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import UNFINISHED, note, write_json
from pipeline.parallel import cores
from preprocess.binarise import read_dictionary
from preprocess.bitext import languages, refuse_mixed
from preprocess.subword import DICTIONARY
from train import marian_main
from train.checkpoints import is_whole
from train.child import run
from train.curves import Curves, Record, plot, read_curves
from train.marian_files import (
    CHECKPOINT,
    VOCABULARY,
    check_whole,
    of_dictionary,
    read_vocabulary,
    write_vocabulary,
)
from train.settings import refuse_changes
from train.trouble import DivergenceWatch, explain, last_run

LOG, MODEL = "marian.log", "model.npz"
SAFE, OLD = "safe", "safe.old"
# What Marian needs to go on: parameters, Adam's state, and its place in the text.
_STATE = (MODEL, MODEL + ".optimizer.npz", MODEL + ".progress.yml", MODEL + ".yml")

# fairseq's names of what both have.
_NAMES = {
    "encoder-layers": "enc-depth",
    "decoder-layers": "dec-depth",
    "encoder-embed-dim": "dim-emb",
    "encoder-ffn-embed-dim": "transformer-dim-ffn",
    "decoder-ffn-embed-dim": "transformer-decoder-dim-ffn",
    "encoder-attention-heads": "transformer-heads",
    "share-all-embeddings": "tied-embeddings-all",
    "dropout": "transformer-dropout",
    "attention-dropout": "transformer-dropout-attention",
    "activation-dropout": "transformer-dropout-ffn",
    "label-smoothing": "label-smoothing",
    "clip-norm": "clip-norm",
    "lr": "learn-rate",
    "warmup-updates": "lr-warmup",
    "warmup-init-lr": "lr-warmup-start-rate",
    "max-tokens": "mini-batch-words",
    "max-epoch": "after-epochs",
}
# These say what Marian does anyway, or are dealt with below.
_KNOWN = {"arch": "transformer", "criterion": "label_smoothed_cross_entropy", "optimizer": "adam"}
_SEEN = {*_KNOWN, "decoder-embed-dim", "decoder-attention-heads", "lr-scheduler", "adam-betas",
         "encoder-normalize-before", "decoder-normalize-before", "max-update", "update-freq",
         "save-interval-updates", "patience"}  # fmt: skip


def marian_options(options: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Marian's options for fairseq's, and then its own, which go first.

    Raises RecipeError, naming all of them, for options that Marian has no counterpart of.
    """
    given = {name.replace("_", "-"): value for name, value in options.items()}
    given = {name: value for name, value in given.items() if value is not None}
    problems = sorted(given.keys() - _NAMES.keys() - _SEEN)
    problems += [f"{name}: {given[name]}" for name, value in _KNOWN.items()
                 if given.get(name, value) != value]  # fmt: skip
    for side in ("embed-dim", "attention-heads"):
        pair = given.get(f"encoder-{side}"), given.get(f"decoder-{side}")
        if pair[0] != pair[1]:
            problems.append(f"a decoder-{side} of its own")
    scheduler = given.get("lr-scheduler", "fixed")
    if scheduler not in ("fixed", "inverse_sqrt"):
        problems.append(f"lr-scheduler: {scheduler}")
    if problems:
        raise RecipeError(
            f"Marian has no counterpart of {', '.join(problems)}; leave that out, and give "
            "Marian's own options under marian:"
        )
    # What fairseq does unless told, and Marian does not.
    result: dict[str, Any] = {"type": "transformer", "clip-norm": 0, "transformer-dropout": 0.1}
    result |= {_NAMES[name]: value for name, value in given.items() if name in _NAMES}
    if "max-tokens" in given:
        # Marian's own optimizer-delay left the words of an update as they were.
        result["mini-batch-words"] = given["max-tokens"] * given.get("update-freq", 1)
    before = bool(given.get("encoder-normalize-before"))
    result |= {
        "transformer-preprocess": "n" if before else "",
        "transformer-postprocess": "da" if before else "dan",
        "transformer-postprocess-top": "n" if before else "",
        # fairseq's; Marian's own is swish.
        "transformer-ffn-activation": "relu",
    }
    if scheduler == "inverse_sqrt":
        result["lr-decay-inv-sqrt"] = result["lr-warmup"] = given.get("warmup-updates", 4000)
    result["early-stopping"] = max(0, given.get("patience", 0))  # 0: never
    if betas := given.get("adam-betas"):
        result["optimizer-params"] = [float(beta) for beta in re.findall(r"[\d.]+", str(betas))]
    every = given.get("save-interval-updates", 1000)
    result |= {"save-freq": f"{every}u", "valid-freq": f"{every}u"}
    if given.get("max-update"):
        result["after"] = f"{int(given['max-update'])}u"
    return {**result, **own}


def parse_record(line: str) -> tuple[str, Record] | None:
    """(kind, record) of a line of Marian's log, in the form of fairseq's records.

    Marian reports the smoothed loss of training, in nats a subword; here it is in bits.
    """
    found = re.findall(r"(Ep\.|Up\.|Cost|Time|ce-mean-words) ?:? ([\d.,]+|-?nan|inf)", line)
    fields = {name: float(value.replace(",", "")) for name, value in found}
    speed = re.search(r"([\d.]+) words/s", line)
    if speed and "Cost" in fields:
        loss = fields["Cost"] / log(2)
        record = {"epoch": fields["Ep."], "num_updates": fields["Up."], "loss": loss,
                  "nll_loss": loss, "wps": float(speed[1]),
                  "seconds": fields.get("Time", 0.0)}  # fmt: skip
        return "train_inner", record
    if "[valid]" in line and "ce-mean-words" in fields:
        loss = fields["ce-mean-words"] / log(2)
        return "valid", {"valid_num_updates": fields["Up."], "valid_nll_loss": loss,
                         "valid_loss": loss, "valid_ppl": 2**loss}  # fmt: skip
    return None


def train(
    subwords: Path,
    out: Path,
    options: dict[str, Any],
    marian: dict[str, Any] | None = None,
    parent: Path | None = None,
    seed: int = 1,
    average_last: int = 3,
    cpu_threads: int | None = None,
    devices: list[int] | None = None,
) -> None:
    """Train a model with Marian and average its last checkpoints.

    Needs the extra `marian` (pip install -e '.[marian]'). Writes checkpoint.npz and vocab.yml for
    decode.export, marian.log, train.json with the curves, and loss.png. Run again after a kill,
    it goes on from the last whole checkpoint; SIGTERM and Ctrl-C save one first.

    Example: python -m train.marian --subwords exp/subword --out exp/train
    --config recipes/multi30k/conf/paper.yaml

    Args:
        subwords: directory that preprocess.subword made.
        out: directory for the checkpoint and the record.
        options: options by fairseq's names, as for train.fairseq.
        marian: Marian's own options, by name without the two dashes; they go first.
        parent: a checkpoint.npz to begin with, of a training with the same subwords, or of
            train.transfer; its optimiser, epochs and best score are not taken over.
        seed: seed of the parameters, the order of the batches and dropout.
        average_last: number of checkpoints to average, each save-interval-updates apart.
        cpu_threads: train on the CPU with so many threads, each with a part of the batch (default:
            all cores; 0 on a GPU).
        devices: numbers of the GPUs to use.

    """
    marian_main.check()
    settings = marian_options(options, marian or {})
    refuse_mixed(subwords)
    src, tgt = languages(subwords)
    words = read_dictionary(subwords / DICTIONARY)
    # Marian leaves out what is longer than max-length, 50 unless told, without counting it.
    longest = max(
        len(line.split(" "))
        for code in (src, tgt)
        for line in read_lines(subwords / f"train.{code}")
    )
    ours: dict[str, Any] = {
        "model": str(out / MODEL),
        "train-sets": [str(subwords / f"train.{code}") for code in (src, tgt)],
        "valid-sets": [str(subwords / f"dev.{code}") for code in (src, tgt)],
        "vocabs": [str(out / VOCABULARY)] * 2,
        "dim-vocabs": [len(words) - 2] * 2,
        "max-length": longest + 1,
        "seed": seed,
        "disp-freq": "10u",
        "cost-type": "ce-mean-words",
        "valid-metrics": ["ce-mean-words"],
        "sync-sgd": True,
        "quiet-validation": True,
        "shuffle-in-ram": True,
    }
    if parent:
        _check_parent(parent, of_dictionary(words), subwords)
        ours["pretrained-model"] = str(parent)
    if devices:
        ours["devices"] = devices
    else:
        ours["cpu-threads"] = cores() if cpu_threads is None else cpu_threads
    if clash := sorted(settings.keys() & ours.keys()):
        raise RecipeError(f"{clash[0]} is set by train.marian itself; take it out of marian:")
    if average_last < 1:
        raise RecipeError("average_last is at least 1, for no averaging")
    out.mkdir(parents=True, exist_ok=True)
    configuration = {**settings, **ours}
    # Another machine may have other cores.
    compared = {**configuration, "cpu-threads": cpu_threads}
    begun = any((out / name).exists() for name in (SAFE, OLD, CHECKPOINT))
    refuse_changes(out, compared, begun)
    if not begun:  # what a failed one left, of other settings perhaps
        for path in (out / LOG, *out.glob("model.*")):
            path.unlink(missing_ok=True)
    if (out / CHECKPOINT).exists():
        print(f"{out / CHECKPOINT} is there already; delete the directory to train anew")
    else:
        _restore(out)
        (out / UNFINISHED).unlink(missing_ok=True)
        write_vocabulary(of_dictionary(words), out / VOCABULARY)
        stopped = _run(configuration, out, len(words), average_last)
        curves = read_curves(read_lines(out / LOG), parse_record)
        if stopped:
            write_json(out / UNFINISHED, {"updates": max(curves.train, default=0)})
            print(f"stopped when told to, after {max(curves.train, default=0):,} updates; "
                  "run it again to go on")  # fmt: skip
            return
        _finish(out, configuration, curves, average_last)
    for path in out.glob("model.*"):
        path.unlink()
    for path in out.glob(SAFE + "*"):
        shutil.rmtree(path)
    curves = read_curves(read_lines(out / LOG), parse_record)
    speeds = sorted(record["wps"] for record in curves.train.values())
    note(
        out,
        seed=seed,
        options=options,
        marian=marian,
        parent=parent and str(parent),
        average_last=average_last,
        parameters=_parameters(out / CHECKPOINT),
        device=f"GPU {', '.join(map(str, devices))}" if devices else "CPU",
        updates=max(curves.train, default=0),
        training_minutes=round(sum(r["seconds"] for r in curves.train.values()) / 60, 2),
        target_tokens_per_second=round(speeds[len(speeds) // 2]) if speeds else None,
    )


def _parameters(model: Path) -> int:
    with np.load(model, allow_pickle=False) as arrays:
        return sum(arrays[name].size for name in arrays.files
                   if not name.startswith("special:") and name != "Wpos")  # fmt: skip


def _check_parent(parent: Path, entries: list[str], subwords: Path) -> None:
    """Refuse a parent with other subwords, or in another order: it would load without a word."""
    check_whole(parent)
    if read_vocabulary(parent.with_name(VOCABULARY)) != entries:
        raise RecipeError(
            f"{parent.with_name(VOCABULARY)} and the subword model in {subwords} hold different "
            "subwords; cut the text with the parent's (preprocess.subword --model), or make a "
            "first checkpoint with train.transfer"
        )


def _restore(out: Path) -> None:
    """Go back to the last state that was saved as a whole, if a kill came while saving.

    Marian writes its files one after the other, over the old ones.
    """
    safe = next((path for path in (out / SAFE, out / OLD) if path.exists()), out / SAFE)
    for name in _STATE:
        (out / name).unlink(missing_ok=True)
        if (safe / name).exists():
            shutil.copyfile(safe / name, out / name)


def _keep(out: Path, average_last: int) -> None:
    """Put aside the state that Marian has just saved, and delete models that nothing needs."""
    for path in _saved(out)[:-average_last]:
        path.unlink()
    partial, safe, old = out / (SAFE + ".partial"), out / SAFE, out / OLD
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in _STATE:
        if (out / name).exists():
            shutil.copyfile(out / name, partial / name)
    if safe.exists():
        shutil.rmtree(old, ignore_errors=True)
        safe.rename(old)  # one of the two is always there
    partial.rename(safe)


def _run(configuration: dict[str, Any], out: Path, words: int, average_last: int) -> bool:
    """Run Marian; whether it was told to stop before its end."""
    (out / "marian.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    environment = {"OMP_NUM_THREADS": "1"}  # its own threads take the cores
    full = [sys.executable, "-m", marian_main.__name__, "--config", str(out / "marian.yml")]
    with open(out / LOG, "a", encoding="utf-8") as log_file:
        log_file.write(f"$ {shlex.join(['marian', *full[3:]])}\n")

    # Its state is whole once it goes on to the next update or to dev.
    saving = False

    def parse(line: str) -> tuple[str, Record] | None:
        nonlocal saving
        parsed = parse_record(line)
        if "Saving Adam parameters" in line:
            saving = True
        elif saving and parsed:
            saving = False
            _keep(out, average_last)
        return parsed

    total = configuration.get("after")
    updates = int(total[:-1]) if total and str(total).endswith("u") else None
    code, signals = run(full, out / LOG, environment, parse, updates, DivergenceWatch(words))
    tail = last_run(out / LOG)
    # Told to stop before it listened, it ends by the signal itself.
    if code not in (0, 128 + signal.SIGTERM) and not (signals and code == -signal.SIGTERM):
        if cause := explain(tail[-50:], code):
            raise RecipeError(f"{cause} (log: {out / LOG})")
        said = [line.partition("Error: ")[2] for line in tail if "Error: " in line] or tail[-1:]
        raise RecipeError(f"Marian ended with exit code {code}: {said[0]} (log: {out / LOG})")
    if saving:
        _keep(out, average_last)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    return not any("Training finished" in line for line in tail)


def _finish(out: Path, configuration: dict[str, Any], curves: Curves, average_last: int) -> None:
    if not curves.train:
        raise RecipeError(f"training ended after no update at all; see {out / LOG}")
    chosen = _saved(out)[-average_last:] or [out / MODEL]
    write_json(
        out / "train.json",
        {
            "options": configuration,
            "averaged": [path.name for path in chosen],
            "train": list(curves.train.values()),
            "valid": list(curves.valid.values()),
        },
    )
    plot(curves, out / "loss.png")
    average(chosen, out / CHECKPOINT)
    print(f"{max(curves.train):,} updates; averaged the last {len(chosen)} checkpoints")


def _saved(out: Path) -> list[Path]:
    """Whole models of single updates, in the order of training."""
    found = [
        (int(match[1]), path)
        for path in out.glob("model.iter*.npz")
        if (match := re.fullmatch(r"model\.iter(\d+)\.npz", path.name)) and is_whole(path)
    ]
    return [path for _, path in sorted(found)]


def average(paths: Sequence[Path], out: Path) -> None:
    """Write a model with the mean of the parameters of several, summed in float64.

    And with Marian's table of positions: CTranslate2 would make one with other wavelengths, which
    in a narrow model changes half of the translations.
    """
    total: dict[str, Any] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as model:
            for name in model.files:
                value = model[name]
                if name.startswith("special:"):
                    # Text, filled up with NULs, of which CTranslate2 expects one.
                    total[name] = np.append(np.trim_zeros(value, "b"), np.zeros(1, value.dtype))
                else:
                    total[name] = total.get(name, 0.0) + value.astype(np.float64)
    mean = {
        name: value if name.startswith("special:") else (value / len(paths)).astype(np.float32)
        for name, value in total.items()
    }
    embedding = next(value for name, value in mean.items() if name.endswith("Wemb"))
    mean.setdefault("Wpos", _positions(embedding.shape[1]))
    partial = out.with_name(out.name + ".partial")
    with open(partial, "wb") as file:
        np.savez(file, **mean)
    os.replace(partial, out)


def _positions(dimensions: int, count: int = 2048) -> Any:
    """Sines and cosines of positions as Marian (and tensor2tensor) computes them."""
    scales = np.exp(np.arange(dimensions // 2) * -log(10_000) / (dimensions // 2 - 1))
    angles = np.arange(count)[:, None] * scales
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


if __name__ == "__main__":
    command(train)
