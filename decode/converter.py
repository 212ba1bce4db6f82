"""A model of Hugging Face for CTranslate2, if it comes out the same there."""

from pathlib import Path
from typing import Any

import ctranslate2
import torch
from ctranslate2.converters import transformers as ctranslate2_transformers

from decode.huggingface import PretrainedCodec
from pipeline.errors import RecipeError
from train.hub import weights_of

# Log-probabilities of the same tokens by both, as a part of themselves: rounding makes less.
_NEAR = 1e-3
_SAMPLE, _SAMPLE_TOKENS = 4, 12


def start_token(model: Any) -> int:
    """The number that the decoder begins with."""
    for config in (model.generation_config, model.config):
        if getattr(config, "decoder_start_token_id", None) is not None:
            return int(config.decoder_start_token_id)
    raise RecipeError("the model's config.json has no decoder_start_token_id")


class _Marian(ctranslate2_transformers.MarianMTLoader):  # type: ignore[misc]
    """Begins with the embedding of <pad>, as transformers do: after a training it is not zero."""

    def _remove_pad_weights(self, spec: Any) -> None:
        pass

    def set_decoder(self, spec: Any, decoder: Any) -> None:
        ctranslate2_transformers.BartLoader.set_decoder(self, spec, decoder)

    def get_vocabulary(self, model: Any, tokenizer: Any) -> Any:
        return ctranslate2_transformers.BartLoader.get_vocabulary(self, model, tokenizer)


class _Vocabulary:
    """What the converter asks of a tokeniser, with a name for each row of the model's tables."""

    special_tokens_map: dict[str, list[str]] = {}  # noqa: RUF012

    def __init__(self, names: list[str], tokeniser: Any) -> None:
        self._names = names
        for token in ("bos_token", "eos_token", "unk_token", "pad_token"):
            number = getattr(tokeniser, f"{token}_id")
            setattr(self, token, names[tokeniser.pad_token_id if number is None else number])

    def get_vocab(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._names)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return self._names[number]


class _Converter(ctranslate2.converters.TransformersConverter):  # type: ignore[misc]
    def __init__(self, directory: Path, model: Any, codec: PretrainedCodec) -> None:
        super().__init__(str(directory))
        self._model = model
        rows = model.get_output_embeddings().weight.shape[0]
        self._names = codec.named(range(rows))
        self._tokeniser = _Vocabulary(self._names, codec.tokeniser)

    def load_model(self, *_: Any, **__: Any) -> Any:
        # What the converter asks of configurations, as it was before transformers 5.
        config = self._model.config
        if config.model_type in ("t5", "mt5"):  # now always true: it meant that outputs are scaled
            config.tie_word_embeddings = getattr(config, "scale_decoder_outputs", False)
        if config.model_type == "mbart":  # now left out, for no mBART has it otherwise
            config.normalize_before = config.normalize_embedding = True
        return self._model

    def load_tokenizer(self, *_: Any, **__: Any) -> Any:
        return self._tokeniser

    def _load(self) -> Any:
        ctranslate2_transformers.register_loader("MarianConfig")(_Marian)
        spec = super()._load()
        spec.config.decoder_start_token = self._names[start_token(self._model)]
        return spec


def convert(directory: Path, codec: PretrainedCodec, out: Path, quantization: str) -> str | None:
    """Write CTranslate2's model to `out`; or return why it cannot be, in a few words.

    That includes a conversion that does not give the log-probabilities of the original: each
    release of either library may break one.
    """
    model = weights_of(directory)
    try:
        _Converter(directory, model, codec).convert(str(out), force=True)
    except (ValueError, NotImplementedError, AttributeError, KeyError, TypeError) as error:
        return f"CTranslate2 does not convert it: {str(error).partition(' (')[0]}"
    difference = _difference(model, codec, out)
    if not difference < _NEAR:
        return f"CTranslate2's log-probabilities differ by up to {difference:.1%}"
    if quantization != "float32":
        converter = _Converter(directory, model, codec)
        converter.convert(str(out), quantization=quantization, force=True)
    return None


def _difference(model: Any, codec: PretrainedCodec, converted: Path) -> float:
    """The largest of a token's log-probability, over a few random sequences, as a part of it."""
    frame, numbers = codec.frame, codec.numbers
    eos = codec.tokeniser.eos_token_id
    special = {*codec.tokeniser.all_special_ids, eos}
    rows = min(len(codec.names), model.get_output_embeddings().weight.shape[0])
    usual = [number for number in range(rows) if number not in special]
    start = start_token(model)
    generator = torch.Generator().manual_seed(1)
    translator = ctranslate2.Translator(str(converted), intra_threads=1)
    worst = 0.0
    for _ in range(_SAMPLE):
        drawn = torch.randint(len(usual), (2, _SAMPLE_TOKENS), generator=generator).tolist()
        text, output = ([usual[place] for place in row] for row in drawn)
        output = [*(numbers[token] for token in frame.target), *output]
        source = frame.around([codec.names[number] for number in text])
        target = [codec.names[number] for number in output]
        theirs = translator.score_batch([source], [target])[0].log_probs
        begin = torch.tensor([[start, *output]])
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([[numbers[token] for token in source]]),
                decoder_input_ids=begin,
            ).logits[0]
        wanted = torch.tensor([*output, eos])
        ours = logits.log_softmax(-1)[torch.arange(len(wanted)), wanted]
        apart = (ours - torch.tensor(theirs)).abs() / ours.abs().clamp(min=1)
        worst = max(worst, float(apart.nan_to_num(torch.inf).max()))
    return worst
