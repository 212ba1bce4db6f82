"""Reads models of Hugging Face, from a directory or the hub, without running anybody's code."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.manifest import input_digest


def library() -> Any:
    """Hugging Face's transformers; RecipeError where the extra is not installed."""
    # What fairseq brings: its build for CUDA does not load beside torch's for the CPU, and
    # transformers would import it for the sake of sound.
    sys.modules.setdefault("torchaudio", None)  # type: ignore[arg-type]
    # Otherwise a thread asks the hub to convert weights that are not safetensors.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "true")
    try:
        import transformers
    except ImportError as error:
        raise RecipeError(
            "transformers is not installed: pip install -c constraints.txt -e '.[huggingface]'"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def first_gpu() -> str:
    """The first GPU that we may use, for CUDA_VISIBLE_DEVICES.

    The trainer would spread a single process over all, each with a whole batch.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


# Parts of a BERT that its checkpoint may lack, or that a decoder has beside it.
_NEW = ("pooler.", "cls.", "lm_head.", "crossattention.")
# What training leaves beside a model, for decoding: its languages, prefix and tokens.
TRANSLATION = "translation.json"


def load(model: str, kind: str = "AutoModelForSeq2SeqLM") -> tuple[Any, Any]:
    """A model with 32-bit weights, and its tokeniser, by directory or by name on the hub.

    `kind` is the class of transformers that reads it. A directory needs no network. Weights are
    safetensors where there are any, else torch's, unpickled as numbers alone; code that came with
    a model is never run. Raises RecipeError.
    """
    tokenizer = _read("AutoTokenizer", model)
    net = _weights(kind, model)
    tokenizer.padding_side = "right"  # XLNet's is left, and targets would follow
    return net, tokenizer


def _weights(kind: str, model: str, **options: Any) -> Any:
    # Else they keep the 16 bits that some were published with.
    net, said = _read(kind, model, dtype="float32", output_loading_info=True, **options)
    parameters = {name for name, _ in net.named_parameters()}
    new = () if kind == "AutoModelForSeq2SeqLM" else _NEW
    missing = [name for name in sorted(parameters & {*said["missing_keys"]})
               if not any(part in name for part in new)]  # fmt: skip
    if missing:
        raise RecipeError(
            f"{model} lacks {len(missing):,} of the model's weights, such as {missing[0]}; copy it "
            "again, or take the model that its config.json is of"
        )
    return net


def decoder_of(model: str, config: Any) -> Any:
    """A pretrained encoder as a decoder, of this configuration. Raises RecipeError."""
    return _weights("AutoModelForCausalLM", model, config=config)


def _read(kind: str, model: str, **options: Any) -> Any:
    here = Path(model).is_dir()
    options |= {"local_files_only": here, "trust_remote_code": False}
    transformers = library()
    from safetensors import SafetensorError

    try:
        return getattr(transformers, kind).from_pretrained(model, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError,
            pickle.UnpicklingError) as error:  # fmt: skip
        first = str(error).strip().partition("\n")[0]
        if here:
            raise RecipeError(f"{model} cannot be read as {kind}: {first}") from error
        raise RecipeError(
            f"{model} is no directory, and no model of the hub that can be read: {first}"
        ) from error


def config_of(model: str) -> Any:
    """The configuration of a model. Raises RecipeError."""
    return _read("AutoConfig", model)


def positions(config: Any) -> int | None:
    """Tokens that a model has places for, on the side that has fewer; None without a limit."""
    found = []
    for part in (config, getattr(config, "encoder", None), getattr(config, "decoder", None)):
        places = getattr(part, "max_position_embeddings", None) or 0
        if part is not None and part.model_type in ("roberta", "xlm-roberta"):
            places -= part.pad_token_id + 1  # it counts from there
        if places > 0:
            found.append(places)
    return min(found, default=None)


def check_length(config: Any, length: int) -> None:
    """Raise RecipeError if a model has fewer places than a line may have tokens."""
    places = positions(config)
    if places and length > places:
        raise RecipeError(f"the model has {places} positions; --max-length {length} is too much")


def weights_of(directory: Path) -> Any:
    """A model that was trained here, in float32, from safetensors alone. Raises RecipeError."""
    return _weights("AutoModelForSeq2SeqLM", str(directory), use_safetensors=True).eval()


def tokenizer_of(model: str) -> Any:
    """The tokeniser of a model. Raises RecipeError."""
    return _read("AutoTokenizer", model)


def identity(model: str) -> str:
    """Name and digest of a model's files, or the commit that the hub's copy is at."""
    config_of(model)
    if Path(model).is_dir():
        return f"{model} sha256:{input_digest(Path(model))}"
    # A configuration no longer knows its commit; its place in the hub's cache does.
    hub = library().utils.hub
    path = hub.cached_file(model, "config.json", local_files_only=True)
    return f"{model} commit:{hub.extract_commit_hash(path, None)}"
