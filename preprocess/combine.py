"""Put real and synthetic bitext together as subwords, for training in either direction."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_blocks, read_lines, write_blocks
from pipeline.manifest import note
from pipeline.parallel import parallel_map
from pipeline.progress import progress
from preprocess.bitext import SETS, languages, refuse_mixed, write_languages
from preprocess.codec import Codec
from preprocess.escape import BLANK, TAG
from preprocess.subword import DICTIONARY

# Of Edunov et al. 2018, after Lample et al. 2018.
_DELETED, _BLANKED, _SWAPPED_WITHIN = 0.1, 0.1, 3


def noised(words: list[str], generator: np.random.Generator) -> list[str | None]:
    """Words with some left out, some blanked (None), and all at most three places from theirs.

    One word at least is left of any.
    """
    draws = generator.random(len(words))
    left = [word for word, draw in zip(words, draws, strict=True) if draw >= _DELETED]
    left = left or words[:1]
    blank = generator.random(len(left)) < _BLANKED
    places = np.arange(len(left)) + generator.uniform(0, _SWAPPED_WITHIN + 1, len(left))
    return [None if blank[place] else left[place] for place in np.argsort(places).tolist()]


def combine(
    subwords: Path,
    out: Path,
    synthetic: list[str] | None = None,
    upsample: int = 1,
    tag: bool = False,
    noise: bool = False,
    reverse: bool = False,
    seed: int = 1,
    workers: int | None = None,
) -> None:
    """Add synthetic bitext to the real one that was cut into subwords, and cut it the same way.

    Writes what preprocess.subword does: the subword model, dict.txt, train, dev and test.

    Example: python -m preprocess.combine --subwords exp/subword --synthetic+ exp/synthetic
    --upsample 2 --tag true --out exp/combined

    Args:
        subwords: directory that preprocess.subword made of the real bitext.
        out: directory for the combined text.
        synthetic: directories that decode.synthetic made, for the same two languages.
        upsample: how often the real bitext is put in.
        tag: begin each synthetic source with <BT> (Caswell et al. 2019).
        noise: in the synthetic sources delete words (one in ten), replace them by <BLANK> (one in
            ten) and swap them within three places (Edunov et al. 2018). Words are what stands
            between spaces.
        reverse: make it for a model of the opposite direction.
        seed: of the noise.
        workers: processes; one per core unless given. The result is the same.

    """
    refuse_mixed(subwords)
    pair = languages(subwords)
    src, tgt = reversed(pair) if reverse else pair
    codec = Codec(subwords)
    if upsample < 1:
        raise RecipeError("upsample is at least 1")
    if (tag or noise) and not synthetic:
        raise RecipeError("tag and noise are for synthetic text, and there is no --synthetic+")
    entries = {line.rpartition(" ")[0] for line in read_lines(subwords / DICTIONARY)}
    for wanted, symbol in ((tag, TAG), (noise, BLANK)):
        if wanted and symbol not in entries:
            raise RecipeError(
                f"{subwords / DICTIONARY} has no {symbol}; learn the subwords with "
                f"--symbols '[{TAG}, {BLANK}]'"
            )
    for directory in synthetic or []:
        if languages(Path(directory)) != pair:
            raise RecipeError(f"{directory} is not of {pair[0]} and {pair[1]}, as {subwords} is")

    if noise and not find(src).has_spaces:
        raise RecipeError(f"noise is for words between spaces, which {find(src).name} has none of")
    names = [Path(directory).name for directory in synthetic or []]
    if len({*names, "real"}) <= len(names):
        raise RecipeError(f"{names}: the synthetic directories need names of their own")
    write_languages(out, src, tgt)
    codec.save(out)
    shutil.copyfile(subwords / DICTIONARY, out / DICTIONARY)
    for name in SETS[1:]:
        for language in pair:
            shutil.copyfile(subwords / f"{name}.{language}", out / f"{name}.{language}")

    @lru_cache(1 << 18)
    def cut_word(word: str | None) -> str:
        return BLANK if word is None else " ".join(codec.cut([word], src)[0])

    def cut(block: tuple[int, list[str]], language: str) -> tuple[int, str]:
        number, lines = block
        prepared = codec.prepare(lines, language)
        if language == src and noise:
            generator = np.random.default_rng([seed, number])
            words = (noised(line.split(), generator) for line in prepared)
            pieces = [" ".join(map(cut_word, line)) for line in words]
        else:
            pieces = [" ".join(units) for units in codec.cut(prepared, language)]
        begin = f"{TAG} " if language == src and tag else ""
        return len(lines), "".join(f"{begin}{line}\n" for line in pieces)

    def texts(language: str, counts: Counter[str]) -> Iterator[str]:
        file = f"train.{language}"
        for _ in range(upsample):
            for lines in read_blocks(subwords / file):
                counts["real"] += len(lines)
                yield "".join(f"{line}\n" for line in lines)
        for directory in synthetic or []:
            blocks = enumerate(read_blocks(Path(directory) / file))
            parts = parallel_map(lambda block: cut(block, language), blocks, workers)
            for count, text in progress(parts, f"cutting {file}", "blocks"):
                counts[Path(directory).name] += count
                yield text

    counts = {language: Counter[str]() for language in pair}
    for language in pair:
        write_blocks(out / f"new.{language}", texts(language, counts[language]))
    if counts[src] != counts[tgt]:
        raise RecipeError(f"the sides differ in length: {src} {counts[src]}, {tgt} {counts[tgt]}")
    for language in pair:
        os.replace(out / f"new.{language}", out / f"train.{language}")
    for name, count in counts[src].items():
        print(f"{count:>11,} pairs  {name}")
    note(out, pairs=counts[src], upsample=upsample, tag=tag, noise=noise)


if __name__ == "__main__":
    command(combine)
