"""Runs one stage of a recipe: a command that turns inputs into one output directory.

A stage runs only if what it depends on has changed, and says what that is. Its output appears
complete or not at all. `recipes/stages.sh` calls this; by hand:

    python -m pipeline.stage 3 "Learn subwords" --exp exp --in exp/clean --out exp/subword \\
        -- python -m preprocess.subword --bitext exp/clean --out exp/subword
"""

import argparse
import ast
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from pipeline.errors import RecipeError
from pipeline.launch import die_with_parent, start_child
from pipeline.manifest import (
    FACTS,
    REPOSITORY,
    UNFINISHED,
    Manifest,
    directory_records,
    file_record,
    input_digest,
    write_json,
)

# Import names whose distribution is called otherwise.
_DISTRIBUTIONS = {"yaml": "PyYAML", "sklearn": "scikit-learn", "fairseq": "ve-fairseq",
                  "fairseq_cli": "ve-fairseq"}  # fmt: skip
# These only parse arguments, draw and report: their version cannot change what a stage makes.
_HARMLESS = {"jsonargparse", "tqdm", "matplotlib"}

# Exit codes: of `--mode list` for a stage that would run, and of one that was told to stop.
WOULD_RUN, STOPPED = 10, 11


class Stage:
    """One stage: what it depends on, whether it is done, and how to run it."""

    def __init__(
        self, number: str, title: str, exp: Path, inputs: list[Path], out: Path, command: list[str]
    ) -> None:
        self.number, self.title, self.command = number, title, command
        self.exp, self.out = Path(os.path.abspath(exp)), Path(os.path.abspath(out))
        self.inputs = [Path(os.path.abspath(path)) for path in inputs]
        self.partial = self.out.with_name(self.out.name + ".partial")
        self.log = self.exp / "logs" / f"{number}-{self.out.name}.log"

    def key(self) -> dict[str, Any]:
        """What the result depends on, as described at `Manifest`."""
        inputs = {self._named(path): input_digest(path) for path in self.inputs}
        for before, argument in pairwise(self.command):
            if before == "--lock":  # the command itself adds to it; the manifest has the digests
                continue
            path = Path(os.path.abspath(argument.partition("=")[2] or argument))
            within = any(path.is_relative_to(known) for known in (*self.inputs, self.out))
            if path.is_file() and not within:  # a configuration file, a script
                inputs[self._named(path)] = file_record(path).sha256
        code, libraries = self._code()
        return {
            "command": [self._named(argument) for argument in self.command[1:]],
            "inputs": inputs,
            "code": code,
            "libraries": libraries,
        }

    def _named(self, text: str | Path) -> str:
        # The working directory must not matter, nor where the experiment or the project lies.
        text = str(text)
        option, equals, value = text.partition("=")
        if not (equals and option.startswith("--")):
            option, equals, value = "", "", text
        if os.sep in value and (os.path.exists(value) or value.startswith(str(self.exp))):
            value = os.path.abspath(value)
        for root, name in ((self.exp, "{exp}"), (REPOSITORY, "{repo}")):
            if value == str(root) or value.startswith(f"{root}{os.sep}"):
                value = name + value[len(str(root)) :]
        return option + equals + value

    def _code(self) -> tuple[dict[str, str], dict[str, str]]:
        """Digests of our modules that the command imports, and versions of its libraries."""
        if "-m" not in self.command:
            return {}, {}
        waiting, files, libraries = [self.command[self.command.index("-m") + 1]], {}, {}
        while waiting:
            name = waiting.pop()
            path = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py")
            if not path.is_file():
                path = REPOSITORY.joinpath(*name.split("."), "__init__.py")
            relative = path.relative_to(REPOSITORY).as_posix()
            if not path.is_file() or relative in files:
                continue
            files[relative] = file_record(path).sha256
            if path.name == "__init__.py":  # and the settings that a package has
                for settings in path.parent.glob("*.yaml"):
                    name = settings.relative_to(REPOSITORY).as_posix()
                    files[name] = file_record(settings).sha256
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
                else:
                    continue
                waiting += names
                libraries.update({name.split(".")[0]: "" for name in names})
        for library in list(libraries):
            distribution = _DISTRIBUTIONS.get(library, library)
            try:
                if library in _HARMLESS:
                    raise importlib.metadata.PackageNotFoundError
                libraries[library] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:  # the standard library, or ours
                del libraries[library]
        return files, libraries

    def reasons(self) -> list[str]:
        """Why the stage has to run; empty if it is done."""
        manifest = Manifest.read(self.out)
        if manifest is None:
            if not self.out.exists():
                return ["never run" if not self.partial.exists() else "was interrupted"]
            return [f"{self.out} holds something that no stage made"]
        reasons = _differences(manifest.key, self.key())
        if not reasons and (damage := manifest.damage(self.out)):
            reasons = [damage]
        return reasons

    def run(self, keep_partial: bool, force: bool = False) -> bool:
        """Run the command in `out.partial`, then rename that to `out`; False if it was stopped.

        `keep_partial` says that the command can go on in the partial directory of an earlier run
        with the same key; otherwise an old one is deleted. Raises RecipeError if it fails, rather
        than replace a directory that no stage made, and, without `force`, rather than throw away
        a partial directory with another key that could have been finished.
        """
        if self.out.exists() and Manifest.read(self.out) is None:
            raise RecipeError(
                f"{self.out} exists but no stage made it (it has no readable manifest.json); "
                "move it away, or choose another --exp-dir"
            )
        key = self.key()
        key_file = self.partial.with_name(self.partial.name + ".key")
        before = None
        if self.partial.exists():
            try:
                before = json.loads(key_file.read_text()) if keep_partial else None
            except (OSError, ValueError):
                before = None
            if before == key:
                print("    goes on where it was interrupted", flush=True)
            elif before and not force:
                raise RecipeError(
                    f"{self.partial} holds the unfinished work of a run with other settings: "
                    f"{'; '.join(_differences(before, key))}. Take the change back to go on with "
                    f"it, or give --force {self.number} to start anew"
                )
            else:
                shutil.rmtree(self.partial)
        if before != key:  # else a full disk might leave half of it, and the work be thrown away
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            write_json(key_file, key)
        self.partial.mkdir(parents=True, exist_ok=True)
        started, clock = datetime.datetime.now().astimezone(), time.monotonic()
        self._execute()
        if (self.partial / UNFINISHED).exists():
            return False
        facts_file = self.partial / FACTS
        facts = json.loads(facts_file.read_text("utf-8")) if facts_file.exists() else {}
        facts_file.unlink(missing_ok=True)
        manifest = Manifest(
            stage=self.number,
            title=self.title,
            key=key,
            exp=os.path.relpath(self.exp, self.out),
            command=self.command,
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 2),
            # Linux counts in KiB, macOS in bytes.
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            * (1 if sys.platform == "darwin" else 1024),
            host={
                "name": platform.node(),
                "system": platform.platform(),
                "cores": len(os.sched_getaffinity(0))
                if hasattr(os, "sched_getaffinity")
                else os.cpu_count(),
                "python": platform.python_version(),
            },
            facts=facts,
            files=directory_records(self.partial),
        )
        manifest.write(self.partial)
        for path in self.partial.rglob("*"):  # a crash of the machine must not leave empty files
            if path.is_file():
                _sync(path)
        self._replace()
        key_file.unlink(missing_ok=True)
        took, memory = manifest.seconds, manifest.peak_memory_bytes / 2**20
        print(f"    done in {took:,.1f} s, at most {memory:,.0f} MiB of memory")
        return True

    def _replace(self) -> None:
        old = self.out.with_name(self.out.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        self.partial.rename(self.out)
        shutil.rmtree(old, ignore_errors=True)

    def _execute(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [self._in_partial(argument) for argument in self.command]
        environment = dict(
            os.environ,
            # A failure inside a pipe fails the stage: bash takes its options from here.
            SHELLOPTS="pipefail",
            PYTHONUNBUFFERED="1",
            RECIPES_TERMINAL=str(int(sys.stdout.isatty())),
        )
        with open(self.log, "wb") as log:
            try:
                child = start_child(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
            except OSError as error:
                raise RecipeError(f"cannot start {command[0]}: {error.strerror}") from error
            previous = {
                number: signal.signal(number, lambda *_: child.terminate())
                for number in (signal.SIGTERM, signal.SIGUSR1)
            }
            try:
                if child.stdout is not None:
                    _copy(child.stdout, log)
                code = child.wait()
            except KeyboardInterrupt:  # the child has it too, and may be saving its state
                if child.stdout is not None:
                    _copy(child.stdout, log)
                child.wait()
                raise
            for number, handler in previous.items():
                signal.signal(number, handler)
        if code != 0:
            raise RecipeError(self._failure(code))

    def _in_partial(self, argument: str) -> str:
        option, equals, value = argument.partition("=")
        if not (equals and option.startswith("--")):
            option, equals, value = "", "", argument
        path = os.path.abspath(value)
        if value and (path == str(self.out) or path.startswith(f"{self.out}{os.sep}")):
            value = str(self.partial) + path[len(str(self.out)) :]
        return option + equals + value

    def _failure(self, code: int) -> str:
        text = self.log.read_bytes().decode("utf-8", "replace").replace("\r", "\n")
        tail = [line for line in text.split("\n") if line.strip()][-12:]
        how = f"exit code {code}"
        if code < 0:
            how = f"killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += ", perhaps for want of memory"
        shown = "".join(f"\n    | {line}" for line in tail)
        return f"stage {self.number} ({self.title}) failed: {how}{shown}\n    whole log: {self.log}"


def _copy(stream: IO[bytes], log: IO[bytes]) -> None:
    """Copy a command's output to the terminal, indented, and to its log.

    A progress bar rewrites its line with CR: the terminal sees that, the log keeps only whole
    lines and the last state of a bar.
    """
    terminal, animated, line, at_start = sys.stdout.buffer, sys.stdout.isatty(), b"", True
    fd = stream.fileno()
    while block := os.read(fd, 1 << 16):
        for part in block.replace(b"\r\n", b"\n").splitlines(keepends=True):
            shown = b"    " + part if at_start else part
            if animated or part != b"\r":
                terminal.write(shown if animated else shown.replace(b"\r", b"\n"))
            at_start = part.endswith((b"\n", b"\r"))
            line += part
            if line.endswith(b"\n"):
                log.write(line)
                line = b""
            elif line.endswith(b"\r"):
                line = b""
        terminal.flush()
        log.flush()
    log.write(line)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One sentence for each part of the key that differs."""
    reasons = _command_differences(old["command"], new["command"])
    for part, noun in (("inputs", "input"), ("code", "code"), ("libraries", "library")):
        for name in sorted(old[part].keys() | new[part].keys()):
            before, after = old[part].get(name), new[part].get(name)
            shown = name.replace("{exp}/", "").replace("{repo}/", "")
            if before == after:
                continue
            if before is None or after is None:
                reasons.append(f"{noun} {shown} is {'new' if before is None else 'gone'}")
            elif part == "libraries":
                reasons.append(f"{noun} {shown} changed from {before} to {after}")
            else:
                reasons.append(f"{noun} {shown} changed")
    return reasons


def _command_differences(old: list[str], new: list[str]) -> list[str]:
    options = _options(old), _options(new)
    if options[0] == options[1]:
        return [] if old == new else ["the order of the command's arguments changed"]
    reasons = []
    for name in [*options[0], *(name for name in options[1] if name not in options[0])]:
        before, after = (option.get(name) for option in options)
        if before != after:
            if before is None or after is None:
                reasons.append(f"option {name} is {'new' if before is None else 'gone'}")
            else:
                reasons.append(f"option {name} changed from {before} to {after}")
    return reasons


def _options(command: list[str]) -> dict[str, str]:
    options: dict[str, list[str]] = {}
    values = options.setdefault("(command)", [])
    for argument in command:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            values = options.setdefault(name, [])
            if equals:
                values.append(value)
        else:
            values.append(argument)
    return {name: shlex.join(values) for name, values in options.items()}


def main() -> int:
    """Run, list or print one stage, as `recipes/stages.sh` asks."""
    die_with_parent()
    # A shell lets what it starts in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("number")
    parser.add_argument("title")
    parser.add_argument("--exp", type=Path, required=True, help="the experiment's directory")
    parser.add_argument("--in", dest="inputs", type=Path, nargs="*", default=[], metavar="PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="the command can go on after a kill")
    parser.add_argument("--force", action="store_true", help="run even if up to date")
    parser.add_argument("--mode", choices=("run", "list", "dry-run"), default="run")
    parser.add_argument("--stale", type=Path, nargs="*", default=[], help="inputs that will rerun")
    if "--" not in sys.argv:
        parser.error("the command is missing: it comes after --")
    split = sys.argv.index("--")
    options = parser.parse_args(sys.argv[1:split])
    command = sys.argv[split + 1 :]
    stage = Stage(options.number, options.title, options.exp, options.inputs, options.out, command)
    if options.mode == "dry-run":
        own = [argument for argument in sys.argv[1:] if argument not in ("--mode", "dry-run")]
        print(shlex.join([sys.executable, "-m", "pipeline.stage", *own]))
        return 0
    try:
        if options.mode == "list":
            stale = [Path(os.path.abspath(path)) for path in options.stale]
            return _list(stage, stale, options.force)
        reasons = stage.reasons()
        if options.force and not reasons:
            reasons = ["forced"]
        heading = f"{options.number:>2}  {options.title}"
        if not reasons:
            print(f"{heading}: up to date", flush=True)
            return 0
        print(f"{heading}\n    runs because: {'; '.join(reasons)}", flush=True)
        if not stage.run(options.resume, options.force):
            return STOPPED
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {error.strerror}: {error.filename or stage.out}", file=sys.stderr)
        return 1
    return 0


def _list(stage: Stage, stale: list[Path], force: bool) -> int:
    waiting = [path for path in stage.inputs if any(path.is_relative_to(s) for s in stale)]
    if not stage.out.exists() and not stage.partial.exists():
        reasons = ["never run"]
    elif waiting:
        reasons = [f"its input {path.name} will be made anew" for path in waiting]
    else:
        reasons = stage.reasons() or ["forced"] * force
    state = "done" if not reasons else reasons[0]
    if reasons and reasons != ["never run"]:
        state = "stale: " + "; ".join(reasons)
    print(f"{stage.number:>2}  {stage.title:<44}  {state}")
    return WOULD_RUN if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
