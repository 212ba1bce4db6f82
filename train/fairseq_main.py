"""Runs fairseq-train in a process of its own.

python -m train.fairseq_main [--resample SUBWORDS SAMPLING SEED DIRECTORY] ARGUMENTS
"""

import argparse
import difflib
import sys
from pathlib import Path

import torch

from pipeline.errors import RecipeError
from pipeline.launch import die_with_parent
from train import fast, resample


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


def main() -> None:
    """fairseq-train, with what it needs to resume under a current torch."""
    die_with_parent()
    # fairseq's checkpoints hold an argparse.Namespace; allowing just that keeps torch's safe
    # unpickling, which TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD would turn off.
    torch.serialization.add_safe_globals([argparse.Namespace])
    # Adam's moments decay into denormal numbers, which are slow on a CPU.
    torch.set_flush_denormal(True)
    from fairseq_cli.train import cli_main

    if sys.argv[1] == "--resample":
        subwords, sampling, seed, directory = sys.argv[2:6]
        del sys.argv[1:6]
        resample.install(Path(subwords), float(sampling), int(seed), Path(directory))
    fast.install()
    try:
        check_options(sys.argv[1:])
    except RecipeError as error:
        print(f"error: {error}")
        sys.exit(2)
    cli_main()


if __name__ == "__main__":
    main()
