"""How each family of Hugging Face's models is told its languages.

T5, mT5, ByT5 (Raffel et al. 2020, Xue et al. 2021 and 2022) read a sentence before the text, Marian
with several targets reads `>>glg<<`, mBART-50, M2M-100 and NLLB have a token for each language,
which the decoder has to begin with.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.errors import RecipeError
from pipeline.languages import find, m2m100, mbart50
from preprocess.denoise import PAIR as DENOISED
from train.pieces import around, cut


@dataclass(frozen=True)
class Tags:
    """What translation.json says of the languages; tokens are the tokeniser's own names."""

    family: str
    source_language: str
    target_language: str
    prefix: str = ""  # put before each source
    source_token: str | None = None  # the tokeniser's src_lang
    target_token: str | None = None  # what each output begins with, after the decoder's start


def family(config: Any, tokenizer: Any) -> str:
    """The family of a model, by its configuration and tokeniser; RecipeError if there is none."""
    kind, cut_by = config.model_type, type(tokenizer).__name__
    if cut_by == "ByT5Tokenizer":
        return "byt5"
    if kind == "m2m_100":
        return "nllb" if cut_by.startswith("Nllb") else "m2m_100"
    if kind == "mbart" and not cut_by.startswith("MBart50"):
        raise RecipeError("this mBART has 25 languages and other tags; take mBART-50 instead")
    names = {"t5": "t5", "mt5": "mt5", "umt5": "mt5", "marian": "marian", "mbart": "mbart",
             "encoder-decoder": "encoder-decoder"}  # fmt: skip
    if kind not in names:
        raise RecipeError(f"models of type {kind} are not known here; take {', '.join(names)}")
    return names[kind]


def tags(config: Any, tokenizer: Any, source: str, target: str, prefix: str | None = None) -> Tags:
    """Prefix and language tokens of a model for a pair of our codes.

    `prefix` takes the place of the family's own. Raises RecipeError for a language that the model
    does not have.
    """
    kind = family(config, tokenizer)
    if prefix is not None and kind in ("mbart", "m2m_100", "nllb"):
        raise RecipeError(f"a {kind} model goes by language tokens and has no prefix")
    if kind in ("t5", "mt5", "byt5"):
        if prefix is None and (source, target) == DENOISED:
            prefix = ""
        if prefix is None:
            prefix = f"translate {find(source).name} to {find(target).name}: "
        return Tags(kind, source, target, prefix)
    if kind == "encoder-decoder":
        return Tags(kind, source, target, prefix or "")
    if kind == "marian":
        codes = [code.strip("><") for code in tokenizer.supported_language_codes]
        if prefix is None:
            prefix = f">>{_of_marian(target, codes)}<< " if codes else ""
        return Tags(kind, source, target, prefix)
    tokens = [token_of(kind, code) for code in (source, target)]
    for code, token in zip((source, target), tokens, strict=True):
        if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
            known = language_tokens(tokenizer)
            near = difflib.get_close_matches(token, known, 2, 0.5)
            hint = f"; the nearest it has is {near[0]}" if near else ""
            adds = f"--new-language {code} adds it"
            if kind == "m2m_100":
                adds = "a new one needs NLLB or mBART-50, whose list is not fixed"
            raise RecipeError(
                f"this {kind} model has no language {code} (its token would be {token}){hint}; "
                f"{adds}"
            )
    if kind == "m2m_100":  # its tokeniser is told the bare code
        return Tags(kind, source, target, "", tokens[0].strip("_"), tokens[1])
    return Tags(kind, source, target, "", *tokens)


def token_of(kind: str, code: str) -> str:
    """The token that stands for a language in mBART-50, M2M-100 or NLLB, or would."""
    language = find(code)
    if kind == "nllb":  # which names Santali by another script than its own
        return "sat_Beng" if language.iso3 == "sat" else language.flores
    return f"__{m2m100(language)}__" if kind == "m2m_100" else mbart50(language)


def language_tokens(tokenizer: Any) -> list[str]:
    """The tokens for languages that a tokeniser of mBART-50, M2M-100 or NLLB has."""
    if hasattr(tokenizer, "lang_token_to_id"):
        return list(tokenizer.lang_token_to_id)
    special = [str(token) for token in tokenizer.all_special_tokens]
    return [token for token in special if "_" in token and not token.startswith("<")]


def _of_marian(code: str, codes: Sequence[str]) -> str:
    language = find(code)
    for name in (code, language.iso3, language.moses, language.flores):
        if name in codes:
            return name
    for name in codes:
        try:
            other = find(name)
        except RecipeError:
            continue
        if (other.iso3, other.script) == (language.iso3, language.script):
            return name
    near = difflib.get_close_matches(language.iso3, codes, 2, 0.5) or list(codes[:5])
    raise RecipeError(
        f"this model does not translate into {code} ({language.name}); the nearest codes it has "
        f"are {', '.join(near)}; a new one needs NLLB or mBART-50"
    )


def add_language(model: Any, tokenizer: Any, code: str, like: Sequence[str] = ()) -> None:
    """Give a language a token and a row of embeddings, the mean of those of other languages.

    `like` are our codes of these; all languages of the model if there are none. For a T5 there is
    nothing to do, as its prefix names languages by words. Raises RecipeError where there can be
    no token, or is one already.
    """
    kind = family(model.config, tokenizer)
    if kind in ("t5", "mt5", "byt5"):
        return
    if kind == "m2m_100":
        raise RecipeError(
            "M2M-100's tokeniser has a fixed list of languages; take NLLB or mBART-50 for a new one"
        )
    if kind == "encoder-decoder" or (kind == "marian" and not tokenizer.supported_language_codes):
        raise RecipeError(f"this {kind} model has no language tokens, so --new-language adds none")
    if kind == "marian":
        raise RecipeError("a new >>language<< of a Marian model is not supported; take NLLB")
    known, token = language_tokens(tokenizer), token_of(kind, code)
    if token in known:
        raise RecipeError(f"this model has {token} already; leave --new-language out")
    others = [token_of(kind, other) for other in like] or known
    if missing := sorted(set(others) - set(known)):
        raise RecipeError(f"this model has no {missing[0]} that the new language could be like")
    rows = torch.tensor(tokenizer.convert_tokens_to_ids(others))
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [token]}, replace_extra_special_tokens=False
    )
    number = tokenizer.convert_tokens_to_ids(token)
    if number >= model.config.vocab_size:
        model.resize_token_embeddings(number + 1, mean_resizing=False)
    with torch.no_grad():
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            table.weight[number] = table.weight[rows].mean(0)


def encode(
    tokenizer: Any, tags: Tags, sources: Sequence[str], targets: Sequence[str]
) -> list[dict[str, list[int]]]:
    """Numbers of tokens of source (`input_ids`) and target (`labels`), with all tags."""
    if tags.source_token is not None:
        tokenizer.src_lang = tags.source_token
    before, after = around(tokenizer, tags.prefix)
    gaps = (tags.source_language, tags.target_language) == DENOISED
    inputs = cut(tokenizer, sources, special=gaps)
    marian = tags.family == "marian"  # it has two models of subwords
    labels = cut(tokenizer, targets, target=marian, special=gaps)
    start = [tokenizer.convert_tokens_to_ids(tags.target_token)] if tags.target_token else []
    end = end_of(tokenizer)
    return [
        {"input_ids": [*before, *source, *after], "labels": [*start, *target, end]}
        for source, target in zip(inputs, labels, strict=True)
    ]


def end_of(tokenizer: Any) -> int:
    """The number of the token that ends a line: BERT's is called its separator."""
    end = tokenizer.eos_token_id
    return int(tokenizer.sep_token_id if end is None else end)
