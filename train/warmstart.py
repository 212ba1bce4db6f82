"""A translation model from pretrained encoders: BERT, XLM-R, or XLNet as encoder alone.

Rothe et al. 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks": decoder
layers begin as an encoder's; attention to the source is new.
"""

from pathlib import Path
from typing import Any

import torch

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.manifest import note
from train.families import end_of
from train.hub import config_of, decoder_of, library, load, tokenizer_of

_DECODERS = ("bert", "roberta", "xlm-roberta")
_ENCODERS = (*_DECODERS, "xlnet")


def warmstart(encoder: str, out: Path, decoder: str = "same", seed: int = 1) -> None:
    """Put two pretrained models together, for train.huggingface --model.

    The encoder's tokeniser serves both sides. Where the decoder's is another, the decoder's
    embeddings are replaced: subwords that both know keep theirs, the others are random. Its output
    layer was made to name a hidden token in its own place, and is replaced by a new one above the
    embeddings, which it shares.

    Example: python -m train.warmstart --encoder exp/bert --out exp/first/model

    Args:
        encoder: directory or hub name of a BERT, XLM-R or XLNet.
        out: directory for the model.
        decoder: directory or hub name of a BERT or XLM-R; same is another copy of the encoder.
        seed: seed of what is new.

    """
    decoder = encoder if decoder == "same" else decoder
    transformers = library()
    transformers.set_seed(seed)
    below, tokenizer = load(encoder, "AutoModel")
    above_config = config_of(decoder)
    for config, known, role in (
        (below.config, _ENCODERS, "an encoder"),
        (above_config, _DECODERS, "a decoder"),
    ):
        if config.model_type not in known:
            raise RecipeError(
                f"a model of type {config.model_type} cannot be {role}; take {', '.join(known)}"
            )
    above_config.is_decoder = above_config.add_cross_attention = True
    above = decoder_of(decoder, above_config)
    shared = _share_vocabulary(above, decoder, tokenizer)
    _new_output(above)
    model = transformers.EncoderDecoderModel(encoder=below, decoder=above)
    start = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    model.config.vocab_size = above.config.vocab_size
    for settings in (model.config, model.generation_config, above.config):
        settings.decoder_start_token_id = start
        settings.eos_token_id = end_of(tokenizer)
        settings.pad_token_id = tokenizer.pad_token_id
        settings.bos_token_id = start
    model.generation_config.max_length = 512
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count:,} parameters; {shared:,} subwords of the decoder kept their embeddings")
    note(out, encoder=encoder, decoder=decoder, parameters=count, shared=shared, seed=seed)


def _share_vocabulary(model: Any, name: str, tokenizer: Any) -> int:
    """Give the decoder a row for each of the encoder's tokens; how many were its own already."""
    own = tokenizer_of(name)
    theirs, ours = own.get_vocab(), tokenizer.get_vocab()
    if theirs == ours:
        return len(ours)
    if model.config.model_type != "bert" and own.pad_token_id != tokenizer.pad_token_id:
        raise RecipeError(
            f"{name} counts places from the number of its own padding, which is another in the "
            "encoder's tokeniser; take a BERT for the decoder"
        )
    old = model.get_input_embeddings().weight.detach().clone()
    new = torch.randn(len(tokenizer), old.shape[1]) * model.config.initializer_range
    known = [token for token in ours if token in theirs]
    new[[ours[token] for token in known]] = old[[theirs[token] for token in known]]
    new[tokenizer.pad_token_id] = 0
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(new)
    return len(known)


def _new_output(model: Any) -> None:
    """Begin anew between the last layer and the product with the embeddings."""
    head = model.cls if hasattr(model, "cls") else model.lm_head
    for module in head.modules():
        if module is model.get_output_embeddings():
            torch.nn.init.zeros_(module.bias)
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=model.config.initializer_range)
            torch.nn.init.zeros_(module.bias)
        elif isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.ones_(module.weight)
            torch.nn.init.zeros_(module.bias)


if __name__ == "__main__":
    command(warmstart)
