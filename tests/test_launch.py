"""Child processes: no interrupt is lost while one is being started."""

import subprocess
import sys

# An interrupt at the worst moment: in a hook that Python runs as it forks.
SCRIPT = """
import os, signal, sys
from pipeline.launch import start_child
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
# Whoever started the tests, with nohup or &, may have it ignored.
heard = sys.argv[1] == "heard"
signal.signal(signal.SIGINT, signal.default_int_handler if heard else signal.SIG_IGN)
try:
    start_child([sys.executable, "-c", "print('child')"]).wait()
except KeyboardInterrupt:
    print("interrupted")
"""


def run(case: str) -> str:
    command = [sys.executable, "-c", SCRIPT, case]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_interrupt_during_the_fork_is_kept() -> None:
    assert run("heard") == "interrupted\n"


def test_an_ignored_interrupt_stays_ignored() -> None:
    assert run("ignored") == "child\n"
