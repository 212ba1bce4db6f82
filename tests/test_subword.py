"""Subwords, their codec and binary files; right values by hand or from the reference tools."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_preprocess import make_bitext

from pipeline.errors import RecipeError
from preprocess.binarise import binarise, read_dictionary
from preprocess.codec import MODEL, Codec
from preprocess.escape import escape, unescape
from preprocess.normalise import normalise
from preprocess.subword import fairseq_dictionary, learn_sentencepiece, subword

TEXT = [
    "Abre el archivo y guarda los cambios en el disco.",
    "Obre el fitxer i desa els canvis al disc.",
    "use &apos; and &#91; in <b> </s> <unk> <pad>",  # D3
    "১২৩ x² ½ ﬁ Ọmọ náà lọ sí ọjà",
    "数字と漢字",
]
RESERVED = ["<s>", "<pad>", "</s>", "<unk>", "<2es>", "<0xE2>", "@@", "foo@@", "a@@@ b", "▁", "▁a"]
KINDS: list[dict[str, Any]] = [
    {"model_type": "unigram", "vocab_size": 140, "symbols": ["<2es>", "<2ca>"]},
    {"model_type": "bpe", "vocab_size": 420, "byte_fallback": True},
    {"model_type": "subword-nmt", "vocab_size": 60, "vocabulary_threshold": 2,
     "glossaries": ["disc"], "symbols": ["<2es>"]},
]  # fmt: skip


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind["model_type"])
def cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of preprocess.subword, once for each type of model."""
    path = tmp_path_factory.mktemp("subword")
    train = [(a, b) for a in TEXT for b in TEXT] * 4
    make_bitext(path / "in", train=train, test=[(" ".join(RESERVED), "ñandú Ω")])
    subword(path / "in", path / "out", **request.param)
    return path / "out"


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MIXED = st.lists(st.one_of(ANY, st.sampled_from([*RESERVED, " "])), max_size=6).map("".join)


@given(MIXED)
def test_any_text_comes_back(cut: Path, line: str) -> None:
    codec = _codec(cut)
    (pieces,) = codec.encode([line], "es")
    assert codec.decode(pieces) == normalise(line)
    assert not set(pieces) & {"<s>", "</s>", "<unk>", "<pad>", "<2es>", "<2ca>"}
    # What is written with spaces between, and read by fairseq's own splitting, is the same.
    assert " ".join(pieces).split() == pieces


def _codec(directory: Path, known: dict[Path, Codec] = {}) -> Codec:  # noqa: B006 (a cache)
    if directory not in known:
        known[directory] = Codec(directory)
    return known[directory]


@given(MIXED)
def test_escaping_has_an_inverse(line: str) -> None:
    line = normalise(line)
    assert unescape(escape(line)) == line
    assert "▁" not in escape(line) and "@@" not in escape(line)


def test_reserved_text_in_files_is_read_as_text(cut: Path) -> None:
    numbers = read_dictionary(cut / "dict.txt")
    line = (cut / "test.es").read_text().rstrip("\n")
    assert not {numbers.get(piece, 3) for piece in line.split(" ")} & {0, 1, 2}
    assert _codec(cut).decode(line.split(" ")) == " ".join(RESERVED)


def test_one_worker_and_three_write_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.lines.BLOCK_BYTES", 20_000)  # several blocks
    train = [(f"frase {n} bona", f"oració {n % 999} bona") for n in range(9_000)]
    make_bitext(tmp_path / "in", train=train)
    for workers in (1, 3):
        for kind in ("bpe", "subword-nmt"):
            out = tmp_path / f"{kind}{workers}"
            subword(tmp_path / "in", out, 300, kind, workers=workers)  # type: ignore[arg-type]
            binarise(out, out / "binary", workers=workers)
    for kind in ("bpe", "subword-nmt"):
        ones = [path for path in (tmp_path / f"{kind}1").rglob("*") if path.is_file()]
        assert len(ones) > 20
        for path in ones:
            other = tmp_path / f"{kind}3" / path.relative_to(tmp_path / f"{kind}1")
            assert other.read_bytes() == path.read_bytes(), path.name


def test_tags_that_could_be_text_are_refused(tmp_path: Path) -> None:
    make_bitext(tmp_path / "in")
    with pytest.raises(RecipeError, match="symbol 'es' could be text; write tags as <2es>"):
        subword(tmp_path / "in", tmp_path / "out", symbols=["es"])


def test_a_model_of_another_directory_is_refused(cut: Path, tmp_path: Path) -> None:  # V5
    _codec(cut).save(tmp_path)
    Codec(tmp_path)
    (tmp_path / MODEL).write_bytes(b"#version: 0.2\n")
    with pytest.raises(RecipeError, match=r"is not the model that subword.json beside it"):
        Codec(tmp_path)


def test_subword_nmt_s_own_vocabulary(tmp_path: Path) -> None:
    """The steps of subword-nmt's manual by its own commands: the same subwords."""
    train = [(a, b) for a, b in zip(TEXT, [*TEXT[1:], TEXT[0]], strict=True)] * 3
    train += [("disco dos", "disc dos"), ("guarda cambios", "desa canvis")]
    train = [pair for pair in train if "<" not in "".join(pair)]
    make_bitext(tmp_path, train=train)
    subword(tmp_path, tmp_path / "out", 80, "subword-nmt", vocabulary_threshold=3)

    def tool(*arguments: str) -> None:
        command = [Path(sys.executable).parent / "subword-nmt", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    tool("learn-joint-bpe-and-vocab", "--input", "train.es", "train.ca", "-s", "80", "-o", "codes",
         "--write-vocabulary", "vocab.es", "vocab.ca")  # fmt: skip
    assert (tmp_path / "codes").read_bytes() == (tmp_path / "out" / MODEL).read_bytes()
    for language in ("es", "ca"):
        tool("apply-bpe", "-c", "codes", "--vocabulary", f"vocab.{language}",
             "--vocabulary-threshold", "3", "-i", f"train.{language}", "-o", "theirs")  # fmt: skip
        ours = (tmp_path / "out" / f"train.{language}").read_bytes()
        assert ours == (tmp_path / "theirs").read_bytes()


def test_a_vocabulary_that_is_out_of_reach_is_lowered() -> None:
    _, size = learn_sentencepiece(["a b c"] * 10, 4000)
    assert size < 20


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(RecipeError, match="no room for the"):
        learn_sentencepiece(["".join(chr(0x4E00 + n) for n in range(500))] * 3, 100)


def test_long_lines_and_commas_in_paths_are_no_obstacle(tmp_path: Path) -> None:  # V2, R2
    train = [(f"frase {n}", f"oració {n}") for n in range(10)] + [("zqzq " * 2000, "a")]
    make_bitext(tmp_path / "a dir, c é", train=train)
    subword(tmp_path / "a dir, c é", tmp_path / "out, put", vocab_size=60)
    assert "zqzq" in (tmp_path / "out, put" / "dict.txt").read_text()


def test_rare_characters_are_covered(tmp_path: Path) -> None:  # V3
    train = [("ሰላም ለዓለም", "hello")] * 300 + [("ፏፏቴ ጰጵ", "rare")]
    make_bitext(tmp_path, train=train, test=[("ፏጵ", "x")])
    subword(tmp_path, tmp_path / "out", vocab_size=60)
    codec = Codec(tmp_path / "out")
    assert codec.decode(codec.encode(["ፏጵ"], "es")[0]) == "ፏጵ"
    numbers = read_dictionary(tmp_path / "out" / "dict.txt")
    assert all(piece in numbers for piece in codec.encode(["ፏጵ"], "es")[0])


def test_the_dictionary_is_the_model_s(tmp_path: Path) -> None:  # V4
    make_bitext(tmp_path / "in", train=[("el gato <unk> come", "el gat menja")] * 9)
    subword(tmp_path / "in", tmp_path / "out", vocab_size=40)
    lines = (tmp_path / "out" / "dict.txt").read_text().split("\n")[:-1]
    assert all(line.rpartition(" ")[2].isdigit() for line in lines)
    assert len(read_dictionary(tmp_path / "out" / "dict.txt")) == len(lines) + 4


def test_fairseq_dictionary_by_hand() -> None:
    counts = Counter({"b": 2, "a": 2, "c": 5})
    assert fairseq_dictionary(counts) == ["c 5", "a 2", "b 2", "madeupword0000 0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("▁a 9\n<unk> 5\n", "line 2: '<unk>' is fairseq's own symbol"),
     ("a 1\na 2\n", "line 2: 'a' is given twice"),
     ("a\t-3.5\n", "line 1: expected 'subword count'")],
)  # fmt: skip
def test_a_wrong_dictionary_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dict.txt").write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_dictionary(tmp_path / "dict.txt")


@pytest.mark.slow
def test_binary_files_are_those_of_fairseq_preprocess(tmp_path: Path) -> None:
    train = [(f"el archivo {n} se abre", f"el fitxer {n} s'obre") for n in range(200)]
    make_bitext(tmp_path / "in", train=train, test=[("ñandú", "nyandú Ω"), ("", "")])
    subword(tmp_path / "in", tmp_path / "subword", vocab_size=60)
    binarise(tmp_path / "subword", tmp_path / "ours")
    text = tmp_path / "subword"
    subprocess.run(
        [
            *(sys.executable, "-m", "fairseq_cli.preprocess", "-s", "es", "-t", "ca"),
            *("--trainpref", text / "train", "--validpref", text / "dev"),
            *("--testpref", text / "test", "--srcdict", text / "dict.txt"),
            *("--joined-dictionary", "--destdir", tmp_path / "theirs"),
        ],
        check=True,
        capture_output=True,
    )
    theirs = [path for path in (tmp_path / "theirs").iterdir() if path.suffix != ".log"]
    assert len(theirs) == 14
    for path in theirs:
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes(), path.name
    # The unknown Ω is fairseq's 3, the end of the blank line its 2.
    test = np.fromfile(tmp_path / "ours" / "test.es-ca.ca.bin", dtype=np.uint16)
    assert 3 in test and test[-1] == 2
