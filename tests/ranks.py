"""Runs train.fairseq_main and leaves each process's parameters in a file of its own, to compare."""

import os
import sys
from typing import Any

import torch

from train import fairseq_main

if __name__ == "__main__":
    out = sys.argv.pop(1)
    from fairseq import checkpoint_utils

    original = checkpoint_utils.save_checkpoint

    def save_checkpoint(options: Any, trainer: Any, *arguments: Any) -> Any:
        torch.save(trainer.model.state_dict(), f"{out}/rank{os.environ['RANK']}.pt")
        return original(options, trainer, *arguments)

    checkpoint_utils.save_checkpoint = save_checkpoint
    fairseq_main.main()
