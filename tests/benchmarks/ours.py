"""Our side of the benchmarks, as commands that read and write files like the tools they race.

python -m tests.benchmarks.ours learn MERGES CODES TEXT TEXT
python -m tests.benchmarks.ours apply CODES TEXT OUT
python -m tests.benchmarks.ours tokenise LANGUAGE TEXT OUT
"""

import sys
from collections import Counter
from pathlib import Path

from pipeline.lines import read_blocks, write_lines
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
    blocks = parallel_map(encoder.encode, read_blocks(text))
    write_lines(out, (line for block in blocks for line in block))


def tokenise(language: str, text: str, out: str) -> None:
    """As sacremoses tokenize, which escapes."""
    from preprocess.moses import Tokeniser

    tokeniser = Tokeniser(language, escape=True)
    blocks = parallel_map(lambda lines: [tokeniser.tokenise(x) for x in lines], read_blocks(text))
    write_lines(out, (line for block in blocks for line in block))


if __name__ == "__main__":
    {"learn": learn, "apply": apply, "tokenise": tokenise}[sys.argv[1]](*sys.argv[2:])
