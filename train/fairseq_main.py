"""Runs fairseq-train in a process of its own: python -m train.fairseq_main SETTINGS ARGUMENTS.

SETTINGS is a JSON object of what `train.fairseq` adds; ARGUMENTS are fairseq-train's.
"""

import argparse
import atexit
import difflib
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import RecipeError
from pipeline.launch import die_with_parent
from train import (
    attention,
    dev_score,
    fast,
    freeze,
    multilingual,
    resample,
    stopping,
    together,
)


def check_options(arguments: list[str]) -> None:
    """Refuse an option that fairseq-train does not have for this task, model and criterion."""
    from fairseq import options

    parser = options.get_training_parser()
    _, unknown = options.parse_args_and_arch(parser, input_args=arguments, parse_known=True)
    for word in unknown:
        name = word.partition("=")[0]
        if name.startswith("--"):
            near = difflib.get_close_matches(name, parser._option_string_actions, 1)
            hint = f"; did you mean {near[0][2:]}?" if near else ""
            raise RecipeError(f"fairseq-train has no option {name[2:]}{hint}")


def _allow_bfloat16(cli: Any) -> None:
    """Keep training on the GPU with --bf16, which fairseq believes to be for TPUs alone."""
    convert = cli.convert_namespace_to_omegaconf

    def on_gpu(arguments: argparse.Namespace) -> Any:
        arguments.tpu = False
        return convert(arguments)

    cli.convert_namespace_to_omegaconf = on_gpu


def _end_without_memory() -> None:
    """Let a GPU's lack of memory end the training.

    fairseq leaves such a batch out; where all are too large, it would try for ever.
    """
    from fairseq.trainer import Trainer

    Trainer.train_step = functools.partialmethod(Trainer.train_step, raise_oom=True)


def main() -> None:
    """fairseq-train, with what it needs under a current torch, and our additions."""
    die_with_parent()
    settings = json.loads(sys.argv.pop(1))
    stopping.listen()
    # fairseq's checkpoints hold an argparse.Namespace; allowing just that keeps torch's safe
    # unpickling, which TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD would turn off.
    torch.serialization.add_safe_globals([argparse.Namespace])
    # Adam's moments decay into denormal numbers, which are slow on a CPU.
    torch.set_flush_denormal(True)
    if settings.get("cpu_threads"):
        torch.set_num_threads(settings["cpu_threads"])
    if settings.get("tf32"):
        torch.set_float32_matmul_precision("high")
    from fairseq_cli import train as cli

    if torch.cuda.is_available():
        _allow_bfloat16(cli)
    if "RANK" in os.environ:  # started by torchrun
        sys.argv += [f"--distributed-rank={os.environ['RANK']}",
                     f"--device-id={os.environ['LOCAL_RANK']}"]  # fmt: skip
    try:
        check_options(sys.argv[1:])
        if settings.get("resample"):
            subwords, sampling, seed, directory = settings["resample"]
            resample.install(Path(subwords), sampling, seed, Path(directory))
        if settings.get("freeze"):
            freeze.install(settings["freeze"])
        if settings.get("dev_score"):
            dev_score.install(**settings["dev_score"])
    except RecipeError as error:
        print(f"error: {error}")
        sys.exit(2)
    _end_without_memory()
    for module in (attention, fast, together):
        module.install()
    if settings.get("multilingual"):
        multilingual.install(*settings["multilingual"])
    stopping.install(Path(settings["out"]))
    cli.cli_main()
    # Where training stops within an epoch, fairseq's reader is still at work in a thread, and one
    # run in four aborts while Python is taken down under it (plain fairseq-train does too).
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
