"""The one reader and the one writer of text: UTF-8, and a line ends at \\n and nowhere else.

`str.splitlines`, text-mode files and many tools also break lines at a bare CR, U+0085 or
U+2028; two sides of a bitext then shift silently. Here those characters become a space, NUL and
byte order marks are dropped, and all of them are counted.
"""

import bz2
import gzip
import lzma
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, cast

import zstandard

from pipeline.errors import RecipeError

BLOCK_BYTES = 1 << 20
# What is done with a block of text takes some hundred bytes a character.
_CHARACTERS = 4_000_000
_SEPARATORS = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_DROPPED = "\0\ufeff"
_ODD_IN_LINES = (_SEPARATORS + _DROPPED).replace("\n", "")
_ODD = re.compile(f"[{_SEPARATORS}{_DROPPED}]")
_NAMES = {
    "\r": "CR", "\n": "LF", "\v": "VT", "\f": "FF", "\x1c": "FS", "\x1d": "GS", "\x1e": "RS",
    "\x85": "NEL", "\u2028": "LS", "\u2029": "PS", "\0": "NUL", "\ufeff": "BOM",
}  # fmt: skip


def one_line(text: str, changes: Counter[str] | None = None) -> str:
    """`text` as a single line: separators become a space, NUL and BOM are dropped.

    `changes`, where given, counts the replaced characters by name (`CR`, `NEL`, `NUL` …).
    """
    if not _ODD.search(text):
        return text

    def replace(match: re.Match[str]) -> str:
        if changes is not None:
            changes[_NAMES[match[0]]] += 1
        return "" if match[0] in _DROPPED else " "

    return _ODD.sub(replace, text)


_MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0", "bzip2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd"}
_SUFFIXES = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}


def decompressed(stream: IO[bytes]) -> IO[bytes]:
    """The bytes within `stream`; gzip, bzip2, xz and zstd are recognised by their magic bytes."""
    magic = stream.peek(6)[:6] if hasattr(stream, "peek") else stream.read(6)
    if not hasattr(stream, "peek"):
        stream.seek(0)
    packed = _packed(magic)
    if packed == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    if packed == "xz":
        return cast(IO[bytes], lzma.LZMAFile(stream))
    if packed == "bzip2":
        return cast(IO[bytes], bz2.BZ2File(stream))
    if packed == "zstd":
        return cast(
            IO[bytes], zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        )
    return stream


def _packed(magic: bytes) -> str | None:
    return next((name for name, start in _MAGIC.items() if magic.startswith(start)), None)


def compression(path: Path) -> dict[str, str | None]:
    """How a file is compressed, by its first bytes and by its name."""
    with open(path, "rb") as file:
        content = _packed(file.read(6))
    return {"by_content": content, "by_name": _SUFFIXES.get(Path(path).suffix)}


def read_stream(stream: IO[bytes], name: str, changes: Counter[str] | None = None) -> Iterator[str]:
    """Yield the lines of an open binary file; see `read_blocks`."""
    for block in _decoded(stream, name, changes):
        yield from block


def _decoded(
    stream: IO[bytes], name: str, changes: Counter[str] | None = None
) -> Iterator[list[str]]:
    offset = number = 0
    raw_blocks = _whole_lines(decompressed(stream))
    while True:
        try:
            raw = next(raw_blocks)
        except StopIteration:
            return
        except (EOFError, OSError, lzma.LZMAError, zstandard.ZstdError) as error:
            raise RecipeError(
                f"{name} is a damaged or cut compressed file ({error}, after line {number}); "
                "fetch it again"
            ) from error
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(
                f"{name}, line {number + raw.count(10, 0, error.start) + 1}, "
                f"byte {offset + error.start}: "
                f"0x{raw[error.start]:02x} is not valid UTF-8; convert the file first, "
                f"for example with iconv -f {_likely_encoding(raw, offset)} -t UTF-8"
            ) from error
        lines = text.removesuffix("\n").split("\n")
        if any(char in text for char in _ODD_IN_LINES):  # much faster than the expression
            lines = [one_line(line.removesuffix("\r"), changes) for line in lines]
        yield lines
        number += len(lines)
        offset += len(raw)


def _likely_encoding(raw: bytes, offset: int) -> str:
    utf_16 = offset == 0 and raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    return "UTF-16" if utf_16 else "WINDOWS-1252"


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    # zstd's reader cannot iterate by line, so this reads blocks, for all formats alike.
    rest: list[bytes] = []
    while block := stream.read(BLOCK_BYTES):
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, block[:end]])
            rest = []
        rest.append(block[end:])
    if last := b"".join(rest):
        yield last


def read_blocks(path: Path | str, changes: Counter[str] | None = None) -> Iterator[list[str]]:
    """Yield the lines of a file, compressed or not, without their line ends, in lists.

    `\\r\\n` counts as one line end. `changes` counts the characters that `one_line` mends.
    Raises RecipeError with file, line and byte offset (of the decompressed text) for invalid
    UTF-8, for a damaged archive and for a missing file.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; only opening is guarded)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}; check the path") from error
    with file:
        yield from _decoded(file, str(path), changes)


def read_lines(path: Path | str, changes: Counter[str] | None = None) -> Iterator[str]:
    """Yield the lines of a file one by one; see `read_blocks`."""
    for block in read_blocks(path, changes):
        yield from block


def read_bitext(source: Path | str, target: Path | str) -> Iterator[tuple[str, str]]:
    """Yield (source, target) pairs of two parallel files; see `read_bitext_blocks`."""
    for sources, targets in read_bitext_blocks(source, target):
        yield from zip(sources, targets, strict=True)


def read_bitext_blocks(
    source: Path | str,
    target: Path | str,
    size: int = 20_000,
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield `size` source lines and their target lines at a time; fewer if they are long.

    Raises RecipeError, naming both line counts, if one file is shorter: a truncated pair of
    files most likely has its sides shifted too.
    """
    sides = read_lines(source), read_lines(target)
    number = 0
    while True:
        blocks = [list(islice(side, size)) for side in sides]
        counts = [number + len(block) for block in blocks]
        if counts[0] != counts[1]:
            counts = [n + sum(1 for _ in side) for n, side in zip(counts, sides, strict=True)]
            raise RecipeError(
                f"{source} has {counts[0]:,} lines but {target} has {counts[1]:,}; "
                "parallel files must have the same number of lines: find where they part"
            )
        if counts[0] == number:
            return
        number = counts[0]
        for part in portions(blocks):
            yield part[0], part[1]


def portions(blocks: list[list[str]]) -> Iterator[list[list[str]]]:
    """Cut parallel blocks so that no portion has many more characters than _CHARACTERS."""
    lines = len(blocks[0])
    if lines < 2 or max(sum(map(len, block)) for block in blocks) <= _CHARACTERS:
        yield blocks
        return
    yield from portions([block[: lines // 2] for block in blocks])
    yield from portions([block[lines // 2 :] for block in blocks])


@contextmanager
def whole_file(path: Path | str) -> Iterator[IO[str]]:
    """A file to write text to, which appears under its name only when it is complete."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8", newline="\n") as file:
        yield file
    os.replace(partial, path)


def write_lines(path: Path | str, lines: Iterable[str]) -> int:
    """Write one line per item, atomically, and return their number.

    An item with a line separator inside (a model may produce one) is written as one line, so
    that lines out always equal items in.
    """
    count = 0
    with whole_file(path) as file:
        for line in lines:
            file.write(one_line(line) + "\n")
            count += 1
    return count


def write_blocks(path: Path | str, blocks: Iterable[str]) -> None:
    """Write text that is whole lines already, each with its newline, atomically."""
    with whole_file(path) as file:
        file.writelines(blocks)


def write_bitext(source: Path | str, target: Path | str, pairs: Iterable[tuple[str, str]]) -> int:
    """Write pairs as two parallel files and return how many; both files appear or neither."""
    count = 0
    with whole_file(source) as source_file, whole_file(target) as target_file:
        for source_line, target_line in pairs:
            source_file.write(one_line(source_line) + "\n")
            target_file.write(one_line(target_line) + "\n")
            count += 1
    return count


def numeric_order(paths: Iterable[Path]) -> list[Path]:
    """Shards in the order of their numbers: `part.2` before `part.10`."""
    return sorted(
        paths,
        key=lambda path: [
            (int(piece), "") if piece.isdigit() else (-1, piece)
            for piece in re.split(r"(\d+)", str(path))
        ],
    )
