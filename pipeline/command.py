"""Makes a typed function into a command: `python -m preprocess.clean …`."""

import errno
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import DefaultHelpFormatter, auto_cli

from pipeline.errors import RecipeError

_OPTION = re.compile(r"(?<![\w-])--[a-z]\w*")


def _dashed(text: str) -> str:
    return _OPTION.sub(lambda match: match[0].replace("_", "-"), text)


class _HelpFormatter(DefaultHelpFormatter):
    """Shows options as they are usually written, and docstrings with their own line breaks."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text

    def format_help(self) -> str:
        return _dashed(str(super().format_help()))


def _config_first(arguments: list[str]) -> list[str]:
    """The arguments with --config FILE before all others, so that these change what it says.

    jsonargparse goes by their order: a file that came last would silently undo an option.
    """
    first, others = list[str](), list[str]()
    words = iter(arguments)
    for word in words:
        if word == "--config":
            first += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            (first if word.startswith("--config=") else others).append(word)
    return [*first, *others]


def command(function: Callable[..., Any]) -> None:
    """Run `function` with arguments from the command line, derived from its signature.

    jsonargparse reads the type hints and the docstring, and adds `--config file.yaml` and
    `--print-config`. Exit codes: 2 for a user's mistake, 130 for Ctrl-C, 1 for what the system
    refuses, such as a full disk or a path that is not there.
    """
    arguments = [
        re.sub(r"^--[\w-]+", lambda option: "--" + option[0][2:].replace("-", "_"), argument)
        for argument in _config_first(sys.argv[1:])
    ]
    try:
        auto_cli(
            function,
            args=arguments,
            as_positional=False,
            prog=f"python -m {function.__globals__['__spec__'].name}",
            description=(inspect.getdoc(function) or "").partition("\nArgs:")[0],
            formatter_class=_HelpFormatter,
        )
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # our reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            where = f" while writing {error.filename}" if error.filename else ""
            print(f"error: the disk is full{where}; free some space, run again", file=sys.stderr)
        elif error.filename:
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        else:
            raise
        sys.exit(1)
