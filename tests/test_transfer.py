"""A child's first checkpoint from its parent's, and training that goes on from it."""

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
import yaml
from conftest import REPOSITORY, Recipe

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess.binarise import binarise
from preprocess.bitext import write_languages
from preprocess.codec import Codec
from preprocess.subword import subword
from train.checkpoints import load
from train.curves import read_curves
from train.embeddings import write_vectors
from train.fairseq import train
from train.transfer import transfer

PARENT = ["▁a", "▁ab", "▁b", "ca", "zz"]
CHILD = ["▁b", "▁abc", "zz", "q"]


def dictionary(path: Path, words: list[str]) -> None:
    path.write_text("".join(f"{word} 5\n" for word in words))


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A checkpoint with shared embeddings, a row of its own for each subword."""
    directory = tmp_path / "parent"
    directory.mkdir()
    table = torch.arange(4.0 + len(PARENT))[:, None].repeat(1, 3)
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
             "decoder.output_projection.weight")  # fmt: skip
    model = {**dict.fromkeys(names, table), "encoder.layers.0.fc1.weight": torch.full((2, 2), 7.0)}
    state = {"model": model, "last_optimizer_state": {"state": {}}, "args": argparse.Namespace()}
    torch.save(state, directory / "checkpoint.pt")
    for side in ("encoder", "decoder"):
        dictionary(directory / f"dict.{side}.txt", PARENT)
    return directory / "checkpoint.pt"


def child(directory: Path, source: list[str], target: list[str]) -> Path:
    write_languages(directory, "es", "gl")
    dictionary(directory / "dict.es.txt", source)
    dictionary(directory / "dict.gl.txt", target)
    return directory


def test_rows_follow_their_strings(parent: Path, tmp_path: Path) -> None:
    data = child(tmp_path / "child", CHILD, CHILD)
    transfer(parent, data, tmp_path / "first")
    state = load(tmp_path / "first" / "checkpoint.pt")
    model = state["model"]
    table = model["encoder.embed_tokens.weight"]
    # fairseq's own four; ▁b was 6th, zz 8th, counted from 0.
    assert table[[0, 1, 2, 3, 4, 6], 0].tolist() == [0, 1, 2, 3, 6, 8]
    assert table.shape == (8, 3) and table[5].unique().numel() == 3  # ▁abc is new: random
    assert table.data_ptr() == model["decoder.output_projection.weight"].data_ptr()
    assert model["encoder.layers.0.fc1.weight"].unique().tolist() == [7.0]
    assert "last_optimizer_state" not in state
    facts = json.loads((tmp_path / "first" / "facts.json").read_text())
    assert facts["from_parent"] == {"encoder": 2, "decoder": 2}
    again = tmp_path / "again"
    transfer(parent, data, again)
    assert (again / "checkpoint.pt").read_bytes() == (
        tmp_path / "first" / "checkpoint.pt"
    ).read_bytes()
    transfer(parent, data, again, seed=2)
    assert not torch.equal(load(again / "checkpoint.pt")["model"]["encoder.embed_tokens.weight"],
                           table)  # fmt: skip


def test_one_direction_of_a_parent_of_several(parent: Path, tmp_path: Path) -> None:
    """Of two decoders, that of the second target, in the place of the first."""
    state = torch.load(parent, weights_only=False)
    state["model"] |= {
        "decoder.layers.0.fc1.weight": torch.full((2, 2), 1.0),
        "more_decoders.0.layers.0.fc1.weight": torch.full((2, 2), 2.0),
        "discriminator.0.weight": torch.zeros(2, 2),
    }
    torch.save(state, parent)
    data = child(tmp_path / "data", PARENT, PARENT)
    with pytest.raises(RecipeError, match="of one pair of languages"):
        transfer(parent, data, tmp_path / "none", direction="es-ca")
    parent.with_name("pairs.json").write_text('["es-pt", "es-ca"]')
    for direction, value in ((None, 1.0), ("es-ca", 2.0)):
        transfer(parent, data, tmp_path / "out", direction=direction)
        model = load(tmp_path / "out" / "checkpoint.pt")["model"]
        assert not [name for name in model if name.startswith(("more", "disc"))]
        assert model["decoder.layers.0.fc1.weight"].unique().tolist() == [value]


def test_new_ones_from_those_with_the_same_letters(parent: Path, tmp_path: Path) -> None:
    for side in ("encoder", "decoder"):
        dictionary(parent.parent / f"dict.{side}.txt", ["▁ab", "▁abd", "b▁", "xyz", "qq"])
    transfer(parent, child(tmp_path / "child", CHILD, CHILD), tmp_path / "out", rest="nearest")
    table = load(tmp_path / "out" / "checkpoint.pt")["model"]["encoder.embed_tokens.weight"]
    # ▁abc has letters in common with the first three alone, whose rows are 4, 5 and 6.
    assert table[5].tolist() == [5.0, 5.0, 5.0]
    for side in ("encoder", "decoder"):  # and none in common with these: random
        dictionary(parent.parent / f"dict.{side}.txt", ["xy", "xz", "q", "qq", "xyz"])
    transfer(parent, child(tmp_path / "child", CHILD, CHILD), tmp_path / "out", rest="nearest")
    table = load(tmp_path / "out" / "checkpoint.pt")["model"]["encoder.embed_tokens.weight"]
    assert table[5].unique().numel() == 3


def known_map(directory: Path, shared: int) -> tuple[Path, Path, torch.Tensor]:
    """A parent whose embeddings are a linear map of the child's vectors, plus a constant.

    Returns the parent, the child's vectors.txt, and what the map makes of the child's new
    subwords. 5 dimensions go over into 8.
    """
    generator = np.random.default_rng(2)
    vectors = generator.standard_normal((shared + 4, 5)).astype(np.float32)
    mapped = vectors @ generator.standard_normal((5, 8)).astype(np.float32) + 0.5
    words = [f"w{number}" for number in range(shared + 4)]
    write_vectors(directory / "vectors.txt", words, vectors)
    table = torch.zeros(4 + shared, 8)
    table[4:] = torch.from_numpy(mapped[:shared])
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    torch.save({"model": dict.fromkeys(names, table)}, directory / "checkpoint.pt")
    for side in ("encoder", "decoder"):
        dictionary(directory / f"dict.{side}.txt", words[:shared])
    return directory / "checkpoint.pt", directory / "vectors.txt", torch.from_numpy(mapped[shared:])


def test_new_ones_through_a_map_of_those_that_both_know(tmp_path: Path) -> None:
    parent, vectors, expected = known_map(tmp_path, 40)
    words = [f"w{number}" for number in range(43, 10, -1)]  # the four new ones come first
    data = child(tmp_path / "child", [*words, "no-vector"], [*words, "no-vector"])
    transfer(parent, data, tmp_path / "out", rest="mapped", vectors=vectors)
    model = load(tmp_path / "out" / "checkpoint.pt")["model"]
    table = model["encoder.embed_tokens.weight"]
    assert table.data_ptr() == model["decoder.embed_tokens.weight"].data_ptr()
    found = table[4:8].flip(0)
    assert torch.cosine_similarity(found, expected).min() > 0.999
    theirs = load(parent)["model"]["encoder.embed_tokens.weight"]
    assert found.square().mean().item() == pytest.approx(theirs[4:].square().mean().item(), 1e-4)
    assert torch.equal(table[8], theirs[4 + 39])
    maps = json.loads((tmp_path / "out" / "facts.json").read_text())["maps"]
    facts = maps["encoder.embed_tokens.weight"]
    assert list(maps) == ["encoder.embed_tokens.weight"]  # the decoder's is the same table
    assert facts["cosine"] > 0.999 and facts["cosine_of_mean"] < 0.8
    assert (facts["shared"], facts["mapped"], facts["random"]) == (29, 4, 1)
    assert table[4 + 33].abs().min() > 0  # no-vector: random


def test_vectors_that_say_nothing_are_shown_to(tmp_path: Path) -> None:
    parent, vectors, _ = known_map(tmp_path, 200)
    words = [f"w{number}" for number in range(204)]
    noise = np.random.default_rng(9).standard_normal((204, 5)).astype(np.float32)
    write_vectors(vectors, words, noise)
    data = child(tmp_path / "child", words, words)
    transfer(parent, data, tmp_path / "out", rest="mapped", vectors=vectors)
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())["maps"]
    found = facts["encoder.embed_tokens.weight"]
    assert found["cosine"] < found["cosine_of_mean"] + 0.1


def test_a_map_takes_vectors_and_enough_of_them(tmp_path: Path) -> None:
    parent, vectors, _ = known_map(tmp_path, 19)
    words = [f"w{number}" for number in range(23)]
    data = child(tmp_path / "child", words, words)
    with pytest.raises(RecipeError, match="vectors of 19 subwords that the parent knows"):
        transfer(parent, data, tmp_path / "out", rest="mapped", vectors=vectors)
    with pytest.raises(RecipeError, match="go together"):
        transfer(parent, data, tmp_path / "out", rest="mapped")
    with pytest.raises(RecipeError, match="go together"):
        transfer(parent, data, tmp_path / "out", vectors=vectors)
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_what_does_not_fit_is_refused(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="shares embeddings between its sides"):
        transfer(parent, child(tmp_path / "two", CHILD, CHILD[:2]), tmp_path / "out")
    data = child(tmp_path / "child", CHILD, CHILD)
    dictionary(parent.parent / "dict.encoder.txt", PARENT[:3])
    with pytest.raises(RecipeError, match=r"knows 9 subwords, .*encoder.txt 7"):
        transfer(parent, data, tmp_path / "out")
    (parent.parent / "dict.encoder.txt").unlink()
    with pytest.raises(RecipeError, match=r"dict.encoder.txt is missing; give a checkpoint that"):
        transfer(parent, data, tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def bitext(directory: Path) -> Path:
    """Toy pairs of other sentences, called Spanish and Galician."""
    write_languages(directory, "es", "gl")
    made = toy.pairs(400, seed=3)
    for name, part in {"train": made[40:], "dev": made[:20], "test": made[20:40]}.items():
        for place, language in enumerate(("es", "gl")):
            text = "".join(f"{pair[place]}\n" for pair in part)
            (directory / f"{name}.{language}").write_text(text)
    return directory


@pytest.mark.slow
def test_the_parents_subwords_are_taken_as_they_are(finished: Recipe, tmp_path: Path) -> None:
    theirs, out = finished.exp / "subword", tmp_path / "subword"
    subword(bitext(tmp_path / "child"), out, model=theirs)
    for name in ("subword.model", "dict.txt"):
        assert (out / name).read_bytes() == (theirs / name).read_bytes()
    lines = list(read_lines(tmp_path / "child" / "test.gl"))
    cut = [" ".join(pieces) for pieces in Codec(theirs).encode(lines, "ca")]
    assert list(read_lines(out / "test.gl")) == cut
    settings = json.loads((theirs / "subword.json").read_text())
    other = tmp_path / "tokenised"
    other.mkdir()
    for name in ("subword.model", "dict.txt"):
        (other / name).write_bytes((theirs / name).read_bytes())
    (other / "subword.json").write_text(json.dumps({**settings, "tokenise": {"default": []}}))
    with pytest.raises(RecipeError, match="learned from tokenised text, and this is running text"):
        subword(tmp_path / "child", tmp_path / "none", model=other)


OPTIONS: dict[str, Any] = {
    **yaml.safe_load((REPOSITORY / "tests" / "toy.yaml").read_text())["options"],
    "max-update": 20, "total-num-update": 20,
}  # fmt: skip


@pytest.mark.slow
def test_a_child_learns_from_where_its_parent_was(finished: Recipe, tmp_path: Path) -> None:
    subword(bitext(tmp_path / "child"), tmp_path / "subword", vocab_size=120)
    data, parent = tmp_path / "binary", finished.exp / "train-1" / "checkpoint.pt"
    binarise(tmp_path / "subword", data)
    transfer(parent, data, tmp_path / "first")
    first = tmp_path / "first" / "checkpoint.pt"
    # F5: of a parent after nine epochs, with a score that its child will not reach.
    state = load(first)
    place = {"epoch": 9, "iterations_in_epoch": 1, "shuffle": True}
    state["extra_state"] |= {"best": 0.0, "train_iterator": place}
    torch.save(state, first)
    runs = {
        "scratch": ({}, None),
        "child": ({"finetune-from-model": str(first)}, None),
        "frozen": ({"finetune-from-model": str(first)}, ["encoder.embed_tokens", "encoder.layers"]),
    }
    for name, (more, freeze) in runs.items():
        average_best = int(name == "child")
        train(data, tmp_path / name, {**OPTIONS, **more}, average_last=1,
              average_best=average_best, freeze=freeze)  # fmt: skip
    losses = {
        name: next(iter(read_curves(read_lines(tmp_path / name / "fairseq.log")).valid.values()))
        for name in runs
    }
    assert losses["child"]["valid_loss"] < losses["scratch"]["valid_loss"] - 0.1
    record = json.loads((tmp_path / "child" / "train.json").read_text())
    assert record["averaged"][0].startswith("checkpoint.best_")
    assert record["train"][0]["epoch"] == 1 and record["updates"] == 20
    before = load(first)["model"]
    # The embeddings are shared: a name of the other side is one of theirs, too.
    train(data, tmp_path / "decoder", {**OPTIONS, "max-update": 10, "finetune-from-model":
          str(first)}, average_last=1, freeze=["decoder.embed_tokens"])  # fmt: skip
    after = load(tmp_path / "decoder" / "checkpoint.pt")["model"]
    assert torch.equal(before["encoder.embed_tokens.weight"], after["encoder.embed_tokens.weight"])
    for name, still in (("child", False), ("frozen", True)):
        after = load(tmp_path / name / "checkpoint.pt")["model"]
        for key, kept in (("encoder.embed_tokens.weight", still),
                          ("encoder.layers.0.fc1.weight", still),
                          ("decoder.layers.0.fc1.weight", False)):  # fmt: skip
            assert torch.equal(before[key], after[key]) is kept, (name, key)
    with pytest.raises(
        RecipeError, match=r"begins with 'encoder.layer'; there are .*decoder.layers"
    ):
        train(data, tmp_path / "wrong", OPTIONS, freeze=["encoder.layer"])


@pytest.mark.slow
def test_the_recipe_from_two_languages_to_the_table(tmp_path: Path) -> None:
    tmp_path = tmp_path / "a dir, with comma é"
    tmp_path.mkdir()
    settings = {
        "train": f"file:{toy.write_tsv(tmp_path / 'child.tsv', 500, seed=3)}",
        "parent_train": f"file:{toy.write_tsv(tmp_path / 'parent.tsv', 600)}",
        "pairs": "200", "vocab_size": "120", "updates": "20", "parent_updates": "20",
        "zero": f"file:{toy.write_tsv(tmp_path / 'zero.tsv', 60, seed=5)}",
        "methods": "child match parents multilingual", "seeds": "1",
        "train_config": str(REPOSITORY / "tests" / "toy.yaml"),
    }  # fmt: skip
    recipe = REPOSITORY / "recipes" / "transfer" / "run.sh"
    command = [str(recipe), "--exp-dir", str(tmp_path / "exp")]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for method in ("parents", "multilingual"):
        assert re.search(rf"^{method} +\d+\.\d\d \[", done.stdout, re.MULTILINE)
    assert "subwords are the parent's" in done.stdout and "report: " in done.stdout
    for pair in ("ca-gl", "gl-ca"):
        assert re.search(rf"^zero-{pair}:\n.*\n.*\nmultilingual +\d+\.\d\d \[", done.stdout, re.M)
        assert f"Off target, {pair}, lines in another language: multilingual" in done.stdout
    assert re.search(r"Retrieve, multilingual: of 60 sentences \d+\.\d\d % found", done.stdout)
    again = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
    assert "never run" not in again.stdout and again.stdout.count(" done") > 20
    wrong = subprocess.run([*command, "--set", "methods=match"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "child must be among the methods" in wrong.stderr


@pytest.mark.slow
def test_all_methods_are_planned(tmp_path: Path) -> None:
    recipe = [REPOSITORY / "recipes/transfer/run.sh", "--exp-dir", tmp_path / "e", "--dry-run",
              "--set", "seeds=2,3"]  # fmt: skip
    shown = subprocess.run(recipe, capture_output=True, text=True, check=True).stdout
    (line,) = re.findall(r".*--out \S+/retrieval-adversarial-3 .*", shown)
    assert f"--checkpoint {tmp_path}/e/train-adversarial-3/checkpoint.pt" in line
    for name, more in (("score-zero", " --baseline multilingual --test randomisation"),
                       ("off-target", "")):  # fmt: skip
        (line,) = re.findall(rf".*--out \S+/{name}-ca-gl --.*", shown)
        for system in ("multilingual", "adversarial"):
            for seed in (2, 3):
                file = f"{tmp_path}/e/translate-{system}-ca-gl-{seed}/hypotheses.txt"
                assert f"--systems.{system}-seed{seed} {file}" in line
        assert more in line
    trained = re.findall(r"--out \S+/train-(\S+)-2 ", shown)
    assert {*trained} == {
        "child", "preset", "match", "nearest", "mapped", "shared", "parents", "multilingual",
        "adversarial", "backtranslation", "combined",
    }  # fmt: skip
    for name, hold_out in (("child", ["zero"]), ("parent", ["child", "zero"])):
        (line,) = [
            line for line in shown.split("\n") if f"--out {tmp_path}/e/clean-{name} --" in line
        ]
        assert re.findall(r"--hold-out\+=\S+/fetch-(\w+)", line) == hold_out
    wrong = [*recipe, "--set", "parent_src=en", "--set", "parent_tgt=es", "--set", "zero=file:x"]
    done = subprocess.run(wrong, capture_output=True, text=True)
    assert (
        done.returncode == 2 and "--set zero needs a parent with the child's source" in done.stderr
    )


def test_lafand_is_the_same_recipe_on_a_folder(tmp_path: Path) -> None:
    """Text as it is, or packed; the folder's name may have a space."""
    data = tmp_path / "a folder"
    for pair, ending in (("en-lug", ""), ("en-swa", ".gz")):
        (data / pair).mkdir(parents=True)
        for name in ("train", "dev", "test"):
            (data / pair / f"{name}.en{ending}").touch()
    shown = subprocess.run(
        [REPOSITORY / "recipes/lafand/run.sh", "--set", f"data={data}", "--exp-dir", tmp_path / "e",
         "--set", "child=lug", "--set", "methods=child match", "--set", "seeds=3", "--dry-run"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"--src en --tgt lug --train 'file:{data}/en-lug/train.{{lang}}'" in shown
    assert f"--src en --tgt swa --train 'file:{data}/en-swa/train.{{lang}}.gz'" in shown
    assert f"--test 'file:{data}/en-swa/test.{{lang}}.gz'" in shown and "--pairs all" in shown
    assert "train-match-3" in shown and "train-match-1" not in shown and "multilingual" not in shown


def test_lafand_is_called_as_it_was(tmp_path: Path) -> None:
    """What tables show is the user's own command, and not what recipes/transfer gets."""
    scripts = {
        "lafand": (REPOSITORY / "recipes/lafand/run.sh").read_text(),
        "transfer": '#!/bin/bash\nprintf "%s\\n" "$RUN_AS" -- "$@"\n',
    }
    for name, text in scripts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.sh").write_text(text)
        (tmp_path / name / "run.sh").chmod(0o755)
    given = ["--set", "child=zul", "--force", "5", "--exp-dir", "a dir", "--set", "seeds=1"]
    shown = subprocess.run(
        [tmp_path / "lafand/run.sh", *given], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    at = shown.index("--")
    assert shown[1:at] == ["--set", "child=zul", "--exp-dir", "a dir", "--set", "seeds=1"]
    assert "tgt=zul" in shown[at:] and shown[-7:-1] == [*given[2:]]
