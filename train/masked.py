"""Pretrain a BERT or XLM-R to name words that are hidden (Devlin et al. 2019)."""

import os
import tempfile
from math import log
from pathlib import Path
from typing import Any

import torch

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json
from pipeline.progress import progress
from train.hub import check_length, first_gpu, library, load


def masked(
    model: str,
    text: list[str],
    out: Path,
    updates: int = 1000,
    learning_rate: float = 5e-4,
    batch_size: int = 32,
    max_length: int = 128,
    rate: float = 0.15,
    seed: int = 1,
) -> None:
    """Go on with masked language modelling; writes the model and masked.json with its losses.

    It begins anew after a kill: it is meant for small models, minutes long.

    Example: python -m train.masked --model exp/first --text+ exp/mono.es --text+ exp/mono.gl
    --out exp/bert

    Args:
        model: directory of train.fresh, or any BERT's or XLM-R's, or its name on the hub.
        text: files of text, one sentence a line.
        out: directory for the model.
        updates: steps of the optimiser.
        learning_rate: its highest rate, after a tenth of the updates.
        batch_size: lines in a batch.
        max_length: tokens after which a line is cut off.
        rate: share of tokens to hide.
        seed: seed of what is hidden and the order of lines.

    """
    if updates < 1:
        raise RecipeError(f"--updates is {updates}; it must be 1 or more")
    if not 0 < rate < 1:
        raise RecipeError(f"--rate is {rate}; it must be between 0 and 1")
    transformers = library()
    transformers.set_seed(seed)
    net, tokenizer = load(model, "AutoModelForMaskedLM")
    check_length(net.config, max_length)
    lines = [line for path in text for line in read_lines(Path(path)) if line.strip()]
    if not lines:
        raise RecipeError(f"{text[0]} has no text to learn from")
    cut = tokenizer(lines, truncation=True, max_length=max_length)["input_ids"]
    losses: list[dict[str, float]] = []

    steps = progress(range(updates), "masked", "updates", updates)

    with tempfile.TemporaryDirectory() as place:

        class Hide(transformers.DataCollatorForLanguageModeling):  # type: ignore[misc, name-defined]
            def torch_mask_tokens(self, inputs: Any, *more: Any, **named: Any) -> Any:
                for _ in range(1000):  # few short lines: the mean loss of no token is no number
                    hidden, labels = super().torch_mask_tokens(inputs.clone(), *more, **named)
                    if (labels != -100).any():
                        break
                return hidden, labels

        class Watch(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                next(steps, None)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
                if "loss" in logs:
                    if not logs["loss"] < float("inf"):
                        raise RecipeError("the loss is no number: lower --learning-rate")
                    bits = logs["loss"] / log(2)
                    losses.append({"updates": state.global_step, "bits_a_token": round(bits, 4)})

        os.environ["CUDA_VISIBLE_DEVICES"] = first_gpu()
        arguments = transformers.TrainingArguments(
            output_dir=place,
            max_steps=updates,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=updates // 10,
            train_sampling_strategy="group_by_length",
            logging_steps=min(10, updates),
            logging_nan_inf_filter=False,
            save_strategy="no",
            seed=seed,
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            net,
            arguments,
            data_collator=Hide(tokenizer, mlm_probability=rate),
            train_dataset=[{"input_ids": ids} for ids in cut],
            callbacks=[Watch()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        next(steps, None)  # the bar's end
    out.mkdir(parents=True, exist_ok=True)
    net.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_json(out / "masked.json", losses)
    print(f"{losses[0]['bits_a_token']:.2f} bits a hidden token, then "
          f"{losses[-1]['bits_a_token']:.2f}")  # fmt: skip
    note(out, model=model, updates=updates, lines=len(lines), seed=seed, loss=losses[-1])


if __name__ == "__main__":
    command(masked)
