"""Tiny models of Hugging Face's families, with tokenisers learned here, taught to copy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch
import toy
from tokenizers import models, pre_tokenizers, trainers

from train.hub import library

transformers = library()
LINES = [" ".join(source.split()[:3]) + "." for source, _ in toy.pairs(300, seed=5)]
LINES += ["Ábc, déf! (1)"] * 3
_SIZES: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "max_position_embeddings": 128, "dropout": 0.0, "attention_dropout": 0.0,
    "activation_dropout": 0.0, "init_std": 0.3,
}  # fmt: skip
_T5_SIZES = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
             "dropout_rate": 0.0,
             "initializer_factor": 2.0}  # fmt: skip


def _unigram(special: list[str]) -> list[tuple[str, float]]:
    tokeniser = tokenizers.Tokenizer(models.Unigram())
    tokeniser.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150,
        special_tokens=special,
        show_progress=False,
        unk_token="<unk>",  # noqa: S106
    )
    tokeniser.train_from_iterator(LINES, trainer)
    return [(piece, score) for piece, score in json.loads(tokeniser.to_str())["model"]["vocab"]]


def _sentencepiece(directory: Path) -> tuple[str, list[str]]:
    """A model's path, and its pieces without the special ones."""
    path = directory / "spm"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(path), vocab_size=80, minloglevel=2
    )
    model = sentencepiece.SentencePieceProcessor(model_file=f"{path}.model")
    return f"{path}.model", [model.id_to_piece(i) for i in range(3, model.get_piece_size())]


def t5(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    tokeniser = transformers.T5Tokenizer(_unigram(["<pad>", "</s>", "<unk>"]), extra_ids=5)
    config = transformers.T5Config(vocab_size=192, decoder_start_token_id=0, **_T5_SIZES)
    model = transformers.T5ForConditionalGeneration(config)
    return model, tokeniser, {"prefix": "translate Spanish to Catalan: "}


def t5_v1_1(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    """As T5 of version 1.1: gated, and its outputs are not scaled."""
    tokeniser = transformers.T5Tokenizer(_unigram(["<pad>", "</s>", "<unk>"]), extra_ids=5)
    config = transformers.T5Config(vocab_size=192, decoder_start_token_id=0,
                                   feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                                   **_T5_SIZES)  # fmt: skip
    return transformers.T5ForConditionalGeneration(config), tokeniser, {}


def mt5(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    tokeniser = transformers.T5Tokenizer(_unigram(["<pad>", "</s>", "<unk>"]), extra_ids=0)
    config = transformers.MT5Config(vocab_size=192, decoder_start_token_id=0, **_T5_SIZES)
    return transformers.MT5ForConditionalGeneration(config), tokeniser, {}


def byt5(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    config = transformers.T5Config(vocab_size=384, decoder_start_token_id=0, **_T5_SIZES)
    return transformers.T5ForConditionalGeneration(config), transformers.ByT5Tokenizer(), {}


def marian(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    path, pieces = _sentencepiece(directory)
    entries = ["</s>", "<unk>", ">>cat<<", *pieces, "<pad>"]
    vocabulary = directory / "vocab.json"
    vocabulary.write_text(json.dumps({entry: place for place, entry in enumerate(entries)}))
    tokeniser = transformers.MarianTokenizer(path, path, str(vocabulary), source_lang="es",
                                             target_lang="ca")  # fmt: skip
    pad = len(entries) - 1
    config = transformers.MarianConfig(
        vocab_size=len(entries), pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad,
        bos_token_id=None, forced_eos_token_id=None, scale_embedding=True,
        activation_function="swish", **_SIZES,
    )  # fmt: skip
    return transformers.MarianMTModel(config), tokeniser, {"prefix": ">>cat<< "}


def mbart(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    vocabulary = _unigram(["<s>", "<pad>", "</s>", "<unk>"])
    tokeniser = transformers.MBart50Tokenizer(vocabulary, src_lang="es_XX", tgt_lang="pt_XX")
    config = transformers.MBartConfig(vocab_size=len(tokeniser), decoder_start_token_id=2,
                                      forced_eos_token_id=None, **_SIZES)  # fmt: skip
    model = transformers.MBartForConditionalGeneration(config)
    return model, tokeniser, {"source_token": "es_XX", "target_token": "pt_XX"}


def m2m_100(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    path, pieces = _sentencepiece(directory)
    entries = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    vocabulary = directory / "vocab.json"
    vocabulary.write_text(json.dumps({entry: place for place, entry in enumerate(entries)}))
    tokeniser = transformers.M2M100Tokenizer(str(vocabulary), path, src_lang="es", tgt_lang="ca")
    last = max(tokeniser.lang_token_to_id.values())
    config = transformers.M2M100Config(vocab_size=last + 9, decoder_start_token_id=2, **_SIZES)
    model = transformers.M2M100ForConditionalGeneration(config)
    return model, tokeniser, {"source_token": "es", "target_token": "__ca__"}


def nllb(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    tokeniser = tokenizers.Tokenizer(models.BPE())
    tokeniser.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokeniser.train_from_iterator(LINES, trainer)
    learned = json.loads(tokeniser.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    own = transformers.NllbTokenizer(learned["vocab"], merges, src_lang="spa_Latn",
                                     tgt_lang="cat_Latn")  # fmt: skip
    config = transformers.M2M100Config(vocab_size=len(own), decoder_start_token_id=2, **_SIZES)
    model = transformers.M2M100ForConditionalGeneration(config)
    return model, own, {"source_token": "spa_Latn", "target_token": "cat_Latn"}


def encoder_decoder(directory: Path) -> tuple[Any, Any, dict[str, Any]]:
    tokeniser = tokenizers.BertWordPieceTokenizer(lowercase=False)
    tokeniser.train_from_iterator(LINES, vocab_size=150, show_progress=False)
    own = transformers.BertTokenizer(tokeniser.get_vocab(), do_lower_case=False)
    size = {"vocab_size": len(own), "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 128,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "initializer_range": 0.15}  # fmt: skip
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.BertConfig(**size), transformers.BertConfig(**size)
    )
    config.decoder_start_token_id = own.cls_token_id
    config.pad_token_id, config.eos_token_id = own.pad_token_id, own.sep_token_id
    return transformers.EncoderDecoderModel(config), own, {}


FAMILIES: dict[str, Callable[[Path], tuple[Any, Any, dict[str, Any]]]] = {
    make.__name__: make
    for make in (t5, t5_v1_1, mt5, byt5, marian, mbart, m2m_100, nllb, encoder_decoder)
}


def save(family: str, directory: Path, updates: int) -> Path:
    """Make a model, teach it to copy for so many updates, and leave it as training does."""
    torch.manual_seed(1)
    directory.mkdir(parents=True, exist_ok=True)
    model, tokeniser, facts = FAMILIES[family](directory)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    start = model.config.decoder_start_token_id
    target = facts.get("target_token")
    begin = [start] + ([tokeniser.convert_tokens_to_ids(target)] if target else [])
    end = tokeniser.eos_token_id if tokeniser.eos_token_id is not None else tokeniser.sep_token_id
    model.train()
    for update in range(updates):
        lines = LINES[update % 15 :: 15]
        batch = tokeniser([facts.get("prefix", "") + line for line in lines], padding=True,
                          return_tensors="pt")  # fmt: skip
        plain = tokeniser(lines, add_special_tokens=False)["input_ids"]
        longest = max(map(len, plain))
        rows = [[*begin, *row, end, *[-100] * (longest - len(row))] for row in plain]
        labels = torch.tensor(rows)
        inputs = labels[:, :-1].clone()
        inputs[inputs == -100] = tokeniser.pad_token_id
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                       decoder_input_ids=inputs).logits  # fmt: skip
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    out = directory / "model"
    model.save_pretrained(out)
    tokeniser.save_pretrained(out)
    said = {"family": "t5" if family == "t5_v1_1" else family, "source_language": "es",
            "target_language": "ca", "prefix": "", "source_token": None, "target_token": None,
            "max_source_tokens": 60, "pretrained": None}  # fmt: skip
    (out / "translation.json").write_text(json.dumps({**said, **facts}))
    return out
