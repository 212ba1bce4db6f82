"""Bundles and translating, with the toy model of the quick start."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from decode.bundle import Bundle
from decode.export import export
from decode.search import Search
from decode.segments import is_loop, split_long
from pipeline.errors import RecipeError
from preprocess.codec import MODEL, Codec, write_settings
from preprocess.subword import learn_sentencepiece
from train.checkpoints import load

GREEDY = Search(beam=1)
TEXT = ["La casa es gran. El gos dorm. Plou molt a la muntanya!", "El gat menja. On és?"] * 10


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    directory = tmp_path_factory.mktemp("codec")
    (directory / MODEL).write_bytes(learn_sentencepiece(TEXT, 60)[0])
    write_settings(directory, {"type": "sentencepiece"})
    return Codec(directory)


@pytest.mark.parametrize("limit", [1, 5, 12, 30])
def test_long_lines_are_cut_and_nothing_is_lost(codec: Codec, limit: int) -> None:  # F3
    line = TEXT[0] * 3
    parts = split_long(line, limit, codec, "ca")
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join(codec.decode(p) for p in parts).replace(" ", "") == line.replace(" ", "")


def test_cuts_are_at_sentence_ends(codec: Codec) -> None:
    longest = max(len(p) for p in codec.encode(["La casa es gran. El gos dorm."], "ca"))
    parts = [codec.decode(p) for p in split_long(TEXT[0], longest, codec, "ca")]
    assert parts == ["La casa es gran. El gos dorm.", "Plou molt a la muntanya!"]


@pytest.mark.parametrize(
    ("line", "loop"),
    [("a b c a b c a b c a b c", True), ("x a b c a b c a b c a b c y", True),
     ("a a a a a a a a a a a a", True), ("a b c a b c a b c", False), ("", False),
     ("我们说我们说我们说我们说", True), ("我们说我们说你们说我们说", False), ("hahaha", False)],
)  # fmt: skip
def test_loops(line: str, loop: bool) -> None:
    assert is_loop(line) is loop


@pytest.mark.slow
def test_one_line_out_for_each_line_in(finished) -> None:
    source = (finished.exp / "clean" / "test.es").read_text().split("\n")[:-1]
    lines = [source[0], "", source[1], "   ", " ".join(source * 4), "\u200b", *source]
    bundle = Bundle.load(finished.exp / "bundle-1")
    outputs = bundle.translate(lines)
    assert len(outputs) == len(lines)
    assert outputs[1] == outputs[3] == outputs[5] == ""
    # The same source gives the same translation wherever it stands.
    assert outputs[6] == outputs[0] and outputs[7] == outputs[2]
    assert bundle.counts.split == 1 and bundle.counts.lines == len(lines)
    assert bundle.counts.blank == 2


@pytest.mark.slow
def test_outputs_that_never_end_are_cut_and_counted(finished) -> None:  # F4
    """The toy model hardly learned to stop; what it cuts is what the bundle says."""
    bundle = Bundle.load(finished.exp / "bundle-1", search=GREEDY)
    source = (finished.exp / "clean" / "train.es").read_text().split("\n")[:200]
    outputs = bundle.translate(source)
    lengths = [len(p) for p in bundle.codec.encode(outputs, "ca")]
    limits = [2 * len(p) + 20 for p in bundle.codec.encode(source, "es")]
    assert bundle.counts.cut <= 200 and max(lengths) <= max(limits) + 5


@pytest.mark.slow
def test_the_command_reads_raw_text_and_writes_raw_text(finished) -> None:
    command = [sys.executable, "-m", "decode.translate", "--bundle", finished.exp / "bundle-1"]
    result = subprocess.run(
        command, input=b"nifo niba\r\n\n\xef\xbb\xbfguru tetela sa", capture_output=True
    )
    lines = result.stdout.decode().split("\n")
    assert result.returncode == 0 and len(lines) == 4 and lines[1] == lines[3] == ""
    assert b"3 lines, 1 blank" in result.stderr
    bad = subprocess.run(command, input=b"a\xff", capture_output=True, text=False)
    assert bad.returncode == 2
    assert b"error: standard input, line 1, byte 1: 0xff is not valid UTF-8" in bad.stderr


def fairseq_generate(exp: Path, path: str, beam: int) -> list[str]:
    """The lines that the reference decoder makes; its H lines come in batch order (F2)."""
    script = (
        "import argparse, torch; torch.serialization.add_safe_globals([argparse.Namespace]);"
        "from fairseq_cli.generate import cli_main; cli_main()"
    )
    result = subprocess.run(
        [
            *(sys.executable, "-c", script, exp / "binary", "-s", "es", "-t", "ca"),
            *("--path", path, "--beam", str(beam), "--max-len-a", "2", "--max-len-b", "20"),
            *("--required-batch-size-multiple", "1", "--max-tokens", "400"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for line in result.stdout.split("\n"):
        if line.startswith("H-"):
            number, _, pieces = line[2:].split("\t")
            found[int(number)] = Codec(exp / "subword").decode(pieces.split(" "))
    assert sorted(found) == list(range(len(found)))
    return [found[number] for number in sorted(found)]


@pytest.mark.slow
def test_translations_are_those_of_fairseq_generate(finished) -> None:
    """Greedy, since the toy model's hypotheses are too close for beam search to choose among."""
    exp = finished.exp
    theirs = fairseq_generate(exp, str(exp / "train-1" / "checkpoint.pt"), beam=1)
    source = (exp / "clean" / "test.es").read_text().split("\n")[:-1]
    ours = Bundle.load(exp / "bundle-1", search=GREEDY).translate(source)
    assert len(ours) == len(theirs)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    assert same >= 0.9 * len(ours)


@pytest.mark.slow
def test_an_ensemble_is_fairseq_s(finished, tmp_path: Path) -> None:
    exp = finished.exp
    first, second = exp / "train-1" / "checkpoint.pt", tmp_path / "second.pt"
    state = load(first)
    torch.manual_seed(1)
    for name, value in state["model"].items():
        if value.numel() > 1:
            state["model"][name] = value + 0.7 * value.std() * torch.randn(value.shape)
    torch.save(state, second)
    export(first, exp / "subword", tmp_path / "bundle", exp / "binary", ensemble=[str(second)])
    shutil.move(second, tmp_path / "elsewhere.pt")  # a bundle is complete in itself
    source = (exp / "clean" / "test.es").read_text().split("\n")[:-1]
    ours = Bundle.load(tmp_path / "bundle", search=Search(beam=2)).translate(source)
    theirs = fairseq_generate(exp, f"{first}:{tmp_path / 'elsewhere.pt'}", beam=2)
    alone = Bundle.load(exp / "bundle-1", search=Search(beam=2)).translate(source)
    same, same_alone = (
        sum(a == b for a, b in zip(ours, other, strict=True)) / len(ours)
        for other in (theirs, alone)
    )
    assert same >= 0.99 and same_alone < 0.9
    with pytest.raises(RecipeError, match="decodes in float32"):
        export(first, exp / "subword", tmp_path / "o", exp / "binary", "int8", [str(first)])


@pytest.mark.slow
def test_parts_that_do_not_belong_together_are_refused(finished, tmp_path: Path) -> None:
    exp = finished.exp
    other = tmp_path / "other"
    shutil.copytree(exp / "subword", other)
    (other / "subword.model").write_bytes(learn_sentencepiece(["altres paraules aquí"] * 9, 25)[0])
    with pytest.raises(RecipeError, match="is not the model that subword"):
        export(exp / "train-1" / "checkpoint.pt", other, tmp_path / "o", exp / "binary")
    data = tmp_path / "data"
    shutil.copytree(exp / "binary", data)
    with open(data / "dict.ca.txt", "a") as file:
        file.write("extra 1\n")
    with pytest.raises(RecipeError, match="are not of the same training"):
        export(exp / "train-1" / "checkpoint.pt", exp / "subword", tmp_path / "o", data)


@pytest.mark.slow
def test_nothing_of_an_earlier_bundle_stays(finished, tmp_path: Path) -> None:
    for name in ("vocabulary.es", "truecase.ca", "training.json", "bundle.json"):
        (tmp_path / name).write_text("of another model")
    (tmp_path / "tokeniser").mkdir()
    exp = finished.exp
    export(exp / "train-1" / "checkpoint.pt", exp / "subword", tmp_path, exp / "binary")
    made = {path.name for path in (exp / "bundle-1").iterdir()} - {"manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} - {"facts.json"} == made
    assert Bundle.load(tmp_path).translate(["nifo"]) == Bundle.load(exp / "bundle-1").translate(
        ["nifo"]
    )


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(finished) -> None:
    command = f"'{sys.executable}' -m decode.translate --bundle '{finished.exp}/bundle-1'"
    lines = f"yes 'nifo niba' | head -n 9000 | {command} | head -n 1"
    result = subprocess.run(["bash", "-c", lines], capture_output=True, text=True)
    assert "Traceback" not in result.stderr and result.stdout.count("\n") == 1


def test_a_directory_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is not a model bundle .*decode\.export"):
        Bundle.load(tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps({"surprise": 1}))
    with pytest.raises(RecipeError, match="is not a model bundle"):
        Bundle.load(tmp_path)
