"""Write subwords as the numbers that fairseq reads, byte for byte as fairseq-preprocess does."""

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import note
from preprocess.bitext import SETS, languages, write_languages
from preprocess.subword import DICTIONARY

# fairseq's numbers for its own symbols, before those of the dictionary.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_EOS, _UNK = 2, 3
_FAIRSEQ_NAMES = {"train": "train", "dev": "valid", "test": "test"}
# Codes of numpy types in the index file, as fairseq's indexed_dataset numbers them.
_TYPE_CODES = {np.dtype(np.uint16): 8, np.dtype(np.int32): 4}


def read_dictionary(path: Path) -> dict[str, int]:
    """Numbers of the subwords in a fairseq dictionary file, fairseq's own symbols included.

    Raises RecipeError with file and line for anything but `subword count`, a subword given
    twice, or one of fairseq's symbols.
    """
    numbers = {symbol: number for number, symbol in enumerate(SPECIAL)}
    for line_number, line in enumerate(read_lines(path), start=1):
        piece, _, count = line.rpartition(" ")
        if not piece or not count.isdigit():
            raise RecipeError(f"{path}, line {line_number}: expected 'subword count', not {line!r}")
        if piece in numbers:
            what = "fairseq's own symbol" if piece in SPECIAL else "given twice"
            raise RecipeError(f"{path}, line {line_number}: {piece!r} is {what}")
        numbers[piece] = len(numbers)
    return numbers


def write_indexed(
    prefix: Path, sentences: Iterable[np.ndarray], vocabulary: int
) -> tuple[int, int]:
    """Write fairseq's memory-mapped `prefix.bin` and `prefix.idx`.

    `sentences` are 1-dimensional arrays of numbers, each ending with that of `</s>`. Returns
    the number of sentences and the length of the longest one.
    """
    # As fairseq-preprocess chooses: two bytes a number while the vocabulary allows it.
    dtype = np.dtype(np.uint16 if vocabulary < 65500 else np.int32)
    sizes = []
    with open(f"{prefix}.bin", "wb") as file:
        for sentence in sentences:
            file.write(sentence.astype(dtype).tobytes())
            sizes.append(len(sentence))
    pointers = np.zeros(len(sizes), dtype=np.int64)
    np.cumsum(np.array(sizes[:-1], dtype=np.int64) * dtype.itemsize, out=pointers[1:])
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00")
        file.write(struct.pack("<QBQ", 1, _TYPE_CODES[dtype], len(sizes)))
        file.write(np.array(sizes, dtype=np.int32).tobytes())
        file.write(pointers.tobytes())
    return len(sizes), max(sizes, default=0)


def binarise(subwords: Path, out: Path) -> None:
    """Turn the subwords of train, dev and test into fairseq's data directory.

    Example: python -m preprocess.binarise --subwords exp/subword --out exp/binary

    Args:
        subwords: directory that preprocess.subword made.
        out: directory for train.SRC-TGT.SRC.bin, .idx, dict.SRC.txt …

    """
    src, tgt = languages(subwords)
    numbers = read_dictionary(subwords / DICTIONARY)
    write_languages(out, src, tgt)
    facts = {}
    for language in (src, tgt):
        shutil.copyfile(subwords / DICTIONARY, out / f"dict.{language}.txt")
        for name in SETS:
            prefix = out / f"{_FAIRSEQ_NAMES[name]}.{src}-{tgt}.{language}"
            sentences = (
                np.array([*(numbers.get(p, _UNK) for p in line.split(" ") if p), _EOS])
                for line in read_lines(subwords / f"{name}.{language}")
            )
            count, longest = write_indexed(prefix, sentences, len(numbers))
            facts[f"{name}.{language}"] = {"sentences": count, "longest": longest}
            print(f"{name:<5} {language:<6} {count:>9,} sentences, longest {longest:,} subwords")
    note(out, sets=facts)


if __name__ == "__main__":
    command(binarise)
