"""Our side of the benchmarks, as commands that read and write files like the tools they race.

python -m tests.benchmarks.ours learn MERGES CODES TEXT TEXT
python -m tests.benchmarks.ours apply CODES TEXT OUT
python -m tests.benchmarks.ours tokenise LANGUAGE TEXT OUT
"""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipeline.lines import read_blocks, write_blocks
from pipeline.parallel import parallel_map
from preprocess import bpe


def learn(merges: str, codes: str, *files: str) -> None:
    """As subword-nmt learn-bpe."""

    def count(lines: list[str]) -> Counter[str]:
        return Counter(word for line in lines for word in line.strip("\r\n ").split(" ") if word)

    counts = Counter[str]()
    for part in parallel_map(count, (block for file in files for block in read_blocks(file))):
        counts.update(part)
    bpe.write_codes(Path(codes), bpe.learn(counts, int(merges)))


def apply(codes: str, text: str, out: str) -> None:
    """As subword-nmt apply-bpe."""
    encoder = bpe.Encoder(bpe.read_codes(Path(codes)))
    write_blocks(out, parallel_map(lambda x: joined(encoder.encode(x)), read_blocks(text)))


def tokenise(language: str, text: str, out: str) -> None:
    """As sacremoses tokenize, which escapes."""
    from preprocess.moses import Tokeniser

    tokenise = Tokeniser(language, escape=True).tokenise
    write_blocks(out, parallel_map(lambda x: joined(map(tokenise, x)), read_blocks(text)))


def joined(lines: Iterable[str]) -> str:
    """Lines as they stand in a file."""
    return "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    {"learn": learn, "apply": apply, "tokenise": tokenise}[sys.argv[1]](*sys.argv[2:])
