"""Leaves out of a multilingual model the subwords that a text does not have.

An embedding table of 250,000 subwords is most of an mT5-small, and a pair of languages uses a tenth
of it. What is left out is as if it had never been learned: words of other texts are cut into the
subwords that remain, as single letters of the text's scripts, digits and signs always do. How the
training text is cut does not change:

- in a unigram model, the best way to cut a word is still the best among fewer (the worst score is
  kept, because the penalty for an unknown letter goes by it);
- in a BPE model, the pairs that were joined on the way to a subword are kept with it.
"""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from sentencepiece import sentencepiece_model_pb2

from pipeline.errors import RecipeError
from preprocess.features import NO_SCRIPT, script_of
from train.examples import Example
from train.families import Tags
from train.hub import library

_KINDS = ("mt5", "t5", "nllb", "mbart", "m2m_100")
# Of sentencepiece's kinds of pieces, the one that text is cut into; and its model of pairs.
_NORMAL, _BPE = 1, 2


def trim(
    model: Any, tokenizer: Any, tags: Tags, examples: Iterable[Example]
) -> tuple[Any, Any, dict[str, int]]:
    """Keep the subwords of the examples, special tokens and languages; new numbers for all.

    Returns the model, changed in place, a new tokeniser, and the counts of subwords before and
    after, and of parameters saved. Raises RecipeError where a tokeniser's kind is not supported.
    """
    if tags.family not in _KINDS:
        raise RecipeError(
            f"the tokeniser of a {tags.family} model cannot be trimmed; train with --trim false"
        )
    used = {number for example in examples for ids in example.values() for number in ids}
    keep = {str(token) for token in tokenizer.convert_ids_to_tokens(sorted(used))}
    keep |= _single(_numbers(tokenizer), keep)
    smaller = _smaller(tokenizer, keep)
    before = sum(parameter.numel() for parameter in model.parameters())
    rows = old_rows(tokenizer, smaller)
    old_size = model.config.vocab_size
    _select(model, rows)
    facts = {
        "subwords_before": old_size,
        "subwords": len(rows),
        "parameters_saved": before - sum(p.numel() for p in model.parameters()),
    }
    return model, smaller, facts


def _single(tokens: Iterable[str], keep: set[str]) -> set[str]:
    """The tokens of one character, of letters those of scripts that `keep` has."""
    scripts = {NO_SCRIPT, *(script_of(char) for token in keep for char in token)}
    return {token for token in tokens if len(token) == 1 and script_of(token) in scripts}


def old_rows(old: Any, new: Any) -> list[int]:
    """The old number of each of the new tokeniser's tokens, by its new number."""
    numbers = _numbers(old)
    rows = [old.unk_token_id] * (max(_numbers(new).values()) + 1)
    for token, number in _numbers(new).items():
        rows[number] = numbers[token]
    return rows


def _numbers(tokenizer: Any) -> dict[str, int]:
    return {**tokenizer.get_vocab(), **getattr(tokenizer, "lang_token_to_id", {})}


def _smaller(tokenizer: Any, keep: set[str]) -> Any:
    """A tokeniser with the tokens to keep and all that it added itself; as a save and a load."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        tokenizer.save_pretrained(directory)
        if (path := directory / "tokenizer.json").exists():
            state = json.loads(path.read_text(encoding="utf-8"))
            _trim_state(state, keep)
            path.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
        elif (path := directory / "sentencepiece.bpe.model").exists():
            _trim_sentencepiece(path, directory / "vocab.json", keep)
        else:
            raise RecipeError("this tokeniser cannot be trimmed; train with --trim false")
        smaller = library().AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    smaller.padding_side = tokenizer.padding_side
    return smaller


def _trim_state(state: dict[str, Any], keep: set[str]) -> None:
    """Trim what a tokenizer.json holds."""
    model = state["model"]
    keep = keep | {token["content"] for token in state["added_tokens"]}
    if model["type"] == "Unigram":
        unknown = model["vocab"][model["unk_id"]][0]
        worst = min(model["vocab"], key=lambda entry: float(entry[1]))[0]
        keep |= {unknown, worst}
        model["vocab"] = [entry for entry in model["vocab"] if entry[0] in keep]
        tokens = [entry[0] for entry in model["vocab"]]
        model["unk_id"] = tokens.index(unknown)
    elif model["type"] == "BPE":
        merges = [tuple(pair) for pair in model["merges"]]
        ranks = {pair: rank for rank, pair in enumerate(merges)}
        keep |= _on_the_way(keep, lambda first, second: ranks.get((first, second)))
        tokens = [
            token for token in sorted(model["vocab"], key=model["vocab"].get) if token in keep
        ]
        model["vocab"] = {token: number for number, token in enumerate(tokens)}
        model["merges"] = [list(pair) for pair in merges if keep.issuperset((*pair, "".join(pair)))]
    else:
        raise RecipeError(
            f"a tokeniser of the kind {model['type']} cannot be trimmed; train with --trim false"
        )
    numbers = {token: number for number, token in enumerate(tokens)}
    for token in sorted(state["added_tokens"], key=lambda token: int(token["id"])):
        token["id"] = numbers.setdefault(token["content"], len(numbers))
    for special in ((state.get("post_processor") or {}).get("special_tokens") or {}).values():
        special["ids"] = [numbers[token] for token in special["tokens"]]


def _trim_sentencepiece(path: Path, vocabulary: Path, keep: set[str]) -> None:
    """Trim a sentencepiece model, and the numbers that M2M-100's tokeniser has beside it."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(path.read_bytes())
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    if proto.trainer_spec.model_type == _BPE:

        def rank(first: str, second: str) -> float | None:
            score = scores.get(first + second)
            return None if score is None else -score

        keep = keep | _on_the_way(keep & scores.keys(), rank)
    else:
        keep = keep | {min(scores, key=lambda piece: scores[piece])}
    pieces = [piece for piece in proto.pieces if piece.type != _NORMAL or piece.piece in keep]
    keep = keep | {piece.piece for piece in pieces} | {"<s>", "<pad>", "</s>", "<unk>"}
    kept = [type(piece).FromString(piece.SerializeToString()) for piece in pieces]
    del proto.pieces[:]
    proto.pieces.extend(kept)
    path.write_bytes(proto.SerializeToString())
    old = json.loads(vocabulary.read_text(encoding="utf-8"))
    tokens = [token for token in sorted(old, key=old.get) if token in keep]
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))


def _on_the_way(tokens: Iterable[str], rank: Callable[[str, str], float | None]) -> set[str]:
    """All that was joined until each token was whole; `rank` is least for what is joined first."""
    parts: set[str] = set()
    for token in tokens:
        symbols = list(token)
        parts.update(symbols)
        while len(symbols) > 1:
            ranks = [(rank(symbols[i], symbols[i + 1]), i) for i in range(len(symbols) - 1)]
            possible = [(first, place) for first, place in ranks if first is not None]
            if not possible:
                break
            _, place = min(possible)
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
            parts.add(symbols[place])
    return parts


def _select(model: Any, rows: list[int]) -> None:
    """Keep these rows of embeddings and output layer, in this order, and renumber settings."""
    index = torch.tensor(rows)
    entrance, exit_ = model.get_input_embeddings(), model.get_output_embeddings()
    tied = exit_ is None or exit_.weight is entrance.weight
    kept = entrance.weight.detach()[index].clone()
    kept_exit = None if tied else exit_.weight.detach()[index].clone()
    bias = getattr(model, "final_logits_bias", None)
    kept_bias = None if bias is None else bias[:, index].clone()
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(kept)
        if kept_exit is not None:
            # A new one: in an mT5 they differ, and resizing may have made them one.
            model.get_output_embeddings().weight = torch.nn.Parameter(kept_exit)
        if kept_bias is not None:
            model.final_logits_bias.copy_(kept_bias)
    new = {old: number for number, old in reversed(list(enumerate(rows)))}
    for settings in (model.config, model.generation_config):
        for name, value in list(vars(settings).items()):
            if name.endswith("_token_id") and isinstance(value, int):
                setattr(settings, name, new.get(value))
            elif name.endswith("_token_id") and isinstance(value, list):
                setattr(settings, name, [new[number] for number in value])
