"""Races each step against the tool that people use today: same work, same machine, same run.

    .venv/bin/python -m tests.benchmarks.speed --bitext exp/clean --opusfilter OTHER/bin/opusfilter

Prints a table of medians of five, whole processes, taken in turn. Asserts that the results are
the same, never the times. OpusFilter's requirements clash with ours: it needs an environment of
its own (`pip install opusfilter==3.3.1`); without one its row is left out.
"""

import argparse
import contextlib
import io
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.lines import read_bitext, read_lines, write_bitext
from pipeline.parallel import cores
from preprocess.bitext import languages, write_languages
from preprocess.clean import clean
from preprocess.subword import subword

_BIN = Path(sys.executable).parent
_OURS = [sys.executable, "-m", "tests.benchmarks.ours"]


@dataclass
class Race:
    """Two ways to do the same work, and how to see that it is the same."""

    step: str
    against: str
    theirs: Callable[[], None]
    ours: Callable[[], None]
    check: Callable[[], None]
    at_least: float

    def run(self, times: int) -> str:
        """Run both in turn, check, and return a line of the table."""
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(times):
            for side, work in enumerate((self.theirs, self.ours)):
                start = time.perf_counter()
                work()
                seconds[side].append(time.perf_counter() - start)
        self.check()
        theirs, ours = map(statistics.median, seconds)
        return (
            f"{self.step:<18}{self.against:<34}{theirs:>8.1f}{ours:>8.1f}"
            f"{theirs / ours:>8.1f}×{self.at_least:>7.0f}×"
        )


def call(*command: str | Path, out: Path | None = None, source: Path | None = None) -> None:
    """Run a program quietly, its output to a file."""
    with open(source or os.devnull, "rb") as stdin, open(out or os.devnull, "wb") as stdout:
        done = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
    # preprocess.inspect ends with 1 where it finds the text unsafe.
    if done.returncode > ("preprocess.inspect" in command):
        raise RuntimeError(f"{command} ended with {done.returncode}")


def same(*pairs: tuple[Path, Path]) -> None:
    """Raise unless the files of each pair hold the same bytes."""
    for left, right in pairs:
        assert left.read_bytes() == right.read_bytes(), f"{left} differs from {right}"


def races(bitext: Path, work: Path, opusfilter: Path | None) -> list[Race]:
    """All races on the training text of `bitext`."""
    src, tgt = languages(bitext)
    text = [bitext / f"train.{code}" for code in (src, tgt)]
    both = work / "both"
    both.write_bytes(b"".join(path.read_bytes() for path in text))
    merges = "6000"
    result = [
        Race(
            "subword-nmt learn", "subword-nmt learn-bpe",
            lambda: call(_BIN / "subword-nmt", "learn-bpe", "-s", merges, source=both,
                         out=work / "codes.theirs"),
            lambda: call(*_OURS, "learn", merges, work / "codes.ours", *text),
            lambda: same((work / "codes.theirs", work / "codes.ours")), 5,
        ),
        Race(
            "subword-nmt apply", "subword-nmt apply-bpe",
            lambda: call(_BIN / "subword-nmt", "apply-bpe", "-c", work / "codes.ours",
                         source=both, out=work / "bpe.theirs"),
            lambda: call(*_OURS, "apply", work / "codes.ours", both, work / "bpe.ours"),
            lambda: same((work / "bpe.theirs", work / "bpe.ours")), 10,
        ),
        _binarise(bitext, work, src, tgt),
        Race(
            f"tokenise ({tgt})", "sacremoses tokenize, 2 jobs",
            lambda: call(_BIN / "sacremoses", "-l", tgt, "-j", "2", "-q", "tokenize",
                         source=text[1], out=work / "tokens.theirs"),
            lambda: call(*_OURS, "tokenise", tgt, text[1], work / "tokens.ours"),
            lambda: same((work / "tokens.theirs", work / "tokens.ours")), 3,
        ),
    ]  # fmt: skip
    clean(bitext, work / "plain", filters=[])
    if opusfilter:
        result.append(_clean(work, src, tgt, opusfilter))
    return result


def _binarise(bitext: Path, work: Path, src: str, tgt: str) -> Race:
    cut, theirs, ours = work / "subword", work / "binary.theirs", work / "binary.ours"
    subword(bitext, cut, vocab_size=6000, model_type="subword-nmt")

    def check() -> None:
        for code in (src, tgt):
            names = [f"dict.{code}.txt"]
            for part in ("train", "valid", "test"):
                names += [f"{part}.{src}-{tgt}.{code}.{end}" for end in ("bin", "idx")]
            same(*((theirs / name, ours / name) for name in names))

    def preprocess() -> None:
        shutil.rmtree(theirs, ignore_errors=True)  # it refuses to write where a dictionary is
        call(_BIN / "fairseq-preprocess", "-s", src, "-t", tgt, "--joined-dictionary",
             *("--trainpref", cut / "train", "--validpref", cut / "dev"),
             *("--testpref", cut / "test", "--destdir", theirs, "--workers", "2"))  # fmt: skip

    return Race(
        "binarise", "fairseq-preprocess --workers 2", preprocess,
        lambda: call(sys.executable, "-m", "preprocess.binarise", "--subwords", cut,
                     "--out", ours),
        check, 10,
    )  # fmt: skip


# The same filters, and each pair only once. Some limits of OpusFilter are exclusive.
_OPUSFILTER = """
common: {{output_directory: {work}}}
steps:
  - type: filter
    parameters:
      inputs: [opus.source, opus.target]
      outputs: [opus.kept.source, opus.kept.target]
      filters:
        - LengthFilter: {{unit: word, min_length: 1, max_length: 40}}
        - LengthFilter: {{unit: char, min_length: 1, max_length: 200}}
        - LengthRatioFilter: {{unit: word, threshold: 2.0001}}
        - LengthRatioFilter: {{unit: char, threshold: 2.5001}}
        - LongWordFilter: {{threshold: 26}}
        - CharacterScoreFilter: {{scripts: [Latin, Latin], thresholds: [1, 1]}}
  - type: remove_duplicates
    parameters:
      inputs: [opus.kept.source, opus.kept.target]
      outputs: [opus.out.source, opus.out.target]
"""
_FILTERS = """
filters:
  - words: {max: 40}
  - characters: {max: 200}
  - word_ratio: {max: 2, add: 0}
  - character_ratio: {max: 2.5, add: 0}
  - longest_word: {max: 25}
  - script: {min: 1}
  - repeated_pair: {max: 0}
"""


def _clean(work: Path, src: str, tgt: str, opusfilter: Path) -> Race:
    # Both get text that normalising does not change, so that the filters alone differ.
    plain, out = work / "plain", work / "clean"
    for code, name in ((src, "source"), (tgt, "target")):
        (work / f"opus.{name}").write_bytes((plain / f"train.{code}").read_bytes())
    config, filters = work / "opusfilter.yaml", work / "filters.yaml"
    config.write_text(_OPUSFILTER.format(work=work), encoding="utf-8")
    filters.write_text(_FILTERS, encoding="utf-8")
    return Race(
        "clean", f"OpusFilter, {len(_FILTERS.split('- ')) - 1} filters",
        lambda: call(opusfilter, "--overwrite", "--n-jobs", "2", config),
        lambda: call(sys.executable, "-m", "preprocess.clean", "--bitext", plain, "--out", out,
                     "--config", filters),
        lambda: same((work / "opus.out.source", out / f"train.{src}"),
                     (work / "opus.out.target", out / f"train.{tgt}")), 10,
    )  # fmt: skip


def moses_rules(bitext: Path, work: Path) -> str:
    """Check clean against the rules of Moses' clean-corpus-n (1 to 80 tokens, ratio 9)."""
    src, tgt = languages(bitext)
    expected = [
        (source, target)
        for source, target in read_bitext(work / "plain" / f"train.{src}",
                                          work / "plain" / f"train.{tgt}")
        if 1 <= len(source.split()) <= 80 and 1 <= len(target.split()) <= 80
        and len(source.split()) / len(target.split()) <= 9
        and len(target.split()) / len(source.split()) <= 9
    ]  # fmt: skip
    write_bitext(work / "moses.source", work / "moses.target", expected)
    filters = [{"words": {"max": 80}}, {"word_ratio": {"max": 9, "add": 0}}]
    with contextlib.redirect_stdout(io.StringIO()):
        clean(work / "plain", work / "moses", filters=filters)
    same((work / "moses.source", work / "moses" / f"train.{src}"),
         (work / "moses.target", work / "moses" / f"train.{tgt}"))  # fmt: skip
    return f"clean keeps the {len(expected):,} pairs that Moses' clean-corpus-n rules keep"


def longer(bitext: Path, pairs: int, out: Path) -> Path:
    """A bitext of any size, of pairs that are two of the given ones in a row, at random."""
    src, tgt = languages(bitext)
    known = list(read_bitext(bitext / f"train.{src}", bitext / f"train.{tgt}"))
    choose = random.Random(1)
    write_languages(out, src, tgt)
    drawn = (choose.choices(known, k=2) for _ in range(pairs))
    joined = ((f"{a[0]} {b[0]}", f"{a[1]} {b[1]}") for a, b in drawn)
    write_bitext(out / f"train.{src}", out / f"train.{tgt}", joined)
    for name in ("dev", "test"):
        for code in (src, tgt):
            shutil.copyfile(bitext / f"{name}.{code}", out / f"{name}.{code}")
    return out


def main() -> None:
    """Read the arguments, race, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bitext", type=Path, required=True, help="directory with train.SRC …")
    parser.add_argument("--opusfilter", type=Path, help="its command, in another environment")
    parser.add_argument("--times", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--pairs", type=int, help="race on so many, two of the text's in a row")
    parser.add_argument("--only", default="", help="race only steps with this in their name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        work, bitext = Path(name), arguments.bitext
        if arguments.pairs:
            bitext = longer(bitext, arguments.pairs, work / "longer")
        pairs = sum(1 for _ in read_lines(bitext / f"train.{languages(bitext)[0]}"))
        print(f"{pairs:,} pairs, {cores()} cores, {platform.machine()}; seconds")
        print(f"{'step':<18}{'against':<34}{'theirs':>8}{'ours':>8}{'ratio':>9}{'asked':>8}")
        with contextlib.redirect_stdout(io.StringIO()):
            planned = races(bitext, work, arguments.opusfilter)
        for race in planned:
            if arguments.only in race.step:
                print(race.run(arguments.times), flush=True)
        if arguments.only in "clean":
            print(moses_rules(bitext, work))
        if arguments.only in "inspect":
            inspect = [sys.executable, "-m", "preprocess.inspect", "--identify", "0"]
            seconds = []
            for _ in range(arguments.times):
                start = time.perf_counter()
                call(*inspect, "--bitext", bitext, "--out", work / "inspect")
                seconds.append(time.perf_counter() - start)
            median = statistics.median(seconds)
            print(f"inspect, without languages: {median:.1f} s, {pairs / median:,.0f} pairs/s")


if __name__ == "__main__":
    main()
