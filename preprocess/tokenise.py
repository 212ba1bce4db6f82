"""Tokenise, lowercase or truecase text, for models and papers that expect it so; with inverses.

Subwords of SentencePiece need none of this. Text of a language for which the tokeniser has no
good inverse passes through untouched unless its steps are named.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_blocks, write_blocks
from pipeline.manifest import note, write_json
from pipeline.parallel import parallel_map
from pipeline.progress import progress
from preprocess.bitext import all_sets, languages, refuse_mixed, write_languages
from preprocess.normalise import Normaliser, read_steps, steps_by_language, write_steps

_Step = tuple[Callable[[str], str], Callable[[str], str]]  # there and back
STEPS = ("lowercase", "punctuation", "tokenise", "truecase")
TOKENISATION = "tokenise.json"
_SAMPLE = 1000


class Tokenisation:
    """The steps that text takes between normalising and cutting, by language, and their inverses.

    `settings` is what tokenise.json holds: `steps` by language, `hyphens`, `escape`. Models of
    the truecaser lie in `directory`.
    """

    def __init__(self, settings: dict[str, Any], directory: Path) -> None:
        """Take the settings of preprocess.tokenise, and its directory or a copy."""
        self.settings = settings
        self._directory = directory
        self._ready: dict[str, list[_Step]] = {}

    @staticmethod
    def load(directory: Path) -> "Tokenisation | None":
        """The tokenisation of the text in `directory`, or None if it was not tokenised."""
        try:
            text = (directory / TOKENISATION).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return Tokenisation(json.loads(text), directory)

    def apply(self, line: str, language: str) -> str:
        """A normalised line after all steps of its language."""
        for do, _ in self._steps(language):
            line = do(line)
        return line

    def undo(self, line: str, language: str) -> str:
        """Running text again, as near as the steps have an inverse (lowercasing has none)."""
        for _, undo in reversed(self._steps(language)):
            line = undo(line)
        return line

    def _steps(self, language: str) -> list[_Step]:
        if language not in self._ready:
            names = self.settings["steps"].get(language, [])
            self._ready[language] = [self._step(name, language) for name in names]
        return self._ready[language]

    def _step(self, name: str, language: str) -> _Step:
        # sacremoses takes a third of a second to import: only where it is needed.
        from preprocess.moses import Tokeniser, Truecaser, punctuation_normaliser

        if name == "lowercase":
            return str.lower, str
        if name == "punctuation":
            return punctuation_normaliser(language), str
        if name == "tokenise":
            tokeniser = Tokeniser(language, self.settings["hyphens"], self.settings["escape"])
            return tokeniser.tokenise, tokeniser.detokenise
        truecaser = Truecaser(self._directory / truecase_file(language))
        return truecaser.truecase, truecaser.detruecase

    def copy_truecasers(self, directory: Path) -> None:
        """Copy the truecasers into `directory`; the settings go into its subword.json."""
        for path in self._directory.glob(truecase_file("*")):
            shutil.copyfile(path, directory / path.name)


def truecase_file(language: str) -> str:
    """Name of the file with a language's truecaser, in the format of Moses."""
    return f"truecase.{language}"


def tokenise(
    bitext: Path,
    out: Path,
    steps: dict[str, list[str]] | None = None,
    hyphens: bool = False,
    escape: bool = False,
    workers: int | None = None,
) -> None:
    """Tokenise all sets, as sacremoses does, and keep how; decoding undoes it.

    Steps are taken in the order given: `lowercase`; `punctuation` (Moses' normalize-punctuation,
    which cannot be undone, and spoils letters such as ’); `tokenise`; `truecase`, which is
    learnt from train and comes last. The files of an earlier stage, and with them the
    references, stay as they are. Without steps, languages are tokenised for which the inverse
    was seen to lose next to nothing; preprocess/README.md has the table.

    Example: python -m preprocess.tokenise --bitext exp/clean --out exp/tokenise
    --steps '{de: [lowercase, punctuation, tokenise], en: [tokenise, truecase]}'

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for the same files, tokenised, and tokenise.json.
        steps: list of steps for each language code, or for `default`; [] leaves text untouched.
        hyphens: split foo-bar into foo @-@ bar.
        escape: write & as &amp; and so on, as Moses does.
        workers: processes; one per core unless given. The result is the same.

    """
    refuse_mixed(bitext)
    src, tgt = languages(bitext)
    chosen = steps_by_language(steps, (src, tgt), _usual_steps)
    for language, names in chosen.items():
        if unknown := [name for name in names if name not in STEPS]:
            raise RecipeError(f"unknown step {unknown[0]!r}; there are {', '.join(STEPS)}")
        if "truecase" in names[:-1]:
            raise RecipeError(f"steps of {language}: truecase has to be the last, not {names}")
    write_languages(out, src, tgt)
    normalise = read_steps(bitext)
    write_steps(out, normalise)
    shape = {language: Normaliser(normalise[language]) for language in (src, tgt)}
    settings = {"steps": chosen, "hyphens": hyphens, "escape": escape}
    tokenisation = Tokenisation(settings, out)

    facts = {}
    for language, names in chosen.items():
        if "truecase" in names:
            before = Tokenisation({**settings, "steps": {language: names[:-1]}}, out)
            _learn_case(bitext, language, shape[language], before, out, workers)

        def apply(
            lines: list[str], language: str = language, form: Callable[[str], str] = shape[language]
        ) -> str:
            return "".join(tokenisation.apply(form(line), language) + "\n" for line in lines)

        tokenisation.apply("", language)  # loads what all workers then share
        for name in all_sets(bitext):
            file = f"{name}.{language}"
            blocks = parallel_map(apply, read_blocks(bitext / file), workers)
            shown = progress(blocks, f"tokenising {file}", "blocks")
            write_blocks(out / file, shown)
        sample = [shape[language](line) for line in _sample(bitext / f"train.{language}")]
        same = sum(
            tokenisation.undo(tokenisation.apply(line, language), language) == line
            for line in sample
        )
        facts[language] = {"steps": names, "lines_tried": len(sample), "come_back": same}
        listed = ", ".join(names) or "untouched"
        print(f"{language}: {listed}; {same:,} of {len(sample):,} lines come back unchanged")
    write_json(out / TOKENISATION, settings)
    note(out, languages=facts, hyphens=hyphens, escape=escape)


def _usual_steps(language: str) -> list[str]:
    from preprocess.moses import ROUND_TRIPS

    return ["tokenise"] if find(language).iso3 in ROUND_TRIPS else []


def _sample(file: Path) -> Iterator[str]:
    """The first lines of a file."""
    for block in read_blocks(file):
        yield from block[:_SAMPLE]
        return


def _learn_case(
    bitext: Path,
    language: str,
    form: Callable[[str], str],
    before: Tokenisation,
    out: Path,
    workers: int | None,
) -> None:
    """Count the cases of all words inside sentences, as Moses' train-truecaser does."""
    from preprocess.moses import case_counts, write_truecaser

    def count(lines: list[str]) -> Counter[tuple[str, str]]:
        return case_counts(before.apply(form(line), language) for line in lines)

    counts = Counter[tuple[str, str]]()
    blocks = parallel_map(count, read_blocks(bitext / f"train.{language}"), workers)
    for part in progress(blocks, f"learning case of {language}", "blocks"):
        counts.update(part)
    write_truecaser(out / truecase_file(language), counts)


if __name__ == "__main__":
    command(tokenise)
