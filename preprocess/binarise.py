"""Write subwords as the numbers that fairseq reads, byte for byte as fairseq-preprocess does."""

import shutil
import struct
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_blocks, read_lines
from pipeline.manifest import note
from pipeline.parallel import parallel_map
from pipeline.progress import progress
from preprocess.bitext import PAIRS, SETS, languages, write_languages
from preprocess.subword import DICTIONARY

# fairseq's numbers for its own symbols, before those of the dictionary.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_EOS, _UNK, _LINE_END = 2, 3, -1
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
    prefix: Path, blocks: Iterable[tuple[bytes, NDArray[np.int32]]], dtype: np.dtype[Any]
) -> tuple[int, int]:
    """Write fairseq's memory-mapped `prefix.bin` and `prefix.idx`.

    Each block is the numbers of some sentences, one after the other, as bytes of `dtype`, and the
    length of each sentence with its `</s>`. Returns the number of sentences and the longest length.
    """
    parts = [np.zeros(0, np.int32)]
    with open(f"{prefix}.bin", "wb") as file:
        for numbers, lengths in blocks:
            file.write(numbers)
            parts.append(lengths)
    sizes = np.concatenate(parts)
    pointers = np.zeros(len(sizes), dtype=np.int64)
    np.cumsum(sizes[:-1], dtype=np.int64, out=pointers[1:])
    pointers *= dtype.itemsize
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00")
        file.write(struct.pack("<QBQ", 1, _TYPE_CODES[dtype], len(sizes)))
        file.write(sizes.tobytes())
        file.write(pointers.tobytes())
    return len(sizes), int(sizes.max(initial=0))


def number_type(numbers: dict[str, int]) -> np.dtype[Any]:
    """The type that fairseq-preprocess writes: two bytes while the vocabulary allows it."""
    return np.dtype(np.uint16 if len(numbers) < 65500 else np.int32)


def indexer(
    numbers: dict[str, int],
) -> Callable[[list[str]], tuple[bytes, NDArray[np.int32]]]:
    """A function from lines of subwords to their numbers, each line with `</s>`, and lengths."""
    table, dtype = {**numbers, "\0": _LINE_END}, number_type(numbers)
    return lambda lines: _numbers(lines, table, dtype)


def _numbers(
    lines: list[str], table: dict[str, int], dtype: np.dtype[Any]
) -> tuple[bytes, NDArray[np.int32]]:
    # All words of the block in one go, with NUL, which the reader drops, for the line ends. White
    # space of any kind separates words, as for fairseq.
    words = " \0 ".join([*lines, ""]).split()
    found = np.fromiter(map(table.get, words, repeat(_UNK)), np.int32, len(words))
    ends = np.flatnonzero(found == _LINE_END)
    found[ends] = _EOS
    return found.astype(dtype).tobytes(), np.diff(ends, prepend=-1).astype(np.int32)


def binarise(subwords: Path, out: Path, workers: int | None = None) -> None:
    """Turn the subwords of train, dev and test into fairseq's data directory.

    Example: python -m preprocess.binarise --subwords exp/subword --out exp/binary

    Args:
        subwords: directory that preprocess.subword made.
        out: directory for train.SRC-TGT.SRC.bin, .idx, dict.SRC.txt …
        workers: processes; one per core unless given. The result is the same.

    """
    src, tgt = languages(subwords)
    numbers = read_dictionary(subwords / DICTIONARY)
    look_up, dtype = indexer(numbers), number_type(numbers)

    write_languages(out, src, tgt)
    (out / f"train{PAIRS}").unlink(missing_ok=True)  # of an earlier run
    if (subwords / f"train{PAIRS}").exists():
        shutil.copyfile(subwords / f"train{PAIRS}", out / f"train{PAIRS}")
    facts = {}
    for language in (src, tgt):
        shutil.copyfile(subwords / DICTIONARY, out / f"dict.{language}.txt")
        for name in SETS:
            prefix = out / f"{_FAIRSEQ_NAMES[name]}.{src}-{tgt}.{language}"
            blocks = parallel_map(look_up, read_blocks(subwords / f"{name}.{language}"), workers)
            shown = progress(blocks, f"binarising {name}.{language}", "blocks")
            count, longest = write_indexed(prefix, shown, dtype)
            facts[f"{name}.{language}"] = {"sentences": count, "longest": longest}
            print(f"{name:<5} {language:<6} {count:>9,} sentences, longest {longest:,} subwords")
    note(out, sets=facts)


if __name__ == "__main__":
    command(binarise)
