"""Put the bitexts of several language pairs together, for one model of all of them."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines, write_bitext, write_lines
from pipeline.manifest import note
from preprocess.bitext import PAIRS, SETS, languages, read_set, refuse_mixed, write_languages
from preprocess.normalise import read_steps, write_steps
from preprocess.tokenise import TOKENISATION


def tag(target: str) -> str:
    """What a source begins with to say which language it is to become (Johnson et al. 2017)."""
    return f"<2{target}>"


def times(pairs: list[int], temperature: float) -> list[float]:
    """How often each of several training sets is read for one reading of the largest.

    Shares are in proportion to size ** (1 / temperature) (Arivazhagan et al. 2019): with 1, all
    are read as they are; the higher, the more often the small ones.
    """
    largest = max(pairs)
    return [(largest / count) ** (1 - 1 / temperature) for count in pairs]


def mix(
    bitexts: list[str],
    out: Path,
    both: bool = False,
    temperature: float = 5.0,
    seed: int = 1,
) -> None:
    """Mix the training pairs of several bitexts, each with the tag of its target language.

    Writes a bitext of the first one's languages: its dev and test, and the train of all. Beside
    each set, train.pairs, dev.pairs and test.pairs say of each line which pair it is of, as
    es-gl; preprocess.subword then begins its source with <2gl>.

    Example: python -m preprocess.mix --bitexts+ exp/es-gl --bitexts+ exp/es-ca --both true
    --out exp/mixed

    Args:
        bitexts: directories that preprocess.clean made; the first is what dev and test are of.
        out: directory for the mixed text.
        both: put the opposite direction of each in, too.
        temperature: 1 takes all as they are, 5 takes small ones more often, so that their shares
            go by size ** (1 / 5).
        seed: seed of which pairs are taken once more than others.

    """
    if temperature < 1:
        raise RecipeError(f"a temperature is at least 1, not {temperature}")
    directories = [Path(name) for name in bitexts]
    directions = [(directory, *languages(directory)) for directory in directories]
    steps: dict[str, list[str]] = {}
    for directory, *pair in directions:
        refuse_mixed(directory)
        if (directory / TOKENISATION).exists():
            raise RecipeError(
                f"{directory} is tokenised, each language by its own rules; mix running text"
            )
        if odd := [code for code in pair if "-" in code]:
            raise RecipeError(f"{odd[0]}: in a mix, write the code of a language without a hyphen")
        for language, chosen in read_steps(directory).items():
            if steps.setdefault(language, chosen) != chosen:
                raise RecipeError(f"{directory} and another bitext normalise {language} otherwise")
    known: dict[str, str] = {}
    for code in steps:
        if (other := known.setdefault(find(code).iso3, code)) != code:
            raise RecipeError(f"{other} and {code} are one language; call it alike in all bitexts")
    used = list(steps.values())
    if any(chosen != used[0] for chosen in used):
        raise RecipeError(f"a mix is normalised alike in all languages, and these differ: {steps}")
    if both:
        directions += [(directory, tgt, src) for directory, src, tgt in directions]
    names = [f"{src}-{tgt}" for _, src, tgt in directions]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise RecipeError(f"{twice[0]} is given twice; put its two bitexts together first")
    sizes = [sum(1 for _ in read_lines(where / f"train.{src}")) for where, src, _ in directions]
    if 0 in sizes:
        raise RecipeError(f"{directions[sizes.index(0)][0]} has no training pairs")
    often = times(sizes, temperature)
    _, first, second = directions[0]
    write_languages(out, first, second)
    write_steps(out, dict.fromkeys(steps, used[0]))
    tested: dict[str, set[str]] = {first: set(), second: set()}
    for name in SETS[1:]:
        count = 0
        for language in (first, second):
            shutil.copyfile(directories[0] / f"{name}.{language}", out / f"{name}.{language}")
            lines = [line for line in read_lines(out / f"{name}.{language}") if line.strip()]
            tested[language].update(lines)
            count = sum(1 for _ in read_lines(out / f"{name}.{language}"))
        write_lines(out / f"{name}{PAIRS}", [names[0]] * count)

    generator = np.random.default_rng(seed)
    taken: Counter[str] = Counter()

    def pairs() -> Iterator[tuple[str, str]]:
        for name, (where, src, tgt), size, factor in zip(
            names, directions, sizes, often, strict=True
        ):
            for turn in range(int(np.ceil(factor))):
                share = min(1.0, factor - turn)
                chosen = generator.random(size) < share
                for keep, pair in zip(chosen, _read(where, src, tgt), strict=True):
                    for language, line in zip((src, tgt), pair, strict=True):
                        if line in tested.get(language, ()):
                            raise RecipeError(
                                f"{where}: its train holds a line of dev or test of "
                                f"{directories[0]}, {line[:40]!r}; run preprocess.clean on it with "
                                f"--hold-out+ {directories[0]}"
                            )
                    if keep:
                        taken[name] += 1
                        yield pair

    write_bitext(out / f"train.{first}", out / f"train.{second}", pairs())
    write_lines(out / f"train{PAIRS}", (name for name in names for _ in range(taken[name])))
    for name, size in zip(names, sizes, strict=True):
        print(f"{name:<8} {size:>11,} pairs, taken {taken[name]:,}")
    note(out, pairs=dict(taken), temperature=temperature)


def _read(where: Path, src: str, tgt: str) -> Iterator[tuple[str, str]]:
    """The training pairs in this direction, whichever the directory's own is."""
    one, other = languages(where)
    for source, target in read_set(where, "train", one, other):
        yield (source, target) if src == one else (target, source)


if __name__ == "__main__":
    command(mix)
