"""Models of Hugging Face's families with random weights and a tokeniser learned from text.

They are as large as you say, and saved as any model of the hub: for experiments that begin from
nothing, and for tests.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import sentencepiece
import torch

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines
from pipeline.manifest import note
from train.hub import library

Family = Literal["t5", "mt5", "byt5", "marian", "mbart", "m2m_100", "nllb", "bert", "xlm-roberta"]
_POSITIONS = 512


def fresh(
    family: Family,
    text: list[str],
    out: Path,
    vocab_size: int = 4000,
    layers: int = 3,
    dimensions: int = 256,
    languages: list[str] | None = None,
    dropout: float = 0.1,
    seed: int = 1,
) -> None:
    """Make a model with random weights, and its tokeniser from text.

    Example: python -m train.fresh --family t5 --text+ exp/clean/train.es --text+ exp/clean/train.gl
    --out exp/first --vocab-size 4000 --layers 3 --dimensions 256

    Args:
        family: what kind; bert and xlm-roberta are for train.masked and train.warmstart.
        text: files of text, one sentence a line, of all languages.
        out: directory for the model.
        vocab_size: subwords to learn at most, special tokens and languages not counted.
        layers: of the encoder, and as many of the decoder.
        dimensions: of the embeddings; a multiple of 4.
        languages: target codes of a Marian with several (>>glg<<), which others do not need:
            mBART, M2M-100 and NLLB have tokens for all of theirs.
        dropout: probability, in training.
        seed: seed of the weights.

    """
    if dimensions % 4:
        raise RecipeError(f"--dimensions {dimensions} is not a multiple of 4, the number of heads")
    for code in languages or ():
        find(code)
    library().set_seed(seed)
    with tempfile.TemporaryDirectory() as place:
        make = _MAKERS[family]
        tokenizer, config = make(
            Path(place),
            [Path(name) for name in text],
            vocab_size,
            _sizes(family, layers, dimensions, dropout),
            languages,
        )
        transformers = library()
        kinds = {"bert": "AutoModelForMaskedLM", "xlm-roberta": "AutoModelForMaskedLM"}
        kind = getattr(transformers, kinds.get(family, "AutoModelForSeq2SeqLM"))
        model = kind.from_config(config, dtype=torch.float32)
        if family == "mt5":  # its output layer is its own, where transformers begins with the table
            first = torch.randn_like(model.lm_head.weight) * dimensions**-0.5
            model.lm_head.weight = torch.nn.Parameter(first)
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{family}: {config.vocab_size:,} subwords, {count:,} parameters")
    note(out, family=family, parameters=count, subwords=config.vocab_size, seed=seed)


def _sizes(family: str, layers: int, dimensions: int, dropout: float) -> dict[str, Any]:
    heads = max(4, dimensions // 64)
    heads -= dimensions % heads and heads - 4
    if family in ("t5", "mt5", "byt5"):
        return {"d_model": dimensions, "d_kv": dimensions // heads, "d_ff": 4 * dimensions,
                "num_layers": layers, "num_decoder_layers": layers, "num_heads": heads,
                "dropout_rate": dropout, "decoder_start_token_id": 0}  # fmt: skip
    if family in ("bert", "xlm-roberta"):
        return {"hidden_size": dimensions, "num_hidden_layers": layers,
                "num_attention_heads": heads, "intermediate_size": 4 * dimensions,
                "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
                "max_position_embeddings": _POSITIONS + 2}  # fmt: skip
    return {"d_model": dimensions, "encoder_layers": layers, "decoder_layers": layers,
            "encoder_attention_heads": heads, "decoder_attention_heads": heads,
            "encoder_ffn_dim": 4 * dimensions, "decoder_ffn_dim": 4 * dimensions,
            "dropout": dropout, "attention_dropout": 0.0, "activation_dropout": 0.0,
            "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "scale_embedding": True,
            "max_position_embeddings": _POSITIONS,
            "init_std": dimensions**-0.5}  # fmt: skip


def _text(paths: list[Path]) -> Iterator[str]:
    """Lines to learn subwords from; RecipeError if there are none."""
    found = False
    for path in paths:
        for line in read_lines(path):
            if line.strip():
                found = True
                yield line
    if not found:
        raise RecipeError(f"{paths[0]} has no text to learn subwords from")


def _learn(
    place: Path, text: list[Path], size: int, kind: str = "unigram"
) -> tuple[Path, list[tuple[str, float]]]:
    """A model of sentencepiece, and its pieces with scores, without special ones."""
    lines = list(_text(text))
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(place / kind),
            model_type=kind,
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=1 << 20,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise RecipeError(
            f"a vocabulary of {size} cannot be learned from {text[0]} ({error}); with too few for "
            "its characters, choose a larger --vocab-size"
        ) from error
    path = place / f"{kind}.model"
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    numbers = range(3, model.get_piece_size())
    return path, [(model.id_to_piece(number), model.get_score(number)) for number in numbers]


def _numbered(path: Path, tokens: list[str]) -> str:
    path.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    return str(path)


def _t5(place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any) -> tuple[Any, Any]:
    transformers = library()
    first = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = transformers.T5Tokenizer([*first, *_learn(place, text, size)[1]])
    return tokenizer, transformers.T5Config(vocab_size=len(tokenizer), **sizes)


def _mt5(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    transformers = library()
    tokenizer, _config = _t5(place, text, size, sizes, _)
    gated = {"feed_forward_proj": "gated-gelu"}
    return tokenizer, transformers.MT5Config(vocab_size=len(tokenizer), **gated, **sizes)


def _byt5(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    transformers = library()
    gated = {"feed_forward_proj": "gated-gelu"}
    return transformers.ByT5Tokenizer(), transformers.T5Config(vocab_size=384, **gated, **sizes)


def _marian(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], languages: list[str] | None
) -> tuple[Any, Any]:
    transformers = library()
    path, pieces = _learn(place, text, size)
    both = [str(place / name) for name in ("source.spm", "target.spm")]
    for name in both:
        shutil.copyfile(path, name)
    codes = [f">>{find(code).iso3}<<" for code in languages or ()]
    tokens = ["</s>", "<unk>", *codes, *(piece for piece, _ in pieces), "<pad>"]
    tokenizer = transformers.MarianTokenizer(*both, _numbered(place / "vocab.json", tokens))
    padding = len(tokens) - 1
    config = transformers.MarianConfig(
        vocab_size=len(tokens), pad_token_id=padding, eos_token_id=0, bos_token_id=None,
        decoder_start_token_id=padding, forced_eos_token_id=None, activation_function="swish",
        **sizes,
    )  # fmt: skip
    return tokenizer, config


def _mbart(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    transformers = library()
    first = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    tokenizer = transformers.MBart50Tokenizer([*first, *_learn(place, text, size)[1]])
    config = transformers.MBartConfig(
        vocab_size=len(tokenizer), decoder_start_token_id=2, forced_eos_token_id=None, **sizes
    )
    return tokenizer, config


def _m2m_100(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    transformers = library()
    path, pieces = _learn(place, text, size, "bpe")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece, _ in pieces)]
    vocabulary = _numbered(place / "vocab.json", tokens)
    tokenizer = transformers.M2M100Tokenizer(vocabulary, str(path))
    count = max(tokenizer.lang_token_to_id.values()) + 1
    return tokenizer, transformers.M2M100Config(vocab_size=count, decoder_start_token_id=2, **sizes)


def _nllb(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    import tokenizers

    transformers = library()
    learned = tokenizers.Tokenizer(tokenizers.models.BPE())
    learned.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size + 4,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        show_progress=False,
    )
    learned.train_from_iterator(_text(text), trainer)
    model = json.loads(learned.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = transformers.NllbTokenizer(model["vocab"], merges)
    return tokenizer, transformers.M2M100Config(
        vocab_size=len(tokenizer), decoder_start_token_id=2, **sizes
    )


def _bert(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    import tokenizers

    transformers = library()
    learned = tokenizers.BertWordPieceTokenizer(lowercase=False)
    learned.train_from_iterator(
        _text(text),
        vocab_size=size + 5,
        show_progress=False,
    )
    tokenizer = transformers.BertTokenizer(learned.get_vocab(), do_lower_case=False)
    return tokenizer, transformers.BertConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes
    )


def _xlm_roberta(
    place: Path, text: list[Path], size: int, sizes: dict[str, Any], _: Any
) -> tuple[Any, Any]:
    transformers = library()
    first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [*first, *_learn(place, text, size)[1], ("<mask>", 0.0)]
    tokenizer = transformers.XLMRobertaTokenizer(pieces)
    return tokenizer, transformers.XLMRobertaConfig(
        vocab_size=len(tokenizer), type_vocab_size=1, **sizes
    )


_MAKERS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "t5": _t5, "mt5": _mt5, "byt5": _byt5, "marian": _marian, "mbart": _mbart,
    "m2m_100": _m2m_100, "nllb": _nllb, "bert": _bert, "xlm-roberta": _xlm_roberta,
}  # fmt: skip


if __name__ == "__main__":
    command(fresh)
