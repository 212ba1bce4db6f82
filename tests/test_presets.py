"""Presets are valid for fairseq, chosen by data size, and traced to the literature."""

import inspect
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml
from test_preprocess import make_bitext

from pipeline.errors import RecipeError
from preprocess.binarise import binarise
from preprocess.bitext import write_languages
from preprocess.subword import subword
from train import presets
from train.data import check_data, check_parent, number_of_pairs
from train.fairseq import _finish, arguments, train
from train.fairseq_main import check_options
from train.trouble import DivergenceWatch, explain

RECIPES = Path(presets.__file__).parents[2] / "recipes"
CONFIGS = [
    str(path.relative_to(RECIPES))
    for path in sorted(RECIPES.glob("*/conf/*.yaml"))
    if "arch:" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize(
    ("pairs", "name"),
    [(1, "few"), (10_000, "few"), (10_001, "some"), (100_000, "some"), (100_001, "many")],
)
def test_chosen_by_size(pairs: int, name: str) -> None:
    assert presets.for_pairs(pairs) == name


@pytest.mark.parametrize("name", get_args(presets.Name))
def test_every_option_is_fairseq_s(name: presets.Name, tmp_path: Path) -> None:
    settings = presets.load(name)
    assert settings.keys() == {"average_last", "options"}
    write_languages(tmp_path, "es", "ca")
    check_options(arguments(tmp_path, tmp_path, settings["options"], {"seed": 1}))
    text = (Path(presets.__file__).parent / f"{name}.yaml").read_text()
    assert "20" in presets.describe(name) or "pairs" in presets.describe(name)
    assert "Source" in text


@pytest.mark.parametrize("name", CONFIGS)
def test_so_is_every_option_of_the_recipes(name: str, tmp_path: Path) -> None:
    settings = yaml.safe_load((RECIPES / name).read_text(encoding="utf-8"))
    assert settings.keys() <= inspect.signature(train).parameters.keys()
    write_languages(tmp_path, "es", "ca")
    check_options(arguments(tmp_path, tmp_path, settings["options"], {"seed": 1}))


def test_fewer_pairs_smaller_and_stronger() -> None:
    few, some, many = (presets.load(name)["options"] for name in ("few", "some", "many"))
    assert few["encoder-layers"] < some["encoder-layers"] < 6  # fairseq's own number, for many
    assert few["max-tokens"] < some["max-tokens"] < many["max-tokens"] * many["update-freq"]
    assert few["label-smoothing"] > some["label-smoothing"] > many["label-smoothing"]
    assert few["dropout"] > many["dropout"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    pairs = [(f"el gat número {n}", f"the cat number {n}") for n in range(60)]
    make_bitext(path / "in", train=pairs, dev=pairs[:5], test=pairs[:5])
    subword(path / "in", path / "subword", vocab_size=40)
    binarise(path / "subword", path / "binary")
    return path / "binary"


def copy(data: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    for path in data.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def test_a_dictionary_that_the_data_was_not_made_with(data: Path, tmp_path: Path) -> None:
    assert number_of_pairs(data) == 60
    check_data(data)
    directory = copy(data, tmp_path)
    path = directory / "dict.ca.txt"
    entries = path.read_text().split("\n")
    path.write_text("\n".join(entries[:9]) + "\n")
    with pytest.raises(RecipeError, match=r"dict\.ca\.txt beside it has 13 entries"):
        check_data(directory)
    # V4: the symbols that fairseq adds by itself, and a SentencePiece vocabulary with its scores.
    path.write_text("a 9\n<unk> 5\n")
    with pytest.raises(RecipeError, match=r"dict\.ca\.txt, line 2: '<unk>' is fairseq's own"):
        train(directory, tmp_path / "out", {"arch": "transformer"})
    path.write_text("a\t-3.5\n")
    with pytest.raises(RecipeError, match=r"dict\.ca\.txt, line 1: expected 'subword count'"):
        train(directory, tmp_path / "out", {"arch": "transformer"})
    assert not (tmp_path / "out").exists()


def test_sides_of_different_length(data: Path, tmp_path: Path) -> None:
    directory = copy(data, tmp_path)
    for suffix in ("bin", "idx"):
        short = directory / f"valid.es-ca.ca.{suffix}"
        (directory / f"train.es-ca.ca.{suffix}").write_bytes(short.read_bytes())
    with pytest.raises(RecipeError, match="train has 60 sentences in es but 5 in ca"):
        check_data(directory)


def test_a_parent_with_another_dictionary(data: Path, tmp_path: Path) -> None:
    """V5: another size, and the same size in another order, which would load without a word."""
    import torch

    parent = tmp_path / "parent"
    parent.mkdir()
    words = len((data / "dict.es.txt").read_text().split("\n")) - 1 + 4
    for rows, message in ((words + 8, f"knows {words + 8} subwords but"), (words, None)):
        names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
        tables = dict.fromkeys(names, torch.zeros(rows, 2))
        torch.save({"model": tables}, parent / "checkpoint.pt")
        options = {"finetune-from-model": str(parent / "checkpoint.pt")}
        if message:
            with pytest.raises(RecipeError, match=message):
                check_parent(data, options)
    with pytest.raises(RecipeError, match=r"no .*dict\.encoder\.txt .* copy the parent's"):
        check_parent(data, options)
    for language, side in (("es", "encoder"), ("ca", "decoder")):
        shutil.copyfile(data / f"dict.{language}.txt", parent / f"dict.{side}.txt")
    check_parent(data, options)
    entries = (data / "dict.ca.txt").read_text().split("\n")
    (parent / "dict.decoder.txt").write_text("\n".join([entries[1], entries[0], *entries[2:]]))
    with pytest.raises(RecipeError, match="but not the same in the same order"):
        check_parent(data, options)


def test_a_parent_of_several_pairs_is_taken_apart_first(data: Path, tmp_path: Path) -> None:
    import torch

    words = len((data / "dict.es.txt").read_text().split("\n")) - 1 + 4
    table = torch.zeros(words, 2)
    torch.save(
        {"model": {"encoder.embed_tokens.weight": table, "decoder.embed_tokens.weight": table,
                   "more_decoders.0.embed_tokens.weight": table}},
        tmp_path / "checkpoint.pt",
    )  # fmt: skip
    options = {"finetune-from-model": str(tmp_path / "checkpoint.pt")}
    with pytest.raises(RecipeError, match=r"parts for several pairs .* train\.transfer"):
        check_parent(data, options)
    for language, side in (("es", "encoder"), ("ca", "decoder")):
        shutil.copyfile(data / f"dict.{language}.txt", tmp_path / f"dict.{side}.txt")
    check_parent(data, options, plain=False)


def test_a_colon_ends_a_path_for_fairseq(data: Path, tmp_path: Path) -> None:
    (tmp_path / "a:b").symlink_to(data)
    with pytest.raises(RecipeError, match="colon"):
        check_data(tmp_path / "a:b")


def test_a_parent_s_epochs_and_score_are_not_taken_over() -> None:
    """F5: with restore-file, training may be done in 0.0 s and its best never be written."""
    with pytest.raises(RecipeError, match="use finetune-from-model"):
        check_parent(Path(), {"restore_file": "parent.pt"})


def test_a_training_without_an_update_is_an_error(tmp_path: Path) -> None:
    """F5: "done in 0.0 seconds"."""
    (tmp_path / "fairseq.log").write_text("$ fairseq-train …\ndone training in 0.0 seconds\n")
    with pytest.raises(RecipeError, match="after no update at all"):
        _finish(tmp_path, {}, 1, 1, 0, [])


@pytest.mark.parametrize(("last", "best"), [(0, 0), (1, -1)])
def test_no_averaging_is_called_1(data: Path, tmp_path: Path, last: int, best: int) -> None:
    with pytest.raises(RecipeError, match="average_last is at least 1, for no averaging"):
        train(data, tmp_path / "out", {"arch": "transformer"}, average_last=last, average_best=best)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", 1,
         "lower max-tokens"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", 1,
         "lower max-tokens"),
        ("FloatingPointError: gradients are Nan/Inf", 1, "lower lr"),
        ("FloatingPointError: Minimum loss scale reached (0.0001).", 1, "lower lr"),
        ("IndexError: index out of range in self", 1, "binarise again"),
        ("OSError: [Errno 28] No space left on device", 1, "free some space"),
        ("", -9, "killed, perhaps for want of memory"),
    ],
)  # fmt: skip
def test_causes_are_named(line: str, code: int, message: str) -> None:
    assert message in str(explain(["Traceback", line, "  at the end"], code))
    assert explain(["KeyError: 'x'"], 1) is None


def test_diverging_is_worse_than_guessing_for_a_while() -> None:
    watch = DivergenceWatch(1024)  # guessing: 10 bits
    losses = [13.0, 9.0, 11.5, 11.5, 9.0, 11.5, 11.5, 11.5, 11.5]
    for n, loss in enumerate(losses, start=5):
        assert watch.sees({"nll_loss": loss, "num_updates": n * 10}) is None
    said = watch.sees({"nll_loss": 11.5, "num_updates": 2000})
    assert said and "11.5 bits a subword after 2,000 updates, and guessing has 10.0" in said
    assert DivergenceWatch(8).sees({"nll_loss": float("nan"), "num_updates": 1})


def test_presets_are_not_silent(data: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(RecipeError):
        train(data, tmp_path / "o", sampling=0.1)  # refused, but only after the choice
    assert "preset few: up to 10,000 pairs" in capsys.readouterr().out
    assert yaml.safe_load((Path(presets.__file__).parent / "few.yaml").read_text())
