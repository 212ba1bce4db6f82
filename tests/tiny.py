"""Tiny models of Hugging Face's families, taught for a moment to copy short lines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import toy

from train.families import encode, tags
from train.fresh import fresh
from train.hub import library, load
from train.warmstart import warmstart

LINES = [" ".join(source.split()[:3]) + "." for source, _ in toy.pairs(300, seed=5)]
LINES += ["Ábc, déf! (1)"] * 3
FAMILIES = ("t5", "t5_v1_1", "mt5", "byt5", "marian", "mbart", "m2m_100", "nllb", "encoder_decoder")
# Languages that each family knows.
PAIRS = {"mbart": ("es", "pt")}
_NOISE = 0.1


def save(family: str, directory: Path, updates: int) -> Path:
    """Make a model, teach it for so many updates, and leave it as training does."""
    directory.mkdir(parents=True, exist_ok=True)
    text, first, out = directory / "text", directory / "first", directory / "model"
    text.write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    made: Any = {"t5_v1_1": "t5", "encoder_decoder": "bert"}.get(family, family)
    languages = ["ca", "gl"] if family == "marian" else None
    fresh(made, [text], first, 80, 2, 32, languages, dropout=0.0)
    if family == "encoder_decoder":
        warmstart(str(first), directory / "both")
        first = directory / "both"
    torch.manual_seed(1)
    model, tokeniser = load(str(first))
    if family == "t5_v1_1":
        derived = ("dense_act_fn", "is_gated_act", "scale_decoder_outputs")
        settings = {name: value for name, value in model.config.to_dict().items()
                    if name not in derived}  # fmt: skip
        settings |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        model = library().T5ForConditionalGeneration(library().T5Config(**settings))
    source, target = PAIRS.get(family, ("es", "ca"))
    said = tags(model.config, tokeniser, source, target)
    _teach(model, tokeniser, said, updates)
    model.save_pretrained(out)
    tokeniser.save_pretrained(out)
    facts = {**asdict(said), "max_source_tokens": 60, "pretrained": None}
    (out / "translation.json").write_text(json.dumps(facts))
    return out


def _teach(model: Any, tokeniser: Any, said: Any, updates: int) -> None:
    # Else all outputs would be the same few words.
    with torch.no_grad():
        for table in model.parameters():
            if table.ndim > 1:
                table += _NOISE * torch.randn_like(table)
    collate = library().DataCollatorForSeq2Seq(tokeniser, model)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    model.train()
    for update in range(updates):
        lines = LINES[update % 15 :: 15]
        model(**collate(encode(tokeniser, said, lines, lines))).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
