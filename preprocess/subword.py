"""Learn subwords from the training text, and cut text into them and back.

SentencePiece: Kudo & Richardson 2018; unigram models: Kudo 2018.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import write_bitext
from pipeline.manifest import note, write_json
from preprocess.bitext import SETS, languages, read_set, write_languages
from preprocess.normalise import normalise

MODEL, SETTINGS, DICTIONARY = "subword.model", "subword.json", "dict.txt"

# More lines than this add nothing to a subword model but time and memory.
_SAMPLE_LINES = 2_000_000


class Codec:
    """Cuts lines into subwords and joins them again; the type of subword travels with it."""

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @staticmethod
    def load(directory: Path) -> "Codec":
        """The codec that `learn` or a model bundle left in `directory`."""
        try:
            settings = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
            model = (directory / MODEL).read_bytes()
        except (OSError, ValueError) as error:
            raise RecipeError(f"{directory} holds no subword model ({error})") from error
        if settings.get("type") != "sentencepiece":
            raise RecipeError(f"{directory / SETTINGS}: unknown type {settings.get('type')!r}")
        return Codec(model)

    def encode(self, lines: Sequence[str]) -> list[list[str]]:
        """Normalise each line and cut it into subwords."""
        pieces: list[list[str]] = self._processor.encode(
            [normalise(line) for line in lines], out_type=str
        )
        return pieces

    def decode(self, pieces: Sequence[str]) -> str:
        """The text that subwords stand for; the exact inverse of `encode` on normalised text."""
        return str(self._processor.decode(list(pieces)))

    def vocabulary(self) -> list[str]:
        """All subwords that text can become, in the model's order, without special entries."""
        processor = self._processor
        return [
            processor.id_to_piece(number)
            for number in range(processor.get_piece_size())
            if not (processor.is_control(number) or processor.is_unknown(number))
        ]


def learn(
    lines: Iterable[str], vocab_size: int, model_type: str = "unigram", coverage: float = 1.0
) -> tuple[bytes, int]:
    """Learn a SentencePiece model; returns its bytes and the size of its vocabulary.

    A size that the text is too small for is lowered to the largest possible one. No line is left
    out for its length, and none is read from a path, which SentencePiece would split at commas.
    """
    kept = list(lines)
    while True:
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(kept),
                model_writer=model,
                vocab_size=vocab_size,
                model_type=model_type,
                character_coverage=coverage,
                # Text is normalised by us, once and visibly; NFKC here would fold ½ and ².
                normalization_rule_name="identity",
                max_sentence_length=1 << 30,
                input_sentence_size=_SAMPLE_LINES,
                shuffle_input_sentence=len(kept) > _SAMPLE_LINES,
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


def subword(
    bitext: Path,
    out: Path,
    vocab_size: int = 4000,
    model_type: Literal["unigram", "bpe"] = "unigram",
    coverage: float = 1.0,
) -> None:
    """Learn one subword model for both languages from train, and cut all sets with it.

    Writes subword.model, fairseq's dict.txt, and train, dev and test as subwords.

    Example: python -m preprocess.subword --bitext exp/clean --out exp/subword --vocab-size 2000

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for the model and the cut text.
        vocab_size: number of subwords; lowered, and said so, where the text is too small for it.
        model_type: unigram or bpe.
        coverage: share of the characters to cover; below 1, the rarest become unknown.

    """
    src, tgt = languages(bitext)
    train = list(read_set(bitext, "train", src, tgt))
    model, size = learn((line for pair in train for line in pair), vocab_size, model_type, coverage)
    if size < vocab_size:
        print(f"The text gives only {size:,} subwords; asked for were {vocab_size:,}.")
    write_languages(out, src, tgt)
    (out / MODEL).write_bytes(model)
    write_json(out / SETTINGS, {"type": "sentencepiece", "normalisation": "NFC"})
    codec = Codec(model)
    known = set(codec.vocabulary())
    facts = {}
    counts = Counter[str]()
    for name in SETS:
        pairs = list(read_set(bitext, name, src, tgt))
        sides = [codec.encode([pair[side] for pair in pairs]) for side in (0, 1)]
        cut = zip(*([" ".join(pieces) for pieces in side] for side in sides), strict=True)
        write_bitext(out / f"{name}.{src}", out / f"{name}.{tgt}", cut)
        pieces = [piece for side in sides for line in side for piece in line]
        unknown = sum(piece not in known for piece in pieces)
        if name == "train":
            counts.update(pieces)
        facts[name] = {"subwords": len(pieces), "unknown": unknown}
        share = 100 * unknown / max(1, len(pieces))
        print(f"{name:<5} {len(pieces):>11,} subwords, unknown {unknown:,} ({share:.3f} %)")
    with open(out / DICTIONARY, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{piece} {counts[piece]}\n" for piece in codec.vocabulary())
    note(out, vocabulary=size, sets=facts)


if __name__ == "__main__":
    command(subword)
