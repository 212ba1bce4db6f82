"""Fine-tuning models of Hugging Face: what a batch holds, languages, trimming, and training."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file

from pipeline.errors import RecipeError
from preprocess.bitext import languages, write_languages
from preprocess.denoise import corrupt, denoise
from train import huggingface_main, stopping
from train.curves import read_curves
from train.examples import read_examples
from train.families import Tags, add_language, encode, tags, token_of
from train.fresh import fresh
from train.hub import library, load, positions
from train.huggingface import finetune, refuse_fp16
from train.masked import masked
from train.trim import old_rows, trim
from train.warmstart import warmstart

transformers = library()
SEQ2SEQ = ("t5", "mt5", "byt5", "marian", "mbart", "m2m_100", "nllb")


def write_bitext(directory: Path, dev: int = 20) -> Path:
    write_languages(directory, "es", "gl")
    made = toy.pairs(300, seed=3)
    for name, part in {"train": made[dev:], "dev": made[:dev], "test": made[:dev]}.items():
        for place, language in enumerate(("es", "gl")):
            text = "".join(f"{pair[place]}\n" for pair in part)
            (directory / f"{name}.{language}").write_text(text)
    return directory


@pytest.fixture(scope="session")
def bitext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy pairs, called Spanish and Galician. Do not change it."""
    return write_bitext(tmp_path_factory.mktemp("bitext"))


@pytest.fixture(scope="session")
def model(bitext: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny random model of each family, by name, made once. Do not change it."""
    directory = tmp_path_factory.mktemp("models")
    extra = directory / "extra.txt"
    # So that T5's tokeniser has these words.
    extra.write_text("translate Spanish to Galician: sa za\n" * 400)

    def make(family: str) -> Path:
        if not (directory / family).exists():
            text = [str(bitext / "train.es"), str(bitext / "train.gl"), str(extra)]
            codes = ["gl", "ca"] if family == "marian" else None
            kind: Any = family.split()[0]
            if kind == "xlnet":
                _xlnet(make("xlm-roberta"), directory / kind)
            else:
                fresh(kind, text, directory / family, 150, 1, 32, codes, dropout=0.0)
        return directory / family

    return make


def _xlnet(cut_like: Path, out: Path) -> None:
    _, tokenizer = load(str(cut_like), "AutoModelForMaskedLM")
    special = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
    pieces = [token for token in tokenizer.get_vocab() if not token.startswith("<")]
    vocabulary = [*((token, 0.0) for token in special), *((piece, -3.0) for piece in pieces)]
    cut_by = transformers.XLNetTokenizer(vocabulary)
    config = transformers.XLNetConfig(vocab_size=len(cut_by), d_model=32, n_layer=1, n_head=4,
                                      d_inner=64)  # fmt: skip
    transformers.XLNetLMHeadModel(config).save_pretrained(out)
    cut_by.save_pretrained(out)


# What a batch of two pairs should be: `sa te.` and `sa.`, whose translations are `za de.` and
# `za.`, written down by hand from the papers and model cards of each family.
# Of each pair: what the encoder reads, what the decoder reads, what the loss asks for.
BATCHES: dict[str, list[tuple[str, str, str]]] = {
    "t5": [
        ("▁translate▁Spanish▁to▁Galician: ▁sa ▁te . </s>", "<pad> ▁za ▁de .", "▁za ▁de . </s>"),
        ("▁translate▁Spanish▁to▁Galician: ▁sa . </s> <pad>", "<pad> ▁za . </s>",
         "▁za . </s> -100"),
    ],
    "marian": [
        (">>glg<< ▁sa ▁te . </s>", "<pad> ▁za ▁de .", "▁za ▁de . </s>"),
        (">>glg<< ▁sa . </s> <pad>", "<pad> ▁za . </s>", "▁za . </s> -100"),
    ],
    "mbart": [
        ("es_XX ▁sa ▁te . </s>", "</s> gl_ES ▁za ▁de .", "gl_ES ▁za ▁de . </s>"),
        ("es_XX ▁sa . </s> <pad>", "</s> gl_ES ▁za . </s>", "gl_ES ▁za . </s> -100"),
    ],
    "m2m_100": [
        ("__es__ ▁sa ▁te . </s>", "</s> __gl__ ▁za ▁de .", "__gl__ ▁za ▁de . </s>"),
        ("__es__ ▁sa . </s> <pad>", "</s> __gl__ ▁za . </s>", "__gl__ ▁za . </s> -100"),
    ],
    "nllb": [
        ("spa_Latn ▁sa ▁te . </s>", "</s> glg_Latn ▁za ▁de .", "glg_Latn ▁za ▁de . </s>"),
        ("spa_Latn ▁sa . </s> <pad>", "</s> glg_Latn ▁za . </s>", "glg_Latn ▁za . </s> -100"),
    ],
    "encoder-decoder": [
        ("[CLS] sa te . [SEP]", "[CLS] za de .", "za de . [SEP]"),
        ("[CLS] sa . [SEP] [PAD]", "[CLS] za . [SEP]", "za . [SEP] -100"),
    ],
    # Those of XLNet end as it was pretrained (Yang et al. 2019); the decoder begins with its <s>.
    "xlnet": [
        ("▁sa ▁te . <sep> <cls>", "<s> ▁za ▁de .", "▁za ▁de . </s>"),
        ("▁sa . <sep> <cls> <pad>", "<s> ▁za . </s>", "▁za . </s> -100"),
    ],
    "xlm-roberta": [
        ("<s> ▁sa ▁te . </s>", "<s> ▁za ▁de .", "▁za ▁de . </s>"),
        ("<s> ▁sa . </s> <pad>", "<s> ▁za . </s>", "▁za . </s> -100"),
    ],
    # Most of OPUS-MT: of one pair.
    "marian of one pair": [
        ("▁sa ▁te . </s>", "<pad> ▁za ▁de .", "▁za ▁de . </s>"),
        ("▁sa . </s> <pad>", "<pad> ▁za . </s>", "▁za . </s> -100"),
    ],
}  # fmt: skip
BATCHES["mt5"] = BATCHES["t5"]
# What some of them begin with, on either side; XLNet cannot be a decoder, so that takes a BERT.
WARM = {"encoder-decoder": "bert", "xlnet": "xlnet", "xlm-roberta": "xlm-roberta"}


def batch(net: Any, tokenizer: Any, said: Tags) -> list[tuple[list[str], list[str], list[str]]]:
    made = encode(tokenizer, said, ["sa te.", "sa."], ["za de.", "za."])
    whole = transformers.DataCollatorForSeq2Seq(tokenizer, net)(made)
    read: list[torch.Tensor] = []  # by the decoder; some families make it of the labels inside
    decoder = net.get_decoder()
    decoder.register_forward_pre_hook(
        lambda _, __, named: read.append(named["input_ids"]), with_kwargs=True
    )
    net(**whole)
    sides = (whole["input_ids"], read[0], whole["labels"])
    rows = zip(*(side.tolist() for side in sides), strict=True)
    # Padding is not looked at.
    assert (
        whole["attention_mask"].tolist() == (whole["input_ids"] != tokenizer.pad_token_id).tolist()
    )
    return [
        tuple(  # type: ignore[misc]
            ["-100" if i == -100 else tokenizer.convert_ids_to_tokens(i) for i in row]
            for row in side
        )
        for side in rows
    ]


@pytest.mark.parametrize("family", sorted(BATCHES))
def test_a_batch_is_what_the_family_was_pretrained_with(
    family: str, model: Callable[[str], Path], tmp_path: Path
) -> None:
    here = model(WARM.get(family, family))
    if family in WARM:
        decoder = "bert" if family == "xlnet" else WARM[family]
        warmstart(str(here), tmp_path / "pair", str(model(decoder)))
        here = tmp_path / "pair"
    net, tokenizer = load(str(here))
    said = tags(net.config, tokenizer, "es", "gl")
    assert said.family == ("encoder-decoder" if family in WARM else family.split()[0])
    got = batch(net, tokenizer, said)
    for source, _, _ in got:
        if ":" in source:  # T5's prefix, in whatever pieces
            source[: source.index(":") + 1] = ["".join(source[: source.index(":") + 1])]
    assert got == [tuple(part.split() for part in row) for row in BATCHES[family]]


def test_a_batch_of_byt5_is_bytes(model: Callable[[str], Path]) -> None:
    net, tokenizer = load(str(model("byt5")))
    said = tags(net.config, tokenizer, "es", "gl")
    made, short = encode(tokenizer, said, ["sá", "s"], ["za", "z"])
    # Bytes begin at 3, after <pad>, </s> and <unk>; á is the bytes C3 A1.
    source = [*b"translate Spanish to Galician: s", 0xC3, 0xA1]
    assert made["input_ids"] == [*(byte + 3 for byte in source), 1]
    assert made["labels"] == [ord("z") + 3, ord("a") + 3, 1]
    rows = transformers.DataCollatorForSeq2Seq(tokenizer, net)([made, short])
    z, a = ord("z") + 3, ord("a") + 3
    assert rows["decoder_input_ids"].tolist() == [[0, z, a], [0, z, 1]]
    assert rows["labels"].tolist() == [[z, a, 1], [z, 1, -100]]
    assert rows["input_ids"][1].tolist() == [*made["input_ids"][:-3], 1, 0, 0]
    assert rows["attention_mask"][1].tolist() == [1] * (len(source) - 1) + [0, 0]


@pytest.mark.parametrize(
    ("kind", "code", "token"),
    [
        ("nllb", "zh-TW", "zho_Hant"), ("nllb", "ach_Latn", "ach_Latn"),
        ("mbart", "ach_Latn", "ach_XX"), ("nllb", "msa", "zsm_Latn"), ("nllb", "ckb", "ckb_Arab"),
        ("nllb", "pt-BR", "por_Latn"), ("mbart", "zh", "zh_CN"),
        ("mbart", "fas", "fa_IR"), ("mbart", "sw", "sw_KE"), ("m2m_100", "nso", "__ns__"),
        ("m2m_100", "no", "__no__"), ("m2m_100", "ast", "__ast__"), ("m2m_100", "br", "__br__"),
    ],
)  # fmt: skip
def test_language_tokens(kind: str, code: str, token: str) -> None:
    assert token_of(kind, code) == token


def test_the_tables_are_the_tokenisers() -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB

    assert {token_of("mbart", code[:2]) for code in MBART} == set(MBART)
    # By the bare code, which the table has to give its script.
    assert {token_of("nllb", code[:3]) for code in NLLB} <= set(NLLB)
    assert [token_of("nllb", code) for code in NLLB] == list(NLLB)
    assert {token_of("m2m_100", code) for code in M2M["m2m100"] if code != "ns"} == {
        f"__{code}__" for code in M2M["m2m100"] if code != "ns"
    }


@pytest.mark.parametrize("family", ["t5", "marian", "mbart", "m2m_100", "nllb"])
def test_an_unknown_language_is_refused(family: str, model: Callable[[str], Path]) -> None:  # H1
    net, tokenizer = load(str(model(family)))
    with pytest.raises(RecipeError, match=r"unknown language code 'xyz'.*as ach_Latn"):
        tags(net.config, tokenizer, "es", "xyz")
    if family in ("marian", "m2m_100"):
        with pytest.raises(RecipeError, match=r"new"):
            add_language(net, tokenizer, "hsb")
    if family == "nllb":
        with pytest.raises(
            RecipeError, match=r"has no language ach_Latn .*--new-language ach_Latn"
        ):
            tags(net.config, tokenizer, "es", "ach_Latn")
    if family == "mbart":
        with pytest.raises(RecipeError, match=r"no language hsb \(.*hsb_XX\).*--new-language hsb"):
            tags(net.config, tokenizer, "es", "hsb")
    if family in ("mbart", "m2m_100"):  # whose Chinese is in simplified characters
        with pytest.raises(RecipeError, match=r"no language zh-TW .*(adds it|needs NLLB)"):
            tags(net.config, tokenizer, "es", "zh-TW")
    if family == "marian":
        with pytest.raises(RecipeError, match=r"does not translate into de \(German\)"):
            tags(net.config, tokenizer, "es", "de")
        assert tags(net.config, tokenizer, "es", "ca").prefix == ">>cat<< "


@pytest.mark.parametrize(("family", "token"), [("nllb", "hsb_Latn"), ("mbart", "hsb_XX")])
def test_a_new_language(
    family: str, token: str, model: Callable[[str], Path], tmp_path: Path
) -> None:
    net, tokenizer = load(str(model(family)))
    old = net.get_input_embeddings().weight.detach().clone()
    like = tokenizer.convert_tokens_to_ids(["glg_Latn", "spa_Latn"] if family == "nllb" else
                                           ["gl_ES", "es_XX"])  # fmt: skip
    add_language(net, tokenizer, "hsb", ["gl", "es"])
    net.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    net, tokenizer = load(str(tmp_path))
    said = tags(net.config, tokenizer, "es", "hsb")
    assert said.target_token == token
    number = tokenizer.convert_tokens_to_ids(token)
    table = net.get_input_embeddings().weight.detach()
    torch.testing.assert_close(table[number], (old[like[0]] + old[like[1]]) / 2)
    torch.testing.assert_close(table[: len(old)], old)
    back = tags(net.config, tokenizer, "hsb", "es")
    made = encode(tokenizer, back, ["sa."], ["za."])[0]
    assert tokenizer.convert_ids_to_tokens(made["input_ids"]) == [token, "▁sa", ".", "</s>"]
    assert tokenizer.decode(made["input_ids"], skip_special_tokens=True) == "sa."
    with pytest.raises(RecipeError, match="already"):
        add_language(net, tokenizer, "hsb")
    assert (net(input_ids=torch.tensor([made["input_ids"]]),
                labels=torch.tensor([made["labels"]])).loss).isfinite()  # fmt: skip


@pytest.mark.parametrize("family", ["t5", "mt5", "mbart", "m2m_100", "nllb"])
def test_trimming_changes_neither_cuts_nor_outputs(
    family: str, model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    write_languages(few, "es", "gl")
    for name in ("train", "dev"):
        for language in ("es", "gl"):
            lines = (bitext / f"{name}.{language}").read_text().splitlines()
            # æ is in no vocabulary.
            (few / f"{name}.{language}").write_text("".join(f"{s}\n" for s in [*lines[:4], "sæ"]))
    net, tokenizer = load(str(model(family)))
    said = tags(net.config, tokenizer, "es", "gl")
    before = read_examples(few, tokenizer, said, 100)
    size, parameters = net.config.vocab_size, sum(p.numel() for p in net.parameters())
    whole = transformers.DataCollatorForSeq2Seq(tokenizer, net)(before.train)
    logits = net.eval()(**whole).logits.detach()
    net, smaller, facts = trim(net, tokenizer, said, before.train)
    after = read_examples(few, smaller, said, 100)
    net.save_pretrained(tmp_path / "saved")
    smaller.save_pretrained(tmp_path / "saved")
    again, read_back = load(str(tmp_path / "saved"))
    for cut_by in (smaller, read_back):
        for was, now in zip(before.train, encode_all(few, cut_by, said), strict=True):
            for side in ("input_ids", "labels"):
                assert cut_by.convert_ids_to_tokens(now[side]) == tokenizer.convert_ids_to_tokens(
                    was[side]
                )
    # A letter that only another text has is still known.
    letters = {token for token in tokenizer.get_vocab() if len(token) == 1 and token.isalpha()}
    new = sorted(
        letters - set("".join((few / f"train.{code}").read_text() for code in ("es", "gl")))
    )
    for letter in new:
        assert smaller.unk_token_id not in smaller(f"s{letter}")["input_ids"], letter
    assert new
    rows = old_rows(tokenizer, smaller)
    assert len(rows) == net.config.vocab_size < size
    tables = 2 if family == "mt5" else 1  # its output layer has rows of its own
    assert facts["parameters_saved"] == (size - len(rows)) * 32 * tables
    assert parameters - sum(p.numel() for p in again.parameters()) == facts["parameters_saved"]
    for loaded in (net, again):
        now = loaded.eval()(**transformers.DataCollatorForSeq2Seq(smaller, loaded)(after.train))
        torch.testing.assert_close(now.logits, logits[..., rows])
    for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
        assert rows[getattr(again.config, name)] == getattr(
            load(str(model(family)))[0].config, name
        )


def encode_all(bitext: Path, tokenizer: Any, said: Tags) -> list[dict[str, list[int]]]:
    return read_examples(bitext, tokenizer, said, 100).train


@pytest.mark.parametrize("family", ["marian", "byt5"])
def test_what_cannot_be_trimmed_is_refused(
    family: str, model: Callable[[str], Path], bitext: Path
) -> None:
    net, tokenizer = load(str(model(family)))
    said = tags(net.config, tokenizer, "es", "gl")
    with pytest.raises(RecipeError, match=f"of a {family} model cannot be trimmed"):
        trim(net, tokenizer, said, read_examples(bitext, tokenizer, said, 200).train)


def test_padding_of_labels_is_never_decoded(model: Callable[[str], Path]) -> None:  # H1
    _, tokenizer = load(str(model("t5")))
    ids = encode(tokenizer, Tags("t5", "es", "gl"), ["sa."], ["za de."])[0]["labels"]
    rows = np.array([[*ids, -100, -100], [ids[0], ids[-1], *[-100] * 4]])
    assert huggingface_main.translations(tokenizer, rows) == ["za de.", "za"]


def test_pairs_too_long_are_counted(model: Callable[[str], Path], tmp_path: Path) -> None:
    _, tokenizer = load(str(model("marian")))
    write_languages(tmp_path, "es", "gl")
    for name, text in {
        "train": "sa te.\nsa.\n\n" + "sa " * 9 + "\n",
        "dev": "sa te. sa.\n",
    }.items():
        for language in ("es", "gl"):
            (tmp_path / f"{name}.{language}").write_text(text)
    text = read_examples(tmp_path, tokenizer, Tags("marian", "es", "gl"), 5)
    assert len(text.train) == 2 and text.longest_source == 4
    # Dev's line of five pieces and an end is cut on both sides.
    assert text.dropped == {"blank": 1, "too_long": 1} and text.dev_cut == 2
    assert (
        text.dev[0]["input_ids"][-1] == tokenizer.eos_token_id and len(text.dev[0]["labels"]) == 5
    )
    assert text.references == ["sa te. sa."]
    with pytest.raises(RecipeError, match=r"none of the 4 training pairs .* raise --max-length"):
        read_examples(tmp_path, tokenizer, Tags("marian", "es", "gl"), 2)


def test_settings_that_cannot_work_are_refused(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"of the T5 family, .* overflow in fp16"):  # H1
        refuse_fp16(str(model("mt5")), "fp16")
    refuse_fp16(str(model("mt5")), "bf16")
    refuse_fp16(str(model("m2m_100")), "fp16")
    out, name = tmp_path / "out", str(model("mt5"))
    with pytest.raises(RecipeError, match="--updates is 0"):
        finetune(bitext, name, out, updates=0)
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="--precision bf16 is for GPUs"):
            finetune(bitext, name, out, precision="bf16")
    with pytest.raises(RecipeError, match="neither of the languages"):
        finetune(bitext, name, out, new_language="hsb")
    with pytest.raises(RecipeError, match="which is missing"):
        finetune(bitext, name, out, new_language_like=["es"])
    cut = shutil.copytree(bitext, tmp_path / "cut")
    (cut / "tokenise.json").touch()
    with pytest.raises(RecipeError, match=r"cut is tokenised, and a pretrained model has a tok"):
        finetune(cut, name, out)
    (cut / "tokenise.json").unlink()
    (cut / "dev.gl").unlink()
    with pytest.raises(RecipeError, match=r"cut has no dev\.gl; make it by preprocess\.clean"):
        finetune(cut, name, out)
    with pytest.raises(RecipeError, match=r"a vocabulary of 3 cannot be learned from .*larger"):
        fresh("t5", [str(bitext / "train.es")], out, vocab_size=3)
    (tmp_path / "blank").write_text("\n \n")
    for family in ("t5", "nllb", "bert"):
        with pytest.raises(RecipeError, match="blank has no text to learn subwords from"):
            fresh(family, [str(tmp_path / "blank")], out)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="empty cannot be read as AutoConfig"):
        (tmp_path / "empty").mkdir()
        finetune(bitext, str(tmp_path / "empty"), out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("family", "part", "message"),
    [
        ("m2m_100", "decoder.", r"lacks \d+ of the model's weights, such as model\.decoder\."),
        ("bert", "layer.0.", r"lacks \d+ of the model's weights, such as bert\.encoder\.layer\.0"),
        ("t5", "", "cannot be read as AutoModelForSeq2SeqLM: Error while deserializing header"),
    ],
)
def test_a_model_with_half_its_weights_is_refused(
    family: str, part: str, message: str, model: Callable[[str], Path], tmp_path: Path
) -> None:
    half = shutil.copytree(model(family), tmp_path / "half")
    path = half / "model.safetensors"
    if part:
        weights = load_file(path)
        save_file({n: w for n, w in weights.items() if part not in n}, path, {"format": "pt"})
    else:
        path.write_bytes(path.read_bytes()[:5000])
    kind = "AutoModelForMaskedLM" if family == "bert" else "AutoModelForSeq2SeqLM"
    with pytest.raises(RecipeError, match=message):
        load(str(half), kind)


def test_no_more_tokens_than_the_model_has_places_for(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    """XLM-R counts from the number of its padding, 1: of 514 places it uses 512."""
    one, pair = model("xlm-roberta"), tmp_path / "pair"
    warmstart(str(one), pair)
    assert positions(load(str(pair))[0].config) == 512
    assert positions(load(str(model("marian")))[0].config) == 512
    assert positions(load(str(model("t5")))[0].config) is None
    with pytest.raises(RecipeError, match="the model has 512 positions; --max-length 513"):
        huggingface_main.train(settings(bitext, pair, tmp_path / "out", max_length=513))
    with pytest.raises(RecipeError, match="the model has 512 positions; --max-length 513"):
        masked(str(one), [str(bitext / "train.es")], tmp_path / "more", max_length=513)


class Payload:
    """Runs a command where it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_weights_with_a_payload_are_refused(model: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(model("t5"), tmp_path / "evil")
    (tmp_path / "evil" / "model.safetensors").unlink()
    torch.save({"shared.weight": Payload(tmp_path / "touched")},
               tmp_path / "evil" / "pytorch_model.bin")  # fmt: skip
    with pytest.raises(RecipeError, match="evil cannot be read as AutoModelForSeq2SeqLM"):
        load(str(tmp_path / "evil"))
    assert not (tmp_path / "touched").exists()


def test_gaps_can_be_filled_again() -> None:
    words = [f"w{n}" for n in range(20)]
    for seed in range(50):
        source, target = corrupt(words, 0.15, 3.0, random.Random(seed))
        filled = {}
        for part in target.split("<extra_id_")[1:]:
            number, _, text = part.partition(">")
            filled[f"<extra_id_{number}>"] = text.split()
        *gaps, end = filled
        assert not filled[end] and all(filled[gap] for gap in gaps)
        whole = [w for word in source.split() for w in filled.get(word, [word])]
        assert whole == words
        assert sum(map(len, filled.values())) == 3  # 15 % of 20
    assert corrupt(["a", "b"], 0.9, 3.0, random.Random(1))[1].count("<extra_id") == 2


def test_any_word_may_be_in_a_gap() -> None:
    """Two words of eight, in one gap, at seven places: the ends are in one of them, others two."""
    words, generator = list("abcdefgh"), random.Random(1)
    drawn = Counter(
        word
        for _ in range(7000)
        for word in corrupt(words, 0.25, 2.0, generator)[1].split()
        if not word.startswith("<")
    )
    expected = {word: 1000 if word in "ah" else 2000 for word in words}
    assert drawn == pytest.approx(expected, rel=0.1)


def test_text_with_gaps_is_a_bitext_for_t5(
    bitext: Path, model: Callable[[str], Path], tmp_path: Path
) -> None:
    denoise([str(bitext / "train.es")], tmp_path, dev=5, copies=2)
    assert languages(tmp_path) == ("gaps", "spans")
    assert len((tmp_path / "train.gaps").read_text().splitlines()) == 2 * (280 - 5)
    net, tokenizer = load(str(model("t5")))
    said = tags(net.config, tokenizer, "gaps", "spans")
    assert said.prefix == ""
    made = encode(tokenizer, said, ["sa <extra_id_0> te."], ["<extra_id_0> de <extra_id_1>"])[0]
    assert tokenizer.convert_ids_to_tokens(made["input_ids"]) == [
        "▁sa", "<extra_id_0>", "▁te", ".", "</s>"]  # fmt: skip
    assert tokenizer.convert_ids_to_tokens(made["labels"]) == [
        "<extra_id_0>", "▁de", "<extra_id_1>", "</s>"]  # fmt: skip
    net, tokenizer = load(str(model("nllb")))
    with pytest.raises(RecipeError, match="unknown language code"):
        tags(net.config, tokenizer, "gaps", "spans")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["gaps", "bitext"])
def test_the_best_model_fills_gaps_by_loss_and_translates_by_chrf(
    text: str, bitext: Path, model: Callable[[str], Path], tmp_path: Path
) -> None:
    denoise([str(bitext / "train.es")], tmp_path / "gaps", dev=5)
    where = bitext if text == "bitext" else tmp_path / "gaps"
    huggingface_main.train(settings(where, model("t5"), tmp_path, updates=6, learning_rate=0.05,
                                    optimizer="adafactor"))  # fmt: skip
    state = json.loads((tmp_path / "checkpoints/checkpoint-6/trainer_state.json").read_text())
    name, of = ("eval_loss", min) if text == "gaps" else ("eval_chrf", max)
    measured = [record[name] for record in state["log_history"] if name in record]
    assert len(measured) == 3 and state["best_metric"] == of(measured)


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_text_becomes_no_tag_and_labels_become_text(
    family: str, model: Callable[[str], Path]
) -> None:
    net, tokenizer = load(str(model(family)))
    said = tags(net.config, tokenizer, "es", "pt" if family == "mbart" else "gl")
    plain = encode(tokenizer, said, ["sa te."], ["za de."])[0]
    text = ">>cat<< sa </s> te <s> <pad> __gl__ glg_Latn <extra_id_0> >>glg<<."
    made = encode(tokenizer, said, [text], [text])[0]
    if family == "marian":  # which looks for a tag at the beginning
        codes = set(tokenizer.convert_tokens_to_ids(tokenizer.supported_language_codes))
        assert len(codes & {*made["input_ids"]}) == 1 and not codes & {*made["labels"]}
    special = {*tokenizer.all_special_ids, *getattr(tokenizer, "lang_token_to_id", {}).values()}
    special.discard(tokenizer.unk_token_id)
    for side, ids in plain.items():
        assert [n for n in made[side] if n in special] == [n for n in ids if n in special]
    padded = [[*plain["labels"], -100, -100]]
    assert [line.strip() for line in huggingface_main.translations(tokenizer, padded)] == ["za de."]


def test_lora_needs_weights_that_are_not_random(
    model: Callable[[str], Path], tmp_path: Path
) -> None:
    warmstart(str(model("bert")), tmp_path)
    net, tokenizer = load(str(tmp_path))
    said = tags(net.config, tokenizer, "es", "gl")
    with pytest.raises(RecipeError, match="attention to the source is random"):
        huggingface_main._with_lora(net, said, {"lora": 2, "seed": 1, "model": str(tmp_path)})
    (tmp_path / "translation.json").write_text("{}")  # as training leaves it
    huggingface_main._with_lora(net, said, {"lora": 2, "seed": 1, "model": str(tmp_path)})


def test_lora_merged_is_lora(model: Callable[[str], Path], bitext: Path) -> None:
    for family in ("t5", "m2m_100"):
        net, tokenizer = load(str(model(family)))
        said = tags(net.config, tokenizer, "es", "gl")
        made = encode(tokenizer, said, ["sa te."], ["za de."])
        whole = transformers.DataCollatorForSeq2Seq(tokenizer, net)(made)
        before = net.eval()(**whole).logits.detach()
        wrapped = huggingface_main._with_lora(
            net, said, {"lora": 2, "seed": 1, "model": "hub"}
        ).eval()
        trained = [n for n, p in wrapped.named_parameters() if p.requires_grad]
        # One layer each of encoder and decoder, three attentions, four matrices, two factors.
        assert len(trained) == 3 * 4 * 2
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if "lora_B" in name:
                    parameter.normal_()
        unmerged = wrapped(**whole).logits.detach()
        assert not torch.allclose(unmerged, before, atol=1e-2)
        merged = wrapped.merge_and_unload()
        torch.testing.assert_close(merged(**whole).logits, unmerged, atol=1e-4, rtol=1e-4)
        assert type(merged) is type(load(str(model(family)))[0])


def test_two_encoders_become_a_translator(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    warmstart(str(model("xlm-roberta")), tmp_path / "pair", str(model("bert")))
    net, tokenizer = load(str(tmp_path / "pair"))
    bert, bert_tokenizer = load(str(model("bert")), "AutoModelForMaskedLM")
    xlmr, _ = load(str(model("xlm-roberta")), "AutoModelForMaskedLM")
    assert type(tokenizer).__name__ == "XLMRobertaTokenizer"
    settings = net.config
    assert [tokenizer.convert_ids_to_tokens(i) for i in (settings.decoder_start_token_id,
            settings.eos_token_id, settings.pad_token_id)] == ["<s>", "</s>", "<pad>"]  # fmt: skip
    assert torch.equal(
        net.encoder.get_input_embeddings().weight, xlmr.get_input_embeddings().weight
    )
    table = net.decoder.get_input_embeddings().weight
    assert table.shape == (len(tokenizer), 32)
    assert net.decoder.get_output_embeddings().weight is table
    # A full stop is called the same in both vocabularies.
    place, old = (t.convert_tokens_to_ids(".") for t in (tokenizer, bert_tokenizer))
    assert torch.equal(table[place], bert.get_input_embeddings().weight[old])
    layer = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(net.decoder.get_parameter(layer), bert.get_parameter(layer))
    head = "cls.predictions.transform.dense.weight"
    assert not torch.equal(net.decoder.get_parameter(head), bert.get_parameter(head))
    made = encode(tokenizer, tags(settings, tokenizer, "es", "gl"), ["sa te."], ["za de."])[0]
    assert tokenizer.convert_ids_to_tokens(made["labels"]) == ["▁za", "▁de", ".", "</s>"]
    with pytest.raises(RecipeError, match="type t5 cannot be a decoder"):
        warmstart(str(model("bert")), tmp_path / "none", str(model("t5")))


def test_xlnet_may_be_an_encoder(model: Callable[[str], Path], tmp_path: Path) -> None:
    warmstart(str(model("xlnet")), tmp_path / "pair", str(model("bert")))
    net, read_back = load(str(tmp_path / "pair"))
    said = tags(net.config, read_back, "es", "gl")
    made = encode(read_back, said, ["sa te.", "sa."], ["za de.", "za."])
    whole = transformers.DataCollatorForSeq2Seq(read_back, net)(made)
    assert net(**whole).loss.isfinite()
    assert net.generate(whole["input_ids"], max_length=5).shape[0] == 2
    with pytest.raises(RecipeError, match="type xlnet cannot be a decoder"):
        warmstart(str(model("xlnet")), tmp_path / "none")


@pytest.mark.slow
def test_hidden_words_are_learned(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    lines = [str(bitext / "train.es")]
    masked(str(model("bert")), lines, tmp_path, updates=40, learning_rate=5e-3)
    losses = json.loads((tmp_path / "masked.json").read_text())
    assert len(losses) == 4 and losses[-1]["bits_a_token"] < losses[0]["bits_a_token"] - 0.5
    assert load(str(tmp_path), "AutoModelForMaskedLM")[0].config.model_type == "bert"
    # One line at a time, most of them with nothing hidden: the mean of none would be no number.
    masked(str(model("bert")), lines, tmp_path, updates=20, batch_size=1, rate=0.02)


def settings(bitext: Path, model: Path, out: Path, **more: Any) -> dict[str, Any]:
    """What train.huggingface hands to its child."""
    return {
        "bitext": str(bitext), "model": str(model), "out": str(out), "updates": 4,
        "learning_rate": 1e-3, "warmup": 0, "batch_size": 16, "accumulate": 1, "max_length": 200,
        "evaluate_every": 2, "patience": 0, "lora": 0, "trim": False, "new_language": None,
        "new_language_like": None, "prefix": None, "optimizer": "adam", "precision": "fp32",
        "seed": 1, "processes": None, "cpu_threads": None, "pretrained": "x", "log_every": 2,
        **more,
    }  # fmt: skip


def test_an_experiment_may_be_moved_between_last_update_and_model(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before model/ was written, moved, and run again: the best checkpoint is the model."""
    given = settings(bitext, model("marian"), tmp_path / "out", learning_rate=5e-3)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_main, "_save", lambda *_: None)
        huggingface_main.train(given)
    left = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    state = json.loads((tmp_path / "out/checkpoints/checkpoint-4/trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"]).name
    assert left == sorted({best, "checkpoint-4"})
    moved = shutil.move(tmp_path / "out", tmp_path / "else where")
    huggingface_main.mend(moved / "checkpoints" / "checkpoint-4")
    huggingface_main.train({**given, "out": str(moved)})
    saved, first, chosen = (
        load(str(path))[0].get_input_embeddings().weight
        for path in (moved / "model", model("marian"), moved / "checkpoints" / best)
    )
    assert torch.equal(saved, chosen) and not torch.equal(saved, first)
    shutil.rmtree(moved / "model")
    (moved / "checkpoints" / best / "whole").unlink(missing_ok=True)
    with pytest.raises(RecipeError, match="the best checkpoint so far, is not there"):
        huggingface_main.mend(moved / "checkpoints" / "checkpoint-4")


@pytest.mark.slow
def test_patience_waits_for_dev_chrf(
    model: Callable[[str], Path],
    bitext: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At a learning rate of nothing the first look is the best: two more, and it ends."""
    out = tmp_path / "out"
    given = settings(bitext, model("t5"), out, learning_rate=1e-12, updates=100, patience=2)
    huggingface_main.train(given)
    shutil.rmtree(out / "model")  # killed before it was written
    huggingface_main.train(given)
    said = capsys.readouterr().out
    assert list(read_curves(said.split("\n")).valid) == [2, 4, 6]
    assert said.count('"valid_chrf"') == 3 and (out / "model").is_dir()


def test_a_loss_that_is_no_number_stops_with_advice(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:  # H1
    broken = tmp_path / "broken"
    net, tokenizer = load(str(model("marian")))
    with torch.no_grad():
        net.get_parameter("model.encoder.layers.0.fc1.weight")[0, 0] = float("nan")
    net.save_pretrained(broken)
    tokenizer.save_pretrained(broken)
    with pytest.raises(RecipeError, match=r"no number \(nan\) at update 1.*lower --learning-rate"):
        huggingface_main.train(settings(bitext, broken, tmp_path / "out"))
    assert not (tmp_path / "out" / "model").exists()


def test_the_order_of_batches_is_that_of_seed_and_epoch_alone(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    """Whatever was drawn before: so that processes agree, and an interruption changes nothing."""
    _, tokenizer = load(str(model("t5")))
    lengths = []

    def order(seed: int, epoch: float) -> list[str]:
        given = settings(bitext, model("t5"), tmp_path, seed=seed)
        net, _, _, text, _ = huggingface_main.prepare(given)
        trainer, _ = huggingface_main._trainer(given, net, tokenizer, text)
        trainer.state.epoch = epoch
        batches = [batch["input_ids"] for batch in trainer.get_train_dataloader()]
        lengths.append(sum(batch.numel() for batch in batches))
        return tokenizer.batch_decode([row for b in batches for row in b], skip_special_tokens=True)

    first, second = order(1, 0), order(1, 1)
    torch.rand(7)
    assert order(1, 1) == order(1, 1.25) == second
    assert Counter(first) == Counter(second) and len(first) == 280
    assert first != second != order(2, 1) and first != order(2, 0)
    # Of about the same length together: in any order, 16 lines are padded to about the longest.
    tokens = sum(map(len, tokenizer(first)["input_ids"]))
    assert max(lengths) < 1.25 * tokens


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 5e-3), ("adafactor", 0.05)])
def test_an_interruption_in_a_later_epoch_changes_no_bit(
    optimizer: str,
    rate: float,
    model: Callable[[str], Path],
    bitext: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = shutil.copytree(model("t5"), tmp_path / "first")
    config = json.loads((here / "config.json").read_text())
    (here / "config.json").write_text(json.dumps({**config, "dropout_rate": 0.1}))
    runs = {name: settings(bitext, here, tmp_path / name, updates=10, batch_size=100,
                           evaluate_every=5, optimizer=optimizer, learning_rate=rate)
            for name in ("whole", "interrupted")}  # fmt: skip
    huggingface_main.train(runs["whole"])
    looks = iter(range(1, 99))
    with monkeypatch.context() as patch:  # told so after update 7, in the third epoch
        patch.setattr(stopping, "asked", lambda: next(looks) == 7)
        huggingface_main.train(runs["interrupted"])
    assert json.loads((tmp_path / "interrupted/unfinished.json").read_text()) == {"updates": 7}
    assert not (tmp_path / "interrupted/model").exists()
    (tmp_path / "interrupted/unfinished.json").unlink()
    huggingface_main.train(runs["interrupted"])
    last = "checkpoints/checkpoint-10/model.safetensors"
    whole, interrupted = (load_file(tmp_path / name / last) for name in runs)
    assert all(torch.equal(whole[name], interrupted[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_train_one_model(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    """With layers that are dropped, as in M2M-100's own settings: then gradients are missing."""
    here = shutil.copytree(model("m2m_100"), tmp_path / "first")
    config = json.loads((here / "config.json").read_text())
    config |= {"encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5, "dropout": 0.1}
    (here / "config.json").write_text(json.dumps(config))
    finetune(bitext, str(here), tmp_path / "out", updates=40, evaluate_every=20, batch_size=8,
             learning_rate=5e-3, processes=2, cpu_threads=1)  # fmt: skip
    curves = json.loads((tmp_path / "out" / "train.json").read_text())
    # 280 pairs are 17.5 updates of 16.
    assert curves["train"][-1]["epoch"] == pytest.approx(40 / 18, abs=0.01)
    assert curves["valid"][-1]["valid_loss"] < curves["valid"][0]["valid_loss"]
    assert load(str(tmp_path / "out" / "model"))[0].config.encoder_layerdrop == 0.5
    # Without dropout, two batches of 8 are one of 16: gradients do not grow with processes.
    first = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        finetune(bitext, str(model("m2m_100")), out, updates=1, batch_size=16 // processes,
                 processes=processes, cpu_threads=1)  # fmt: skip
        first.append(json.loads((out / "train.json").read_text())["train"][0])
    assert first[1]["loss"] == pytest.approx(first[0]["loss"], rel=0.05)
    assert first[1]["gnorm"] == pytest.approx(first[0]["gnorm"], rel=0.35)


def test_a_dev_loss_that_is_no_number_stops_with_advice(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    """Of a character that only dev has, for which the table of the source has no number."""
    net, tokenizer = load(str(model("mt5")))
    with torch.no_grad():
        net.get_input_embeddings().weight[tokenizer.unk_token_id] = float("nan")
    net.save_pretrained(tmp_path / "broken")
    tokenizer.save_pretrained(tmp_path / "broken")
    text = shutil.copytree(bitext, tmp_path / "text")
    lines = (text / "dev.es").read_text()
    (text / "dev.es").write_text("語 " + lines)
    with pytest.raises(RecipeError, match=r"the loss of dev is no number after update 2: .*lower"):
        huggingface_main.train(settings(text, tmp_path / "broken", tmp_path / "out"))


def train_records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, float]]:
    """What trainings in this process have printed of their updates."""
    lines = capsys.readouterr().out.split("\n")
    return [json.loads(line.partition("train_inner | ")[2]) for line in lines
            if "train_inner" in line]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "m2m_100"])
def test_batches_of_an_update_are_averaged(
    family: str,
    model: Callable[[str], Path],
    bitext: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Four batches of 5 pairs are one of 20: transformers by itself gives M2M-100 four times it."""
    for batch_size, accumulate in ((20, 1), (5, 4)):
        huggingface_main.train(
            settings(bitext, model(family), tmp_path / str(accumulate), updates=1, log_every=1,
                     batch_size=batch_size, accumulate=accumulate)
        )  # fmt: skip
    first, second = train_records(capsys)
    assert second["loss"] == pytest.approx(first["loss"], rel=0.05)
    assert second["gnorm"] == pytest.approx(first["gnorm"], rel=0.35)


@pytest.mark.slow
def test_a_step_of_adafactor_is_relative_to_the_parameter(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    """By Shazeer & Stern, the first update of a vector is rate · RMS · the gradient's sign.

    Of a matrix it is at most as large in the mean, and Adam's, of every number, the rate itself.
    """
    rate, made = 0.02, {}
    for optimizer in ("adafactor", "adam"):
        out = tmp_path / optimizer
        huggingface_main.train(settings(bitext, model("t5"), out, updates=1, learning_rate=rate,
                                        optimizer=optimizer))  # fmt: skip
        made[optimizer] = load_file(out / "model" / "model.safetensors")
    before = load_file(model("t5") / "model.safetensors")
    norm = "encoder.block.0.layer.0.layer_norm.weight"  # of ones
    change = (made["adafactor"][norm] - before[norm]).abs()
    assert change.numpy() == pytest.approx(rate, rel=1e-3)
    matrix = "encoder.block.0.layer.0.SelfAttention.q.weight"
    size = before[matrix].square().mean().sqrt()
    assert size < 0.2
    steps = {name: (after[matrix] - before[matrix]).square().mean().sqrt()
             for name, after in made.items()}  # fmt: skip
    assert 0.3 * rate * size < steps["adafactor"] <= 1.001 * rate * size
    assert float(steps["adam"]) == pytest.approx(rate, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "m2m_100"])
def test_bf16_is_the_same_training_in_fewer_digits(
    family: str,
    model: Callable[[str], Path],
    bitext: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a CPU, where the command refuses it as slow: products have 8 bits, weights all 24."""
    for precision in ("fp32", "bf16"):
        huggingface_main.train(settings(bitext, model(family), tmp_path / precision, log_every=1,
                                        precision=precision))  # fmt: skip
    losses = [record["loss"] for record in train_records(capsys)]
    assert losses[:4] != losses[4:] == pytest.approx(losses[:4], rel=2**-6)
    before, full, short = (
        load_file(path / "model.safetensors")
        for path in (model(family), tmp_path / "fp32/model", tmp_path / "bf16/model")
    )
    assert {weight.dtype for weight in short.values()} == {torch.float32}
    apart, moved = (
        sum(float((one[name] - other[name]).abs().sum()) for name in full)
        for one, other in ((short, full), (full, before))
    )
    assert 0 < apart < 0.5 * moved


@pytest.mark.slow
def test_what_is_known_by_heart_is_translated_without_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = toy.pairs(24, seed=3)
    write_languages(tmp_path / "text", "es", "gl")
    for name in ("train", "dev"):
        for place, language in enumerate(("es", "gl")):
            text = "".join(f"{pair[place]}\n" for pair in made)
            (tmp_path / "text" / f"{name}.{language}").write_text(text)
    text = [str(tmp_path / "text" / f"train.{language}") for language in ("es", "gl")]
    fresh("nllb", text, tmp_path / "model", 100, 1, 64, dropout=0.0)
    huggingface_main.train(
        settings(tmp_path / "text", tmp_path / "model", tmp_path / "out", updates=150,
                 evaluate_every=150, learning_rate=5e-3, log_every=150, batch_size=12)
    )  # fmt: skip
    curves = read_curves(capsys.readouterr().out.split("\n"))
    assert curves.valid[150]["valid_loss"] < 0.1 and curves.valid[150]["valid_chrf"] > 95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("m2m_100", {"trim": True}),
        ("nllb", {"new_language": "ach_Latn", "trim": True}),
        ("mt5", {"lora": 4}),
        ("encoder-decoder", {}),
    ],
)
def test_fine_tuning_lowers_the_loss_of_dev(
    family: str,
    more: dict[str, Any],
    model: Callable[[str], Path],
    bitext: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, out = (
        model(family) if family != "encoder-decoder" else tmp_path / "pair",
        tmp_path / "out",
    )
    if family == "encoder-decoder":
        warmstart(str(model("bert")), here)
    if "new_language" in more:
        bitext = shutil.copytree(bitext, tmp_path / "text")
        write_languages(bitext, "es", "ach_Latn")
        for path in bitext.glob("*.gl"):
            path.rename(path.with_suffix(".ach_Latn"))
    out.mkdir()
    huggingface_main.train(
        settings(
            bitext,
            here,
            out,
            updates=40,
            evaluate_every=20,
            learning_rate=5e-3,
            batch_size=20,
            **more,
        )
    )
    net, tokenizer = load(str(out / "model"))
    said = json.loads((out / "model" / "translation.json").read_text())
    assert said["family"] == family and said["max_source_tokens"] > 5
    fields = {name: said[name] for name in Tags.__dataclass_fields__}
    first, _ = load(str(here))
    if more.get("trim"):
        assert net.config.vocab_size < first.config.vocab_size
    text = read_examples(bitext, tokenizer, Tags(**fields), 200)
    whole = transformers.DataCollatorForSeq2Seq(tokenizer, net)(text.dev)
    loss = net.eval()(**whole).loss.item()
    made = net.generate(whole["input_ids"], attention_mask=whole["attention_mask"], max_length=9)
    if said["target_token"]:
        begin = tokenizer.convert_tokens_to_ids(said["target_token"])
        assert made[:, 1].tolist() == [begin] * len(text.dev)
    first_look, last_look = read_curves(capsys.readouterr().out.split("\n")).valid.values()
    assert last_look["valid_loss"] < first_look["valid_loss"] - 0.1
    # What was saved is what was looked at, and better.
    best = max(first_look, last_look, key=lambda record: record["valid_chrf"])
    assert loss == pytest.approx(best["valid_loss"], abs=1e-3)
    assert not list(out.glob("model.partial"))


@pytest.mark.slow
def test_killed_and_told_to_stop_it_goes_on(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    out = tmp_path / "an out, é"
    command = [sys.executable, "-m", "train.huggingface", "--bitext", str(bitext), "--model",
               str(model("t5")), "--out", str(out), "--updates", "60", "--evaluate-every", "5",
               "--learning-rate", "3e-3", "--batch-size", "8", "--patience", "0"]  # fmt: skip
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, env=environment, cwd=REPOSITORY)  # fmt: skip

    process = start()
    _wait(lambda: huggingface_main.last_whole(out) is not None, process)
    process.kill()
    process.wait()
    time.sleep(0.5)  # its child ends with it
    first = huggingface_main.last_whole(out)
    assert first is not None
    # A checkpoint that was not written to its end.
    half = out / "checkpoints" / "checkpoint-55"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert huggingface_main.last_whole(out) == first
    lines = (out / "huggingface.log").read_text().count("num_updates")
    process = start()
    _wait(lambda: (out / "huggingface.log").read_text().count("num_updates") > lines, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode == 0 and "stopped when told to, after" in said, said
    done = json.loads((out / "unfinished.json").read_text())["updates"]
    assert int(first.name.rpartition("-")[2]) < done < 60
    assert not (out / "model").exists()
    with pytest.raises(RecipeError, match="seed from 1 to 2"):
        finetune(bitext, str(model("t5")), out, updates=60, evaluate_every=5, learning_rate=3e-3,
                 batch_size=8, patience=0, seed=2)  # fmt: skip
    process = start()
    said = process.communicate()[0]
    assert process.returncode == 0 and "60 updates; best dev chrF" in said, said
    assert load(str(out / "model"))[0].config.model_type == "t5"
    assert not (out / "unfinished.json").exists() and not (out / "checkpoints").exists()
    curves = json.loads((out / "train.json").read_text())
    assert [r["valid_num_updates"] for r in curves["valid"]] == list(range(5, 61, 5))
    assert curves["valid"][-1]["valid_loss"] < curves["valid"][0]["valid_loss"]
    facts = json.loads((out / "facts.json").read_text())
    assert facts["updates"] == 60 and facts["parameters"] > 30_000 and facts["trimmed"] is None
    assert (out / "loss.png").stat().st_size > 5000


def _wait(done: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(1200):
        if done():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("waited for two minutes")


@pytest.mark.slow
def test_a_model_of_the_hub_by_its_name(
    model: Callable[[str], Path], bitext: Path, tmp_path: Path
) -> None:
    """As the hub's library leaves it when it has downloaded it; with the recipe's settings."""
    cached, commit = tmp_path / "hub" / "models--google--mt5-small", "0123456789" * 4
    shutil.copytree(model("mt5"), cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    command = [
        sys.executable, "-m", "train.huggingface", "--bitext", str(bitext), "--updates", "2",
        "--config", str(REPOSITORY / "recipes/finetune/conf/hub.yaml"),
        "--model", "google/mt5-small", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    offline = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "out" / "model" / "translation.json").read_text())
    assert said["family"] == "mt5" and said["pretrained"] == f"google/mt5-small commit:{commit}"
    assert said["prefix"] == "translate Spanish to Galician: "
