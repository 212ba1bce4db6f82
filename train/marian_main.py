"""Runs Marian in a process of its own: python -m train.marian_main ARGUMENTS."""

import importlib.util
import signal
import sys

from pipeline.errors import RecipeError
from pipeline.launch import die_with_parent


def check() -> None:
    """Raise RecipeError unless Marian is installed."""
    if importlib.util.find_spec("_pymarian") is None:
        raise RecipeError("Marian is not installed: pip install -c constraints.txt -e '.[marian]'")


def main() -> None:
    """The command `marian`, which ends with its parent and leaves Ctrl-C to it."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import _pymarian

    sys.exit(_pymarian.main(["train", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
