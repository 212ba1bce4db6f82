"""Runs a training as a child: its log, a progress bar, and signals that are passed on."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from pipeline.errors import RecipeError
from pipeline.launch import start_child
from pipeline.progress import on_terminal
from train.curves import Record
from train.trouble import DivergenceWatch

# Starts several processes, which get so long for a checkpoint when they are told to stop; not
# longer, because those that wait for one that failed get it, too.
TORCHRUN = ("torch.distributed.run", "--standalone", "--shutdown-timeout=300")
# For a training on the CPU, unless the user has set them.
ENVIRONMENT = {
    # A spinning thread takes the core that another process needs: speed falls to a third.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Memory that was freed is kept for the next update, and asked for in large pages: by itself,
    # glibc gives it back to the kernel, which has to clear it each time.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456",
}


def run(
    command: Sequence[str],
    log: Path,
    environment: dict[str, str],
    parse: Callable[[str], tuple[str, Record] | None],
    total: int | None,
    watch: DivergenceWatch,
) -> tuple[int, list[int]]:
    """Run a training to its end and append what it prints to `log`.

    Returns its exit code, and the signals that we were sent and passed on.

    `parse` makes a record of a line, as train.curves.parse_record; `total` is the number of
    updates, if known; `environment` is added to ours. Raises RecipeError if the training diverged.
    """
    with (
        open(log, "a", encoding="utf-8") as file,
        start_child(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **os.environ, **environment},
        ) as process,
        _passed_on(process) as signals,
    ):
        try:
            diverged = _follow(process, file, parse, total, watch)
        except BaseException:  # a full disk, say: nobody would read on
            process.terminate()
            raise
        code = process.wait()
    if diverged:
        raise RecipeError(diverged)
    return code, signals


@contextmanager
def _passed_on(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Ask the training to stop when we are; a second Ctrl-C ends it at once."""
    received: list[int] = []

    def hear(number: int, _: Any) -> None:
        if number == signal.SIGINT and received:
            process.kill()
        received.append(number)
        process.terminate()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    previous = {
        number: signal.signal(number, hear)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _follow(
    process: "subprocess.Popen[bytes]",
    log: IO[str],
    parse: Callable[[str], tuple[str, Record] | None],
    total: int | None,
    watch: DivergenceWatch,
) -> str | None:
    """Copy the output to the log and draw a progress bar; a sentence if the training diverged."""
    bar = tqdm(
        desc="training",
        unit=" updates",
        total=total,
        mininterval=0.5 if on_terminal() else 30,
        ascii=not on_terminal(),
    )
    dev, diverged = "", None
    with bar:
        for raw in process.stdout or ():
            line = raw.decode("utf-8", "replace").rstrip("\n")
            log.write(line + "\n")
            log.flush()
            parsed = parse(line)
            if not parsed:
                continue
            kind, record = parsed
            if kind == "valid":
                scores = [f"{name} {record[f'valid_{name}']:.1f}" for name in ("bleu", "chrf")
                          if f"valid_{name}" in record]  # fmt: skip
                dev = ", ".join([f"{record['valid_nll_loss']:.2f}", *scores])
                continue
            if diverged is None and (diverged := watch.sees(record)):
                process.terminate()
            done = int(record["num_updates"])
            if bar.n == 0 and done > 10:  # resumed: what was done before says nothing of speed
                bar.initial = done
                bar.last_print_n = bar.n = done
            shown = {"loss": f"{record['nll_loss']:.2f}", "dev": dev, "tokens/s":
                     f"{record['wps']:,.0f}"}  # fmt: skip
            bar.set_postfix({name: value for name, value in shown.items() if value}, refresh=False)
            bar.update(done - bar.n)
    return diverged
