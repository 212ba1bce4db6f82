"""Learn subwords from the training text, and cut all sets with them."""

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import sentencepiece

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_blocks, read_lines, write_blocks, write_lines
from pipeline.manifest import note
from pipeline.parallel import parallel_map
from pipeline.progress import progress
from preprocess import bpe
from preprocess.bitext import PAIRS, SETS, languages, write_languages
from preprocess.codec import MODEL, SETTINGS, Codec, write_settings
from preprocess.escape import escape
from preprocess.mix import tag
from preprocess.normalise import read_steps
from preprocess.tokenise import Tokenisation

DICTIONARY = "dict.txt"

# More lines than this add nothing to a SentencePiece model but time and memory.
_SAMPLE_LINES = 2_000_000


def learn_sentencepiece(
    lines: Iterable[str],
    vocab_size: int,
    model_type: str = "unigram",
    coverage: float = 1.0,
    byte_fallback: bool = False,
    symbols: Sequence[str] = (),
) -> tuple[bytes, int]:
    """Learn a SentencePiece model (Kudo 2018); returns its bytes and its number of subwords.

    A size that the text is too small for is lowered to the largest possible one. No line is left
    out for its length, and none is read from a path, which SentencePiece would split at commas.
    """
    kept = [escape(line) for line in lines]
    while True:
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(kept),
                model_writer=model,
                vocab_size=vocab_size,
                model_type=model_type,
                character_coverage=coverage,
                byte_fallback=byte_fallback,
                user_defined_symbols=list(symbols),
                # Text is normalised by us, once and visibly; NFKC here would fold ½ and ².
                normalization_rule_name="identity",
                max_sentence_length=1 << 30,
                # fairseq has its own symbols for these.
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            if match := re.search(r"too high.*<= (\d+)", str(error), re.DOTALL):
                vocab_size = int(match[1])
                continue
            if match := re.search(r"smaller than required_chars. \d+ vs (\d+)", str(error)):
                raise RecipeError(
                    f"a vocabulary of {vocab_size} has no room for the {match[1]} characters of "
                    "the text; choose a larger --vocab-size or a --coverage below 1"
                ) from error
            raise RecipeError(f"SentencePiece cannot learn from this text: {error}") from error
        return model.getvalue(), vocab_size


def sentencepiece_vocabulary(model: bytes) -> list[str]:
    """All subwords that text can become, in the model's order, without special entries."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [
        processor.id_to_piece(number)
        for number in range(processor.get_piece_size())
        if not (processor.is_control(number) or processor.is_unknown(number))
    ]


def fairseq_dictionary(counts: Counter[str], symbols: Sequence[str] = ()) -> list[str]:
    """The lines of dict.txt as fairseq-preprocess builds it from these counts.

    Most frequent first, equals in the order of the alphabet, then made-up words until the size,
    with fairseq's four own symbols, is a multiple of eight.
    """
    counts.update(dict.fromkeys(symbols, 0))  # adds nothing to those that are there
    lines = [f"{unit} {count}" for unit, count in sorted(counts.items(), key=_by_count)]
    padding = -(len(lines) + 4) % 8
    return [*lines, *(f"madeupword{number:04} 0" for number in range(padding))]


def _by_count(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def subword(
    bitext: Path,
    out: Path,
    vocab_size: int = 4000,
    model_type: Literal["unigram", "bpe", "subword-nmt"] = "unigram",
    coverage: float = 1.0,
    byte_fallback: bool = False,
    vocabulary_threshold: int = 0,
    glossaries: list[str] | None = None,
    symbols: list[str] | None = None,
    sampled: bool = False,
    model: Path | None = None,
    workers: int | None = None,
) -> None:
    """Learn one subword model for both languages from train, and cut all sets with it.

    Writes subword.model, subword.json, fairseq's dict.txt, and train, dev and test as subwords.
    Where preprocess.mix made the bitext, each source begins with the tag of its target language.

    Example: python -m preprocess.subword --bitext exp/clean --out exp/subword --vocab-size 2000

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for the model and the cut text.
        vocab_size: number of subwords, or of merges for subword-nmt; lowered, and said so, where
            the text is too small for it.
        model_type: unigram or bpe (by SentencePiece), or subword-nmt's BPE.
        coverage: share of the characters to cover; below 1, the rarest become unknown.
        byte_fallback: spell unknown characters as bytes (SentencePiece only).
        vocabulary_threshold: cut subwords further that a language has less often than this in
            train (subword-nmt only).
        glossaries: regular expressions for words to leave whole (subword-nmt only).
        symbols: entries that no text becomes, such as language tags: <2es>.
        sampled: give the dictionary an entry for all that BPE-dropout can make, for the option
            `sampling` of train.fairseq (subword-nmt only; SentencePiece's always has them).
        model: directory of this command's, whose subword model and dictionary to use instead of
            learning new ones, as those of a parent model are for its child.
        workers: processes; one per core unless given. The result is the same.

    """
    src, tgt = languages(bitext)
    if plain := [symbol for symbol in symbols or () if escape(symbol) == symbol]:
        raise RecipeError(f"symbol {plain[0]!r} could be text; write tags as <2es>")
    train = [bitext / f"train.{language}" for language in (src, tgt)]
    mixed = (bitext / f"train{PAIRS}").exists()
    if mixed and vocabulary_threshold:
        raise RecipeError("vocabulary-threshold goes by language, and a mix has several on a side")
    if mixed:
        targets = {pair.partition("-")[2] for pair in read_lines(bitext / f"train{PAIRS}")}
        symbols = [*(symbols or []), *map(tag, sorted(targets))]
    tokenisation = Tokenisation.load(bitext)
    settings = {
        "type": "subword-nmt" if model_type == "subword-nmt" else "sentencepiece",
        "model": model_type,
        "normalise": read_steps(bitext),
        "tokenise": tokenisation.settings if tokenisation else None,
        "glossaries": glossaries or [],
        "symbols": symbols or [],
        "sampled": sampled,
    }
    write_languages(out, src, tgt)
    for old in [*out.glob("vocabulary.*"), *out.glob(f"*{PAIRS}")]:  # of an earlier run
        old.unlink()
    known = set[str]()
    if model:
        known = _reuse(model, out, settings)
        if missing := set(symbols or ()) - known:
            raise RecipeError(f"{model} knows no {missing.pop()}; learn one with --symbols")
        size = vocab_size = len(known)
    elif model_type == "subword-nmt":
        merges = bpe.learn(_word_counts(train, workers), vocab_size)
        bpe.write_codes(out / MODEL, merges)
        size, kind = len(merges), "merges"
    else:
        learned, size = learn_sentencepiece(
            _sample(train), vocab_size, model_type, coverage, byte_fallback, symbols or ()
        )
        (out / MODEL).write_bytes(learned)
        kind = "subwords"
    if tokenisation:
        tokenisation.copy_truecasers(out)
    if not model:
        write_settings(out, settings)
    if size < vocab_size:
        print(f"The text gives only {size:,} {kind}; asked for were {vocab_size:,}.")
    if vocabulary_threshold and not model and model_type == "subword-nmt":
        codec = Codec(out)
        for language, path in zip((src, tgt), train, strict=True):
            counts = _cut(codec, path, language, None, workers)
            units = sorted(unit for unit, n in counts.items() if n >= vocabulary_threshold)
            write_lines(out / f"vocabulary.{language}", units)

    codec = Codec(out)
    facts = {}
    for name in SETS:
        counts = Counter[str]()
        for language in (src, tgt):
            file = f"{name}.{language}"
            counts += _cut(codec, bitext / file, language, out / file, workers)
        if mixed:
            _begin_with_tags(bitext / f"{name}{PAIRS}", out / f"{name}.{src}")
            shutil.copyfile(bitext / f"{name}{PAIRS}", out / f"{name}{PAIRS}")
        if name == "train" and not model:
            if model_type == "subword-nmt":
                more = bpe.all_units(merges, counts) if sampled else []
                entries = fairseq_dictionary(counts, [*(symbols or ()), *more])
            else:
                entries = [
                    f"{piece} {counts[piece]}" for piece in sentencepiece_vocabulary(learned)
                ]
            write_lines(out / DICTIONARY, entries)
            known = {entry.rpartition(" ")[0] for entry in entries}
        total = counts.total()
        unknown = sum(count for unit, count in counts.items() if unit not in known)
        facts[name] = {"subwords": total, "unknown": unknown}
        share = 100 * unknown / max(1, total)
        print(f"{name:<5} {total:>13,} subwords, unknown {unknown:,} ({share:.3f} %)")
    note(out, vocabulary=size, dictionary=len(known), sets=facts)


def _begin_with_tags(pairs: Path, cut: Path) -> None:
    """Put before each line of `cut` the tag of the target language that `pairs` says it has."""
    lines = zip(read_lines(pairs), read_lines(cut), strict=True)
    tagged = [f"{tag(pair.partition('-')[2])} {line}".rstrip() for pair, line in lines]
    write_lines(cut, tagged)


def _reuse(model: Path, out: Path, settings: dict[str, Any]) -> set[str]:
    """Take over a subword model and its dictionary; returns the dictionary's entries.

    `settings` are those of the text at hand. Raises RecipeError where the model was learned from
    tokenised text and this is not, or the other way round.
    """
    Codec(model).save(out)
    known = json.loads((model / SETTINGS).read_text(encoding="utf-8"))
    if bool(known["tokenise"]) != bool(settings["tokenise"]):
        was, now = (("tokenised" if text["tokenise"] else "running") for text in (known, settings))
        raise RecipeError(
            f"{model} was learned from {was} text, and this is {now} text; prepare it as that was"
        )
    write_settings(out, {**known, "normalise": settings["normalise"],
                         "tokenise": settings["tokenise"]})  # fmt: skip
    shutil.copyfile(model / DICTIONARY, out / DICTIONARY)
    return {entry.rpartition(" ")[0] for entry in read_lines(out / DICTIONARY)}


def _sample(files: list[Path]) -> Iterator[str]:
    total = sum(len(block) for file in files for block in read_blocks(file))
    step = -(-total // _SAMPLE_LINES) or 1
    for file in files:
        yield from islice((line for block in read_blocks(file) for line in block), 0, None, step)


def _word_counts(files: list[Path], workers: int | None) -> Counter[str]:
    def count(lines: list[str]) -> Counter[str]:
        return Counter(word for line in lines for word in escape(line).split(" ") if word)

    counts = Counter[str]()
    blocks = (block for file in files for block in read_blocks(file))
    for part in progress(parallel_map(count, blocks, workers), "counting words", "blocks"):
        counts.update(part)
    return counts


def _cut(
    codec: Codec, file: Path, language: str, out: Path | None, workers: int | None
) -> Counter[str]:
    """Cut a file into `out`, if given; returns how often each subword stands in it."""
    counts = Counter[str]()

    # Tokenised text is normalised already.
    encode = codec.cut if codec.tokenisation else codec.encode

    def cut(lines: list[str]) -> tuple[str, Counter[str]]:
        pieces = encode(lines, language)
        text = "".join(" ".join(line) + "\n" for line in pieces)
        return text, Counter(piece for line in pieces for piece in line)

    def results() -> Iterator[str]:
        blocks = parallel_map(cut, read_blocks(file), workers)
        for text, part in progress(blocks, f"cutting {file.name}", "blocks"):
            counts.update(part)
            yield text

    if out:
        write_blocks(out, results())
    else:
        for _ in results():
            pass
    return counts


if __name__ == "__main__":
    command(subword)
