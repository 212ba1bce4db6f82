"""Runs fairseq-train in a process of its own.

python -m train.fairseq_main [--resample SUBWORDS SAMPLING SEED DIRECTORY] ARGUMENTS
"""

import argparse
import sys
from pathlib import Path

import torch

from pipeline.launch import die_with_parent
from train.resample import install


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
        install(Path(subwords), float(sampling), int(seed), Path(directory))
    cli_main()


if __name__ == "__main__":
    main()
