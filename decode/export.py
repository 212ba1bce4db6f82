"""Turn a checkpoint of fairseq or Marian, or a model of Hugging Face, into a model bundle."""

import argparse
import logging
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any, Literal

import ctranslate2
import torch

from decode.bundle import DESCRIPTION, ENSEMBLE, MODEL, TRANSFORMERS, Description
from decode.card import CARD, card
from decode.direction import take_direction
from decode.ensemble import save
from decode.huggingface import TOKENISER, PretrainedCodec, save_files
from decode.shortlist import FILE as SHORTLIST
from decode.shortlist import write_shortlist
from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from pipeline.manifest import NAME, file_record, note, write_json
from preprocess.binarise import read_dictionary
from preprocess.bitext import PAIRS, languages
from preprocess.codec import Codec
from preprocess.subword import DICTIONARY
from preprocess.tokenise import truecase_file
from train.checkpoints import load
from train.hub import TRANSLATION, config_of, positions
from train.marian_files import VOCABULARY, of_dictionary, read_vocabulary


def export(
    checkpoint: Path,
    subwords: Path | None,
    out: Path,
    data: Path | None = None,
    quantization: Literal["float32", "int8", "float16"] = "float32",
    ensemble: list[str] = [],  # noqa: B006
    shortlist: bool = False,
    direction: str | None = None,
) -> None:
    """Make a bundle of a checkpoint and the vocabulary it was trained with.

    Refuses a checkpoint, dictionary and subword model that do not belong together: they would
    load and translate to nonsense.

    Example: python -m decode.export --checkpoint exp/train-1/checkpoint.pt --data exp/binary
    --subwords exp/subword --out exp/bundle

    Args:
        checkpoint: a checkpoint of fairseq-train (.pt), or of train.marian (.npz), or the
            directory model/ that train.huggingface made, which needs nothing more.
        subwords: the directory of the subword model, which preprocess.subword made.
        out: directory for the bundle.
        data: for fairseq, the directory it was trained on, which preprocess.binarise made.
        quantization: number format of the weights.
        ensemble: further checkpoints of fairseq-train, say of other seeds, trained on the same
            data. fairseq decodes with all at once, which takes far longer than one does.
        shortlist: have the model choose among the subwords that the training text suggests for
            those of the source (IBM model 1), which is faster and changes few outputs.
        direction: for a model of several pairs, the languages to translate between, as es-gl; also
            one that it was not trained on (default: the first pair).

    """
    if (checkpoint / TRANSLATION).exists():
        if subwords or data or ensemble or shortlist or direction:
            raise RecipeError(
                f"{checkpoint} has a tokeniser of its own; leave out subwords, data, ensemble, "
                "shortlist and direction"
            )
        _from_hugging_face(checkpoint, out, quantization)
        return
    if subwords is None:
        raise RecipeError(
            f"{checkpoint} needs --subwords, the directory it was trained with; only a model of "
            f"Hugging Face, a directory with {TRANSLATION}, has a tokeniser of its own"
        )
    src, tgt = languages(subwords)
    codec = Codec(subwords)
    checkpoints = [checkpoint, *map(Path, ensemble)]
    if ensemble and (checkpoint.suffix == ".npz" or quantization != "float32"):
        raise RecipeError("an ensemble is of fairseq's checkpoints, and decodes in float32")
    if ensemble and shortlist:
        raise RecipeError("an ensemble, which fairseq decodes, takes no shortlist")
    begin, plain = None, out / "direction.pt"
    if checkpoint.suffix == ".npz":
        if direction:
            raise RecipeError(f"{checkpoint} is Marian's, of one pair; leave out --direction")
        converter = _from_marian(checkpoint, subwords)
    elif data:
        for one in checkpoints:
            _check_fairseq(one, data, subwords)
        out.mkdir(parents=True, exist_ok=True)
        if ensemble and (data / f"train{PAIRS}").exists():
            raise RecipeError("an ensemble is of models of one pair of languages")
        begin = take_direction(checkpoint, direction, codec, plain, data)
        converter = _from_fairseq(plain if begin else checkpoint, data)
    else:
        raise RecipeError(f"{checkpoint} is fairseq's; it needs --data, what it was trained on")
    if data and ensemble:
        _clear(out)
        save(checkpoints, [data / f"dict.{side}.txt" for side in (src, tgt)], out / ENSEMBLE)
    else:
        partial = out / f"{MODEL}.partial"
        try:
            converter.convert(str(partial), quantization=quantization, force=True)
            _clear(out)
            partial.rename(out / MODEL)
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RecipeError(
                f"{checkpoint} cannot be converted by CTranslate2: {error}"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            plain.unlink(missing_ok=True)
    if shortlist:
        source, target = (subwords / f"train.{language}" for language in (src, tgt))
        write_shortlist(source, target, out / MODEL / SHORTLIST)
    codec.save(out)
    if (checkpoint.parent / NAME).exists():
        shutil.copyfile(checkpoint.parent / NAME, out / "training.json")
    lengths = [len(line.split(" ")) for line in read_lines(subwords / f"train.{src}")]
    digest = " ".join(file_record(one).sha256 for one in checkpoints)
    if direction:
        src, _, tgt = direction.partition("-")
    description = Description(src, tgt, max(lengths), quantization, digest, begin)
    write_json(out / DESCRIPTION, vars(description))
    text = card(src, tgt, quantization, len(lengths), checkpoint.parent, subwords)
    (out / CARD).write_text(text, encoding="utf-8")
    note(out, quantization=quantization, shortlist=shortlist)
    print(f"{src} to {tgt}, {quantization}, {_megabytes(out):.1f} MB")


def _clear(out: Path) -> None:
    """Take an earlier bundle away: of half of one and half of another, nothing good comes."""
    out.mkdir(parents=True, exist_ok=True)
    (out / DESCRIPTION).unlink(missing_ok=True)
    for old in (MODEL, ENSEMBLE, TRANSFORMERS, TOKENISER):
        shutil.rmtree(out / old, ignore_errors=True)
    for pattern in ("subword.*", "vocabulary.*", truecase_file("*"), "training.json"):
        for path in out.glob(pattern):
            path.unlink()


def _megabytes(directory: Path) -> float:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6


def _from_hugging_face(model: Path, out: Path, quantization: str) -> None:
    """Make the bundle, for CTranslate2 if it can have the model."""
    codec = PretrainedCodec(model)
    facts, frame = codec.translation, codec.frame
    # Now that transformers are there, and loaded as we want them (train.hub).
    from decode.converter import convert
    from decode.generate import save as save_weights

    partial = out / f"{MODEL}.partial"
    hindrance = convert(model, codec, partial, quantization)
    if hindrance:
        shutil.rmtree(partial, ignore_errors=True)
        if quantization != "float32":
            raise RecipeError(
                f"{hindrance}; transformers will decode it, in float32: leave out --quantization"
            )
        print(f"{hindrance}; transformers will decode it, which takes longer")
    _clear(out)
    if partial.exists():
        partial.rename(out / MODEL)
    else:
        save_weights(model, out / TRANSFORMERS)
    save_files(model, out / TOKENISER)
    training = model.parent
    if (training / NAME).exists():
        shutil.copyfile(training / NAME, out / "training.json")
    places = positions(config_of(str(model)))
    room = min(facts.max_source_tokens, places or sys.maxsize) - len(frame.around([]))
    if room < 1:
        raise RecipeError(
            f"{model / TRANSLATION}: max_source_tokens leaves no room for text beside what the "
            "model wants around it"
        )
    digest = " ".join(file_record(path).sha256 for path in sorted(model.glob("*.safetensors")))
    src, tgt = facts.source_language, facts.target_language
    longest = places - 1 if places else None
    description = Description(src, tgt, room, quantization, digest, max_output_subwords=longest)
    text = card(src, tgt, quantization, None, training, training, facts.family, facts.pretrained)
    (out / CARD).write_text(text, encoding="utf-8")
    write_json(out / DESCRIPTION, vars(description))
    note(out, quantization=quantization, decoder="transformers" if hindrance else "CTranslate2")
    print(f"{src} to {tgt}, {facts.family}, {quantization}, {_megabytes(out):.1f} MB")


def _check_fairseq(checkpoint: Path, data: Path, subwords: Path) -> None:
    src, tgt = languages(data)
    state = load(checkpoint)
    for language, side in ((src, "encoder"), (tgt, "decoder")):
        path = data / f"dict.{language}.txt"
        entries = list(read_dictionary(path))
        rows = state["model"][f"{side}.embed_tokens.weight"].shape[0]
        if rows != len(entries):
            raise RecipeError(
                f"{checkpoint} knows {rows:,} subwords but {path} has {len(entries):,} with "
                "fairseq's own; they are not of the same training"
            )
        known = checkpoint.parent / f"dict.{side}.txt"  # train.fairseq leaves it there
        if known.exists() and known.read_bytes() != path.read_bytes():
            raise RecipeError(f"{checkpoint} was trained with {known}, which is not {path}")
        if path.read_bytes() != (subwords / DICTIONARY).read_bytes():
            raise RecipeError(
                f"{path} and the subword model in {subwords} hold different subwords; use the "
                "directory that this data was cut with"
            )


def _from_fairseq(checkpoint: Path, data: Path) -> Any:
    src, tgt = languages(data)
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    torch.serialization.add_safe_globals([argparse.Namespace])
    return ctranslate2.converters.FairseqConverter(
        str(checkpoint), str(data), source_lang=src, target_lang=tgt
    )


def _from_marian(checkpoint: Path, subwords: Path) -> Any:
    path = checkpoint.with_name(VOCABULARY)
    if read_vocabulary(path) != of_dictionary(read_dictionary(subwords / DICTIONARY)):
        raise RecipeError(
            f"{path} and the subword model in {subwords} hold different subwords; use the "
            "directory that the model was trained on"
        )
    return ctranslate2.converters.MarianConverter(str(checkpoint), [str(path)] * 2)


if __name__ == "__main__":
    command(export)
