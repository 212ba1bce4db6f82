"""Moses' tokeniser and its inverse as sacremoses has them, on each distinct word once.

What the tokeniser does to a word follows from the word, from whether it ends the line, and from
the first character of the next one (a full stop before a small letter ends no sentence). So
sacremoses is asked about each word once, among made-up neighbours. Its output is kept but for
what damages text: no word is split before a combining mark or a joiner (`ọ̀`, Khmer), and, unless
escaping is on, an entity that stands in the text, such as `&apos;`, stays in one piece.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from sacremoses import (
    MosesDetokenizer,
    MosesDetruecaser,
    MosesPunctNormalizer,
    MosesTokenizer,
    MosesTruecaser,
)

from pipeline.languages import find

# Up to U+1FFFF, and the variation selectors; nothing else has marks.
_CODES = (*range(0x20000), *range(0xE0100, 0xE01F0))
_MARKS = "".join(char for char in map(chr, _CODES) if unicodedata.category(char)[0] == "M")
_JOINERS = "\u200c\u200d"
_ENTITY = r"&(?:[A-Za-z]+|#\d+);"
# Rules with these in them look beyond the word.
_LOOKS_AROUND = re.compile("[.',]")
# Two apostrophes that meet are one match for sacremoses, and at the start of a line none: then
# the whole line is asked for.
_NEEDS_LINE = re.compile("' '|^[,']")
_CACHE_WORDS = 1_000_000
# Neighbours that stay as they are, by what they are to the rules.
_BEFORE, _AFTER = "A ", {"lower": " a", "digit": " 1", "other": " A", "end": ""}

# Languages of which at most one line in twenty comes back changed, as preprocess/README.md shows.
_ROUND_TRIPS = """
azj bel bem bos ceb ces dan deu ell eng epo est eus ewe fao fin glg grn guj hat heb hrv hsb
hun ind isl ita jpn kan kat kmr kor lit lvs mal mkd mri nld nno nob nso pan pol por quy ron rus
sin slk slv sna som sot spa srp sun swe swh tam tat tel tgk tha tsn twi vie wol zul
"""
ROUND_TRIPS = frozenset(_ROUND_TRIPS.split())


class Tokeniser:
    """Splits punctuation off the words of one language, and joins it again."""

    def __init__(self, language: str, hyphens: bool = False, escape: bool = False) -> None:
        """Make a tokeniser for a language, by any code that `pipeline.languages` knows.

        `hyphens` also splits `foo-bar` into `foo @-@ bar`; `escape` writes `&` as `&amp;` and so
        on, as Moses' own decoder needs it.
        """
        code = find(language).moses
        self._moses = MosesTokenizer(code)
        word_characters = self._moses.IsAlnum + _MARKS + _JOINERS
        self._moses.PAD_NOT_ISALNUM = (re.compile(rf"([^{word_characters}\s\.'`,\-])"), r" \1 ")
        self._detokeniser = MosesDetokenizer(code)
        self._hyphens, self._escape = hyphens, escape
        self._lower = frozenset(self._moses.IsLower)
        self._plain = re.compile(f"[{word_characters}]+")
        self._known: dict[str, str | None] = {}
        self._among: dict[tuple[str, str], str] = {}

    def tokenise(self, line: str) -> str:
        """The tokens of a line, with single spaces between them."""
        if _NEEDS_LINE.search(line):
            return self._ask(line)
        if len(self._known) > _CACHE_WORDS:
            self._known.clear()
            self._among.clear()
        words = line.split()
        tokens = []
        for place, word in enumerate(words):
            if word not in self._known:
                self._known[word] = self._alone(word)
            result = self._known[word]
            if result is None:  # it depends on what follows
                after = self._kind(words[place + 1]) if place + 1 < len(words) else "end"
                result = self._among.get((word, after))
                if result is None:
                    around = self._ask(_BEFORE + word + _AFTER[after])
                    result = around[len(_BEFORE) : len(around) - len(_AFTER[after])]
                    self._among[word, after] = result
            tokens.append(result)
        return " ".join(tokens)

    def _alone(self, word: str) -> str | None:
        if self._plain.fullmatch(word):
            return word
        return None if _LOOKS_AROUND.search(word) else self._ask(word)

    def _kind(self, word: str) -> str:
        if word[0] in self._lower:
            return "lower"
        return "digit" if word[0] in "0123456789" else "other"

    def _ask(self, text: str) -> str:
        # sacremoses protects no more than so many in one line.
        protect = not self._escape and 0 < text.count("&") <= self._moses.MAX_PROTECTED_TOKENS
        tokens = self._moses.tokenize(
            text,
            aggressive_dash_splits=self._hyphens,
            escape=self._escape,
            protected_patterns=[_ENTITY] if protect else None,
        )
        return " ".join(tokens)

    def detokenise(self, line: str) -> str:
        """Tokens as running text."""
        try:
            return str(self._detokeniser.detokenize(line.split(), unescape=self._escape))
        except TypeError:  # Czech "-li" after an apostrophe stops sacremoses 0.2.0
            return str(MosesDetokenizer().detokenize(line.split(), unescape=self._escape))


def punctuation_normaliser(language: str) -> Callable[[str], str]:
    """Moses' normalize-punctuation for a language, by sacremoses and as the Perl script.

    It cannot be undone: quotes of all kinds become `"`, and `’` becomes `'` or `"` even where it
    is a letter.
    """
    moses = MosesPunctNormalizer(find(language).moses, perl_parity=True)

    def normalise(line: str) -> str:
        # The script sees the newline, and so moves the full stop of `."` out at a line's end too.
        return str(moses.normalize(line + "\n"))

    return normalise


class _Model(MosesTruecaser):  # type: ignore[misc]
    MAX_MODEL_ENTRIES = 10**9  # the model is ours, and a large text has more than two million words


class Truecaser:
    """Gives the first word of a sentence the case that it has elsewhere."""

    def __init__(self, model: Path) -> None:
        """Read a model that `write_truecaser`, or Moses' train-truecaser, wrote."""
        self._truecaser = _Model(model)
        self._detruecaser = MosesDetruecaser()

    def truecase(self, line: str) -> str:
        """A tokenised line in true case."""
        return str(self._truecaser.truecase(line, return_str=True))

    def detruecase(self, line: str) -> str:
        """A tokenised line whose sentences begin with a capital."""
        return str(self._detruecaser.detruecase(line, return_str=True))


def case_counts(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """How often each (lowercased word, word) stands inside the sentences of tokenised lines."""
    learner = MosesTruecaser()
    counts = Counter[tuple[str, str]]()
    for line in lines:
        for lowered, word, weight in learner.learn_truecase_weights(line.split(" ")):
            counts[lowered, word] += weight
    return counts


def write_truecaser(path: Path, counts: Counter[tuple[str, str]]) -> None:
    """Write a truecaser's model in the format of Moses."""
    casing: dict[str, Counter[str]] = {}
    for (lowered, word), count in counts.items():
        casing.setdefault(lowered, Counter())[word] = count
    learner = MosesTruecaser()
    learner.model = {"casing": casing}
    learner.save_model(str(path))
