"""Starts child processes that cannot outlive us."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, however it ends.

    Without it, SIGKILL on a recipe leaves a training that writes into a directory which the
    next run believes to be free. Linux only; elsewhere it does nothing.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def start_child(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """As `subprocess.Popen`, with a child that ends with us, and no Ctrl-C lost on the way.

    Python runs hooks while it forks, and an interrupt raised in one of them is only printed: the
    work would go on as if nothing had been pressed.
    """
    interrupts: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.SIG_IGN:  # else the child is to ignore it too
        signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        child = subprocess.Popen(command, preexec_fn=die_with_parent, **options)
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupts:
        child.kill()
        child.wait()
        raise KeyboardInterrupt
    return child
