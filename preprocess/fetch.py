"""Fetch parallel text and split it into train, dev and test."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import write_bitext
from pipeline.manifest import note
from preprocess.bitext import SETS, hash_share, write_languages
from preprocess.features import squash
from preprocess.libreoffice import help_pages, paragraph_pairs
from preprocess.sources import Fetcher

LIBREOFFICE = "libreoffice-help"


def fetch(
    out: Path,
    src: str,
    tgt: str,
    train: str = LIBREOFFICE,
    dev: str | None = None,
    test: str | None = None,
    dev_share: float = 0.03,
    test_share: float = 0.04,
    more: dict[str, str] | None = None,
    lock: Path | None = None,
) -> None:
    """Fetch parallel text and write train, dev and test as one file a language.

    Sets that are not given are split off the training text: by page for LibreOffice's help, else
    by source sentence, with a hash, so that a page or a sentence is in the same set in every
    language and on every machine.

    Example: python -m preprocess.fetch --out data --src de --tgt en
    --train 'file:/corpora/train.{lang}.gz' --test 'https://example.org/t.zip#member=t.{lang}'

    Args:
        out: directory for train.SRC, train.TGT, dev.SRC …
        src: source language, as an ISO 639, BCP 47 or FLORES code.
        tgt: target language.
        train: libreoffice-help, or WHERE#member=PATH&sha256=HEX with WHERE file:, https:,
            npm: or pypi:. {lang} in it stands for either language's code, {a|b} for any two
            texts; without them the file is a TSV. gz, bz2, xz, zst, tar and zip are unpacked.
        dev: source of the development set, as for train.
        test: source of the test set, as for train.
        dev_share: part of the training text to split off for dev, if that is not given.
        test_share: part of the training text to split off for test, if that is not given.
        more: sources of further test sets by name, as --more.test2017 'file:/t17.{lang}'.
        lock: JSON file of url and sha256: new urls are added, known ones must not have changed.

    """
    if find(src) == find(tgt):
        raise RecipeError(f"source and target are both {find(src).name}; choose two languages")
    for code in (src, tgt):
        if find(code).name == find(code).flores:
            print(
                f"{code} is in no table of ours: it gets no rules of its own, as for abbreviations"
            )
    fetcher, changes = Fetcher(lock), Counter[str]()
    shares = {"test": 0 if test else test_share, "dev": 0 if dev else dev_share}
    sets: dict[str, list[tuple[str, str]]] = {name: [] for name in SETS}

    if train == LIBREOFFICE:
        pages, fetched = help_pages(src, tgt)
        _split(paragraph_pairs(*pages), shares, sets)
        # Pages embed paragraphs of others: each is kept once, in test rather than in train.
        seen: set[tuple[str, str]] = set()
        for name in reversed(SETS):
            unseen = [pair for pair in dict.fromkeys(sets[name]) if pair not in seen]
            seen.update(unseen)
            sets[name] = unseen
    else:
        fetched = []
        pairs = fetcher.pairs(train, src, tgt, changes)
        _split(((squash([pair[0]])[0], *pair) for pair in pairs), shares, sets)
    for name, source in {"dev": dev, "test": test, **(more or {})}.items():
        if source and name == "train":
            raise RecipeError("--more.train: a further test set needs a name of its own")
        if source:
            sets[name] = list(fetcher.pairs(source, src, tgt, changes))
    for name, kept in sets.items():
        if not kept:
            raise RecipeError(
                f"the {name} set would be empty; give --{name}, or more text to split it from"
            )

    write_languages(out, src, tgt)
    for name, kept in sets.items():
        write_bitext(out / f"{name}.{src}", out / f"{name}.{tgt}", kept)
        print(f"{name:<5} {len(kept):>9,} pairs")
    if changes:
        print("characters mended:", ", ".join(f"{n} {name}" for name, n in changes.items()))
    raw = [*fetched, *fetcher.fetched.values()]
    note(
        out,
        sources=[f.as_fact() for f in raw],
        pairs={name: len(kept) for name, kept in sets.items()},
        characters_mended=changes,
    )


def _split(
    grouped: Iterable[tuple[str, str, str]],
    shares: dict[str, float],
    sets: dict[str, list[tuple[str, str]]],
) -> None:
    """Send each (group, source, target) to the set that the hash of its group falls in."""
    for group, source, target in grouped:
        share = hash_share(group)
        if share < shares["test"]:
            sets["test"].append((source, target))
        elif share < shares["test"] + shares["dev"]:
            sets["dev"].append((source, target))
        else:
            sets["train"].append((source, target))


if __name__ == "__main__":
    command(fetch)
