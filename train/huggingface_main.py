"""Trains a model of Hugging Face in a process of its own, or in several under torchrun.

python -m train.huggingface_main SETTINGS, a JSON object; see `train.huggingface` for them. Prints
records as fairseq does, which train.curves reads.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
import torch

from pipeline.errors import RecipeError
from pipeline.launch import die_with_parent
from pipeline.manifest import UNFINISHED, write_json
from preprocess.bitext import languages
from preprocess.denoise import PAIR as DENOISED
from preprocess.normalise import read_steps
from train import stopping
from train.examples import Examples, read_examples
from train.families import Tags, add_language, tags
from train.hub import TRANSLATION, check_length, library, load
from train.trim import trim

CHECKPOINTS, MODEL, WHOLE = "checkpoints", "model", "whole"
_STATE = "trainer_state.json"
_ATTENTION = {"encoder-decoder": ["query", "key", "value"], "t5": ["q", "k", "v", "o"],
              "other": ["q_proj", "k_proj", "v_proj", "out_proj"]}  # fmt: skip


def last_whole(out: Path) -> Path | None:
    """The last checkpoint that was written to its end."""
    found = [path.parent for path in (out / CHECKPOINTS).glob(f"checkpoint-*/{WHOLE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def prepare(settings: dict[str, Any]) -> tuple[Any, Any, Tags, Examples, dict[str, Any]]:
    """Model, tokeniser, tags, text and facts, before any update. Raises RecipeError."""
    bitext, new = Path(settings["bitext"]), settings["new_language"]
    model, tokenizer = load(settings["model"])
    if new:
        add_language(model, tokenizer, new, settings["new_language_like"] or ())
    said = tags(model.config, tokenizer, *languages(bitext), settings["prefix"])
    check_length(model.config, settings["max_length"])
    text = read_examples(bitext, tokenizer, said, settings["max_length"])
    facts: dict[str, Any] = {
        "train_kept": len(text.train), "train_dropped": text.dropped, "dev_cut": text.dev_cut,
        "trimmed": None,
    }  # fmt: skip
    if settings["trim"]:
        model, tokenizer, facts["trimmed"] = trim(model, tokenizer, said, text.train)
        before, text = text, read_examples(bitext, tokenizer, said, settings["max_length"])
        if [len(e["labels"]) for e in before.train] != [len(e["labels"]) for e in text.train]:
            raise RecipeError("trimming would change how the text is cut; train with --trim false")
    begin = said.target_token and tokenizer.convert_tokens_to_ids(said.target_token)
    # Dev must be translated into the right language, and so must whatever the model is used for.
    model.generation_config.forced_bos_token_id = begin or None
    facts["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    if settings["lora"]:
        model = _with_lora(model, said, settings)
    return model, tokenizer, said, text, facts


def _with_lora(model: Any, said: Tags, settings: dict[str, Any]) -> Any:
    import peft

    untrained = (
        Path(settings["model"]).is_dir() and not (Path(settings["model"]) / TRANSLATION).exists()
    )
    if said.family == "encoder-decoder" and untrained:
        raise RecipeError(
            f"in {settings['model']} attention to the source is random, and --lora would leave it "
            "so; train all weights first: --lora 0"
        )
    kind = "t5" if said.family in ("mt5", "byt5") else said.family
    torch.manual_seed(settings["seed"])
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type="SEQ_2_SEQ_LM",
            r=settings["lora"],
            lora_alpha=2 * settings["lora"],
            target_modules=_ATTENTION.get(kind, _ATTENTION["other"]),
        ),
    )


def restore(ids: Any, padding: int) -> Any:
    """Rows of numbers of tokens with padding where the loss has -100, which is no token."""
    return np.where(np.asarray(ids) < 0, padding, ids)


def translations(tokenizer: Any, ids: Any) -> list[str]:
    """Text of rows of numbers of tokens, -100 among them, without tags."""
    rows = restore(ids, tokenizer.pad_token_id)
    # M2M-100's tags are no special tokens to its tokeniser.
    named = list(getattr(tokenizer, "lang_token_to_id", {}).values())
    lines: list[str] = tokenizer.batch_decode(
        np.where(np.isin(rows, named), tokenizer.pad_token_id, rows),
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    return lines


def _chrf(lines: Sequence[str], references: Sequence[str]) -> float:
    plain = [re.sub(r" ?<extra_id_\d+>", "", line).strip() for line in references]
    return float(sacrebleu.corpus_chrf(list(lines), [plain]).score)


def by_loss(settings: dict[str, Any]) -> bool:
    """Whether the best model has the lowest loss of dev: what fills a gap is no translation."""
    return languages(Path(settings["bitext"])) == DENOISED


def _trainer(
    settings: dict[str, Any], model: Any, tokenizer: Any, text: Examples
) -> tuple[Any, Any]:
    """Hugging Face's trainer, which prints our records, and what listens to our signals."""
    transformers = library()
    out, every = Path(settings["out"]), min(settings["evaluate_every"], settings["updates"])
    begun, seen = time.time(), [0]

    class Trainer(transformers.Seq2SeqTrainer):  # type: ignore[misc, name-defined]
        def training_step(self, model: Any, inputs: Any, *arguments: Any) -> Any:
            seen[0] += int((inputs["labels"] != -100).sum())
            loss = super().training_step(model, inputs, *arguments)
            if not torch.isfinite(loss):
                raise RecipeError(
                    f"the loss is no number ({loss.item()}) at update {self.state.global_step + 1}:"
                    " the training diverged; lower --learning-rate, or take --precision fp32"
                )
            return loss

        def _get_train_sampler(self, *_: Any) -> Any:
            return _ByLength(text.train, settings, lambda: int(self.state.epoch or 0))

        def _get_eval_sampler(self, dataset: Any) -> Any:
            # Else dev, too, comes by length, and translations meet the references of others.
            return torch.utils.data.SequentialSampler(dataset)

    class Ours(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        told = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                _print("begin", {"num_updates": state.global_step})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps:
                control.should_evaluate = control.should_save = True
            if stopping.asked():
                self.told = control.should_save = control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not state.is_world_process_zero:
                return
            directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (directory / WHOLE).touch()
            for old in Path(args.output_dir).glob("checkpoint-*"):
                if old.name not in (directory.name, Path(state.best_model_checkpoint or "").name):
                    (old / WHOLE).unlink(missing_ok=True)  # first: a kill may leave half of it
                    shutil.rmtree(old)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            if "loss" in logs and state.is_world_process_zero:
                wall = time.time() - begun
                record = {"epoch": state.epoch, "num_updates": state.global_step,
                          "loss": logs["loss"], "nll_loss": logs["loss"] / log(2),
                          "wps": seen[0] * args.world_size / max(wall, 1e-9),
                          "lr": logs["learning_rate"], "gnorm": logs.get("grad_norm")}  # fmt: skip
                _print("train_inner", record)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            if not metrics["eval_loss"] < float("inf"):
                raise RecipeError(
                    f"the loss of dev is no number after update {state.global_step}: the training "
                    "diverged; lower --learning-rate, or take --precision fp32"
                )
            if state.is_world_process_zero:
                record = {"valid_num_updates": state.global_step, "valid_loss":
                          metrics["eval_loss"], "valid_nll_loss": metrics["eval_loss"] / log(2),
                          "valid_chrf": metrics["eval_chrf"]}  # fmt: skip
                _print("valid", record)

    gpu = torch.cuda.is_available()
    arguments = transformers.Seq2SeqTrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=settings["updates"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=settings["batch_size"],
        gradient_accumulation_steps=settings["accumulate"],
        learning_rate=settings["learning_rate"],
        warmup_steps=settings["warmup"],
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        load_best_model_at_end=True,
        metric_for_best_model="loss" if by_loss(settings) else "chrf",
        greater_is_better=not by_loss(settings),
        restore_callback_states_from_checkpoint=True,
        predict_with_generate=True,
        generation_num_beams=1,
        generation_max_length=_limit(text, settings["max_length"]),
        logging_steps=settings["log_every"],
        logging_nan_inf_filter=False,  # which would hide them
        bf16=settings["precision"] == "bf16",
        fp16=settings["precision"] == "fp16",
        seed=settings["seed"],
        data_seed=settings["seed"],
        dataloader_pin_memory=gpu,
        use_cpu=not gpu,  # unless it is said, processes without GPUs do not know of each other
        ddp_backend="gloo" if not gpu and "RANK" in os.environ else None,
        remove_unused_columns=False,
        label_names=["labels"],
        ddp_find_unused_parameters=_leaves_out(model.config),
        report_to="none",
        disable_tqdm=True,
    )
    ours = Ours()
    callbacks: list[Any] = [ours]
    if settings["patience"]:
        callbacks.append(transformers.EarlyStoppingCallback(settings["patience"]))
    trainer = Trainer(
        model,
        arguments,
        # It pads labels with -100, which the loss leaves out.
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, model),
        train_dataset=text.train,
        eval_dataset=text.dev,
        compute_metrics=lambda made: {
            "chrf": _chrf(translations(tokenizer, made.predictions), text.references)
        },
        callbacks=callbacks,
    )
    if settings["optimizer"] == "adafactor":
        # Its own --optim adafactor has one rate for all, as if T5's embeddings were no larger.
        scaled = {"lr": settings["learning_rate"], "relative_step": False, "scale_parameter": True}
        trainer.optimizer_cls_and_kwargs = transformers.Adafactor, scaled
    trainer.remove_callback(transformers.PrinterCallback)
    # It takes losses for sums over all tokens of an update where forward() has any further
    # arguments, as M2M-100's has, whose loss is a mean: gradients then grow with --accumulate.
    trainer.model_accepts_loss_kwargs = False
    return trainer, ours


class _ByLength(torch.utils.data.Sampler):  # type: ignore[type-arg]
    """Pairs of like length together, in an order of the seed and the epoch alone.

    Hugging Face's sampler draws from what the process has drawn before: several processes would
    have other orders, and one that goes on after an interruption that of the first epoch.
    """

    def __init__(
        self, pairs: Sequence[Any], settings: dict[str, Any], epoch: Callable[[], int]
    ) -> None:
        self._lengths = [len(pair["input_ids"]) for pair in pairs]
        self._together = settings["batch_size"] * settings["accumulate"]
        self._seed, self._epoch = settings["seed"], epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        drawn = torch.Generator().manual_seed(1_000_000 * self._seed + self._epoch())
        return iter(get_length_grouped_indices(self._lengths, self._together, generator=drawn))


def _leaves_out(config: Any) -> bool:
    """Whether some updates have no use for some parameters."""
    # A BERT as an encoder has a layer that only its first pretraining used; M2M-100 drops layers.
    dropped = (getattr(config, f"{side}_layerdrop", 0) for side in ("encoder", "decoder"))
    return config.model_type == "encoder-decoder" or any(dropped)


def _limit(text: Examples, most: int) -> int:
    """Tokens that a translation of dev may have: an early model would not come to an end."""
    return min(most, 2 * max(len(example["input_ids"]) for example in text.dev) + 10)


def _print(kind: str, record: dict[str, Any]) -> None:
    numbers = {name: value for name, value in record.items() if value is not None}
    print(f"{time.strftime('%F %T')} | INFO | {kind} | {json.dumps(numbers)}", flush=True)


def mend(checkpoint: Path) -> None:
    """Correct the way to the best checkpoint, which is another if the experiment was moved.

    Without it the trainer would keep the model it began with. Raises RecipeError if there is none.
    """
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    if not state["best_model_checkpoint"]:
        return
    best = checkpoint.with_name(Path(state["best_model_checkpoint"]).name)
    if not (best / WHOLE).exists():
        raise RecipeError(
            f"{best}, the best checkpoint so far, is not there; delete {checkpoint.parent} to "
            "train anew"
        )
    write_json(checkpoint / _STATE, {**state, "best_model_checkpoint": str(best)})


def _ended(checkpoint: Path, settings: dict[str, Any]) -> bool:
    """Whether a training had made its last update when it left this checkpoint."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    stopping_early = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    waited = stopping_early.get("attributes", {}).get("early_stopping_patience_counter", 0)
    stopped = settings["patience"] and waited >= settings["patience"]
    return bool(stopped or state["global_step"] >= settings["updates"])


def _save(
    out: Path, model: Any, tokenizer: Any, said: Tags, text: Examples, settings: dict[str, Any]
) -> None:
    partial = out / f"{MODEL}.partial"
    if settings["lora"]:
        model = model.merge_and_unload()
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    facts = {"max_source_tokens": text.longest_source, "pretrained": settings["pretrained"],
             "normalise": read_steps(Path(settings["bitext"]))}  # fmt: skip
    write_json(partial / TRANSLATION, {**asdict(said), **facts})
    os.replace(partial, out / MODEL)


def train(settings: dict[str, Any]) -> None:
    """Train to the end, or until told to stop, and leave the best model. Raises RecipeError."""
    out = Path(settings["out"])
    library().set_seed(settings["seed"])
    model, tokenizer, said, text, facts = prepare(settings)
    trainer, ours = _trainer(settings, model, tokenizer, text)
    first = trainer.is_world_process_zero()
    if first:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "prepared.json", {**facts, "pairs": len(text.train)})
    begin = last_whole(out)
    if begin and _ended(begin, settings):
        # Killed while the model was saved; the trainer would do another update.
        trainer.state = library().TrainerState.load_from_json(str(begin / _STATE))
        trainer._load_best_model()
    else:
        trainer.train(resume_from_checkpoint=str(begin) if begin else None)
    state = trainer.state
    if ours.told and state.global_step < settings["updates"]:
        if first:
            write_json(out / UNFINISHED, {"updates": state.global_step})
        return
    if state.global_step < 1:
        raise RecipeError("training ended after no update at all")
    if first:
        _save(out, trainer.accelerator.unwrap_model(model), tokenizer, said, text, settings)


def main() -> None:
    """The command of the child process."""
    die_with_parent()
    stopping.listen()
    settings = json.loads(sys.argv[1])
    if settings["cpu_threads"]:
        torch.set_num_threads(settings["cpu_threads"])
    try:
        train(settings)
    except RecipeError as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
