"""Rows of reported failures that begin with the reading of lines; right values by hand."""

import bz2
import gzip
import lzma
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.lines import (
    numeric_order,
    one_line,
    read_bitext,
    read_lines,
    write_bitext,
    write_lines,
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"alpha one\r two\nbeta\ngamma\n", ["alpha one  two", "beta", "gamma"]),  # M2
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"", []),
        (b"\n", [""]),
        (b"a\x00b.\n", ["ab."]),  # M6
        ("lo\u0085wer\n".encode(), ["lo wer"]),  # M7
        ("a\u2028b\u2029c\x0bd\x0ce\x1cf\n".encode(), ["a b c d e f"]),
        (b"\xef\xbb\xbffirst\nsecond\n", ["first", "second"]),  # Z1
        ("a\ufeff\n".encode(), ["a"]),
    ],
)
def test_a_line_ends_at_lf_and_nowhere_else(
    tmp_path: Path, content: bytes, lines: list[str]
) -> None:
    assert list(read_lines(write(tmp_path / "c é, x.txt", content))) == lines  # R2


def test_changed_characters_are_counted(tmp_path: Path) -> None:
    changes = Counter[str]()
    list(read_lines(write(tmp_path / "t", "\ufeffa\0b\0\u0085c\rd\n".encode()), changes))
    assert changes == {"BOM": 1, "NUL": 2, "NEL": 1, "CR": 1}


def test_invalid_utf8_names_file_line_and_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "latin.txt", b"abc\nd\xe9f\n")
    with pytest.raises(RecipeError, match=r"latin\.txt, line 2, byte 5: 0xe9 is not valid UTF-8"):
        list(read_lines(path))


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
)
def test_compression_is_recognised_whatever_the_name(tmp_path: Path, compress) -> None:
    text = "".join(f"line {n} é\n" for n in range(1000))
    path = write(tmp_path / "plain.txt", compress(text.encode()))
    assert list(read_lines(path)) == text.split("\n")[:-1]


def test_concatenated_gzip_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "two.gz", gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert list(read_lines(path)) == ["a", "b"]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_cut_archive_is_an_error(tmp_path: Path, compress) -> None:
    whole = compress("".join(f"{n}\n" for n in range(10_000)).encode())
    with pytest.raises(RecipeError, match="damaged or cut"):
        list(read_lines(write(tmp_path / "cut", whole[: len(whole) // 2])))


def test_a_short_side_is_refused_with_both_counts(tmp_path: Path) -> None:  # M4
    source = write(tmp_path / "s", b"one\n\nthree\nfour\n")
    target = write(tmp_path / "t", b"un\ndeux\ntrois\n")
    with pytest.raises(RecipeError, match=r"s has 4 lines but .*t has 3"):
        list(read_bitext(source, target))
    with pytest.raises(RecipeError, match=r"t has 3 lines but .*s has 4"):
        list(read_bitext(target, source))


def test_a_missing_final_newline_joins_nothing(tmp_path: Path) -> None:  # Z2
    first, second = write(tmp_path / "1", b"a\nb"), write(tmp_path / "2", b"c\n")
    lines = [line for path in (first, second) for line in read_lines(path)]
    assert lines == ["a", "b", "c"]


def test_what_is_written_has_one_line_per_item(tmp_path: Path) -> None:  # M8
    assert write_lines(tmp_path / "o", ["a\nb", "", "c\u2028d"]) == 3
    assert (tmp_path / "o").read_bytes() == b"a b\n\nc d\n"


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    def pairs():
        yield "a", "b"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bitext(tmp_path / "s", tmp_path / "t", pairs())
    assert not (tmp_path / "s").exists() and not (tmp_path / "t").exists()


def test_shards_come_in_numeric_order() -> None:  # M9
    shards = [Path(f"d10/file.{n}.gz") for n in (1, 10, 11, 2, 3)]
    assert [p.name for p in numeric_order(shards)] == [f"file.{n}.gz" for n in (1, 2, 3, 10, 11)]


@given(st.lists(st.text()))
def test_any_text_comes_back_as_many_lines(tmp_path_factory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / "t"
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    write_lines(path, texts)
    assert list(read_lines(path)) == [one_line(text) for text in texts]


def test_normal_text_is_untouched() -> None:
    yoruba = unicodedata.normalize("NFD", "Ọmọ náà lọ sí ọjà ní àárọ̀")
    assert one_line(yoruba) == yoruba
