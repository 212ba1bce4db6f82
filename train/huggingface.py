"""Fine-tune a pretrained model of Hugging Face on a bitext."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import UNFINISHED, note, write_json
from pipeline.parallel import cores
from preprocess.bitext import languages, refuse_mixed
from preprocess.tokenise import TOKENISATION
from train import huggingface_main
from train.child import TORCHRUN, run
from train.curves import parse_record, plot, read_curves
from train.hub import config_of, first_gpu, identity
from train.settings import refuse_changes
from train.stopping import unfinished
from train.trouble import DivergenceWatch, explain, last_run

LOG = "huggingface.log"
# Of the settings that advice speaks of.
_NAMES = {"max-tokens": "batch-size", "update-freq": "accumulate", "fairseq-train": "the training"}


def finetune(
    bitext: Path,
    model: str,
    out: Path,
    updates: int = 1000,
    learning_rate: float = 5e-5,
    warmup: int = 0,
    batch_size: int = 16,
    accumulate: int = 1,
    max_length: int = 256,
    evaluate_every: int = 200,
    patience: int = 5,
    lora: int = 0,
    trim: bool = False,
    new_language: str | None = None,
    new_language_like: list[str] | None = None,
    prefix: str | None = None,
    optimizer: Literal["adam", "adafactor"] = "adam",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    seed: int = 1,
    processes: int | None = None,
    cpu_threads: int | None = None,
) -> None:
    """Fine-tune a T5, mT5, ByT5, MarianMT, mBART-50, M2M-100, NLLB or a pair of BERTs.

    Writes model/, with translation.json for decode.huggingface, huggingface.log, train.json with
    the curves, and loss.png. The model is the one with the best chrF of dev (its first 500 lines,
    greedy search), or the lowest loss where it fills gaps. Run again after a kill, it goes on from
    the last whole checkpoint. SIGTERM, SIGUSR1 and Ctrl-C end it after the update it is at, with a
    checkpoint.

    Example: python -m train.huggingface --bitext exp/clean --model facebook/nllb-200-distilled-600M
    --out exp/train-1 --updates 2000 --trim true

    Args:
        bitext: directory of preprocess.clean, or of preprocess.denoise for pretraining.
        model: directory of a model, which needs no network, or its name on the hub.
        out: directory for the model and the record.
        updates: steps of the optimiser, whose rate falls linearly.
        learning_rate: its highest rate.
        warmup: updates until it is reached.
        batch_size: pairs in a batch, on each GPU or process, of about the same length.
        accumulate: batches in an update.
        max_length: longer pairs (tokens of a side) are left out of train, and counted.
        evaluate_every: updates between two looks at dev, each with a checkpoint.
        patience: end after so many looks without a better chrF; 0 never does.
        lora: rank of low-rank updates of the attention, all else staying as it is (Hu et al. 2022);
            0 trains everything.
        trim: leave out subwords that the training text does not have.
        new_language: source or target code that the model does not know, such as ach_Latn; it gets
            a token.
        new_language_like: the new token begins as the mean of these languages' (default: all).
        prefix: put before each source in the place of "translate Spanish to Galician: ".
        optimizer: adam; or adafactor, with which T5s were trained: its rate is relative to the size
            of each parameter (Shazeer & Stern 2018; from random weights, begin with 0.02). What
            begins at zero, as LoRA does, moves slowly by it.
        precision: number format of a GPU's products; fp16 overflows in T5s.
        seed: seed of the order of batches, dropout and LoRA.
        processes: on so many GPUs, or in so many processes on the CPU (default: every GPU, or 1).
        cpu_threads: threads of each process on the CPU (default: one for each core, shared out).

    """
    settings = {**locals(), "bitext": str(bitext), "out": str(out)}
    _check(bitext, model, settings)
    processes = processes or max(1, torch.cuda.device_count())
    settings |= {"pretrained": identity(model), "log_every": min(10, updates)}
    out.mkdir(parents=True, exist_ok=True)
    names = [f"{name}.{side}" for name in ("train", "dev") for side in languages(bitext)]
    text = " ".join(f"{name}:{(bitext / name).stat().st_size}" for name in names)
    kept = {name: value for name, value in settings.items()
            if name not in ("out", "bitext", "cpu_threads")}  # fmt: skip
    if Path(model).is_dir():  # which may have been moved
        kept |= {"model": "a directory", "pretrained": settings["pretrained"].rpartition(" ")[2]}
    begun = huggingface_main.last_whole(out) is not None or (out / huggingface_main.MODEL).exists()
    refuse_changes(out, {**kept, "processes": processes, "text": text}, begun)
    if (out / huggingface_main.MODEL).exists():
        print(f"{out / huggingface_main.MODEL} is there already; delete {out} to train anew")
    else:
        (out / UNFINISHED).unlink(missing_ok=True)
        if not begun:  # what a failed one left, of other settings perhaps
            (out / LOG).unlink(missing_ok=True)
        for half in (out / huggingface_main.CHECKPOINTS).glob("checkpoint-*"):
            if not (half / huggingface_main.WHOLE).exists():
                shutil.rmtree(half)
        if last := huggingface_main.last_whole(out):
            huggingface_main.mend(last)
        _run(out, settings, processes, cpu_threads)
        if (done := unfinished(out)) is not None:
            print(f"stopped when told to, after {done:,} updates; run it again to go on")
            return
    shutil.rmtree(out / huggingface_main.CHECKPOINTS, ignore_errors=True)
    _record(out, settings)


def _check(bitext: Path, model: str, settings: dict[str, Any]) -> None:
    """Refuse what cannot go well. Raises RecipeError."""
    refuse_mixed(bitext)
    if (bitext / TOKENISATION).exists():
        raise RecipeError(
            f"{bitext} is tokenised, and a pretrained model has a tokeniser of its own; take the "
            "directory that it was made from"
        )
    for name in ("train", "dev"):
        for language in languages(bitext):
            if not (bitext / f"{name}.{language}").exists():
                raise RecipeError(f"{bitext} has no {name}.{language}; make it by preprocess.clean")
    for name in ("updates", "batch_size", "accumulate", "max_length", "evaluate_every"):
        if settings[name] < 1:
            raise RecipeError(
                f"--{name.replace('_', '-')} is {settings[name]}; it must be 1 or more"
            )
    if settings["new_language"] and settings["new_language"] not in languages(bitext):
        raise RecipeError(
            f"--new-language {settings['new_language']} is neither of the languages of {bitext}, "
            + " and ".join(languages(bitext))
        )
    if settings["new_language_like"] and not settings["new_language"]:
        raise RecipeError("--new-language-like says what --new-language is like, which is missing")
    if settings["new_language"] and settings["lora"]:
        raise RecipeError("--lora leaves embeddings as they are, so a new language needs --lora 0")
    if settings["precision"] == "fp32":
        return
    if not torch.cuda.is_available():
        raise RecipeError(
            f"--precision {settings['precision']} is for GPUs, and there is none; on a CPU it is "
            "slower: take fp32"
        )
    refuse_fp16(model, settings["precision"])


def refuse_fp16(model: str, precision: str) -> None:
    """Raise RecipeError for a T5 in fp16: its activations overflow, and the loss becomes NaN."""
    config = config_of(model)
    if precision == "fp16" and config.model_type in ("t5", "mt5", "umt5"):
        raise RecipeError(
            f"{model} is of the T5 family, whose activations overflow in fp16; take bf16 or fp32"
        )


def _run(out: Path, settings: dict[str, Any], processes: int, cpu_threads: int | None) -> None:
    environment = {"HF_HUB_DISABLE_TELEMETRY": "1"}
    if Path(settings["model"]).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    if cpu_threads or processes > 1:
        environment["OMP_NUM_THREADS"] = str(cpu_threads or max(1, cores() // processes))
    start = [sys.executable, "-m"]
    if processes == 1:
        environment["CUDA_VISIBLE_DEVICES"] = first_gpu()
    else:
        start += [*TORCHRUN, f"--nproc-per-node={processes}", "-m"]
    with open(out / LOG, "a", encoding="utf-8") as log:
        log.write(f"$ train.huggingface {json.dumps(settings)}\n")
    # Named by an import, so that the stage depends on its code.
    full = [*start, huggingface_main.main.__module__, json.dumps(settings)]
    # The child itself ends when a loss is no number; here no loss is too high.
    watch = DivergenceWatch(2**64)
    code, signals = run(full, out / LOG, environment, parse_record, settings["updates"], watch)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    if signals and code == -signal.SIGTERM:  # before it listened
        last = huggingface_main.last_whole(out)
        done = int(last.name.rpartition("-")[2]) if last else 0
        write_json(out / UNFINISHED, {"updates": done})
    elif code and unfinished(out) is None:
        tail = last_run(out / LOG)[-200:]
        if cause := explain(tail, code):
            for fairseq, ours in _NAMES.items():
                cause = cause.replace(fairseq, ours)
            raise RecipeError(f"{cause} (log: {out / LOG})")
        raise RecipeError(
            f"training ended with exit code {code}; see {out / LOG}, which ends with:\n"
            + "\n".join(tail[-5:])
        )


def _record(out: Path, settings: dict[str, Any]) -> None:
    """Write the curves and facts of a finished training. Raises RecipeError if there was none."""
    curves = read_curves(read_lines(out / LOG))
    if not curves.train or not curves.valid:
        raise RecipeError(f"training ended after no update at all; see {out / LOG}")
    prepared = json.loads((out / "prepared.json").read_text(encoding="utf-8"))
    of_dev = list(curves.valid.values())
    if huggingface_main.by_loss(settings):
        best = min(of_dev, key=lambda record: record["valid_loss"])
        reached = f"loss {best['valid_loss']:.2f} nats a token"
    else:
        best = max(of_dev, key=lambda record: record["valid_chrf"])
        reached = f"chrF {best['valid_chrf']:.1f}"
    said = {name: settings[name] for name in ("model", "learning_rate", "warmup", "batch_size",
            "accumulate", "lora", "optimizer", "precision", "seed")}  # fmt: skip
    records = {"train": list(curves.train.values()), "valid": list(curves.valid.values())}
    write_json(out / "train.json", {"settings": said, "best": best, **records})
    plot(curves, out / "loss.png")
    done = max(curves.train)
    print(f"{done:,} updates; best dev {reached} after {best['valid_num_updates']:,.0f}")
    for what, count in prepared["train_dropped"].items():
        if count:
            print(f"  {count:>9,}  pairs of train left out: {what.replace('_', ' ')}")
    if trimmed := prepared["trimmed"]:
        print(f"trimmed {trimmed['subwords_before']:,} subwords to {trimmed['subwords']:,}: "
              f"{trimmed['parameters_saved']:,} parameters fewer")  # fmt: skip
    note(
        out,
        pretrained=settings["pretrained"],
        **said,
        **prepared,
        updates=done,
        dev_chrf=round(best["valid_chrf"], 2),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        training_minutes=round(curves.seconds / 60, 2),
    )


if __name__ == "__main__":
    command(finetune)
