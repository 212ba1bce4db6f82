"""Pairs a second of decode.backtranslate and decode.synthetic against fairseq-generate.

    python tests/benchmarks/backtranslation.py --exp EXP --mono LINES --language de --lines 4000

EXP is an experiment whose model translates from that language, with binary/, subword/, fetch/
and train-1/checkpoint.pt. Both sides read the same raw lines, and end with a filtered bitext;
fairseq's output is put together by ours, so that only cutting and decoding differ.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from decode.backtranslate import FILE
from pipeline.lines import write_lines
from preprocess.bitext import languages
from preprocess.codec import Codec
from preprocess.monolingual import read_shard

METHODS = {
    "beam": ["--beam", "5"],
    "greedy": ["--beam", "1"],
    "sampling": ["--beam", "1", "--sampling"],
    "top-k": ["--beam", "1", "--sampling", "--sampling-topk", "10"],
}
GENERATE = (
    "import argparse, torch; torch.serialization.add_safe_globals([argparse.Namespace]);"
    "from fairseq_cli.generate import cli_main; cli_main()"
)


def run(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(
        [sys.executable, *words], check=True, capture_output=True, text=True
    ).stdout


def fairseq(exp: Path, shard: Path, method: str, out: Path, tokens: int) -> None:
    """Cut, binarise, generate, put in order, join the subwords."""
    src, tgt = languages(exp / "binary")
    codec, rows = Codec(exp / "subword"), list(read_shard(shard))
    pieces = codec.encode([line for _, line in rows], src)
    write_lines(out / f"mono.{src}", (" ".join(units) for units in pieces))
    run("-c", "from fairseq_cli.preprocess import cli_main; cli_main()", "-s", src, "-t", tgt,
        "--only-source", "--testpref", out / "mono", "--destdir", out / "binary",
        "--srcdict", exp / "binary" / f"dict.{src}.txt", "--workers", 2)  # fmt: skip
    (out / "binary" / f"dict.{tgt}.txt").write_bytes(
        (exp / "binary" / f"dict.{tgt}.txt").read_bytes()
    )
    text = run("-c", GENERATE, out / "binary", "-s", src, "-t", tgt, "--path",
               exp / "train-1" / "checkpoint.pt", "--dataset-impl", "mmap", "--max-len-a", 2,
               "--max-len-b", 20, "--max-tokens", tokens, "--required-batch-size-multiple", 1,
               "--skip-invalid-size-inputs-valid-test", *METHODS[method])  # fmt: skip
    found = {}
    for line in text.split("\n"):
        if line.startswith("H-"):
            number, score, units = line[2:].split("\t")
            found[int(number)] = score, codec.restore(units.split(" "), tgt)
    lines = (
        f"{number}\t{found[row][0]}\t0\t{line}\t{found[row][1]}"
        for row, (number, line) in enumerate(rows)
    )
    write_lines(out / FILE, lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--mono", type=Path, required=True)
    parser.add_argument("--language", required=True)
    parser.add_argument("--lines", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    arguments = parser.parse_args()
    for method in arguments.methods:
        with tempfile.TemporaryDirectory() as directory:
            shard = Path(directory) / "shard-1.tsv"
            first = [f"{n}\t{line}" for n, line in read_shard(arguments.mono)][: arguments.lines]
            write_lines(shard, first)
            seconds = {}
            for name in ("ours", "fairseq"):
                out = Path(directory) / name
                out.mkdir()
                started = time.monotonic()
                if name == "fairseq":
                    fairseq(arguments.exp, shard, method, out, arguments.tokens)
                else:
                    run("-m", "decode.backtranslate", "--shard", shard, "--bundle",
                        arguments.bundle, "--method", method, "--out", out)  # fmt: skip
                run("-m", "decode.synthetic", "--shards", f"[{out}]", "--language",
                    arguments.language, "--bitext", arguments.exp / "fetch", "--out",
                    out / "synthetic")  # fmt: skip
                seconds[name] = time.monotonic() - started
        rates = {name: len(first) / value for name, value in seconds.items()}
        print(
            f"{method:<10} ours {rates['ours']:7.0f}  fairseq {rates['fairseq']:7.0f} lines a "
            f"second  ratio {rates['ours'] / rates['fairseq']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
