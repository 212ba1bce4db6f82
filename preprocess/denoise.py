"""Text with gaps and what was in them: T5's pretraining, as a bitext (Raffel et al. 2020)."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import note
from preprocess.bitext import hash_share, write_languages

# Stands in the place of a pair of languages.
PAIR = ("gaps", "spans")
# T5's tokeniser has as many names for gaps.
_GAPS = 100


def denoise(
    text: list[str],
    out: Path,
    rate: float = 0.15,
    span: float = 3.0,
    dev: int = 500,
    copies: int = 1,
    seed: int = 1,
) -> None:
    """Take words out of lines: the source has numbered gaps, the target what was in each.

    "we put it there" becomes "we <extra_id_0> there" and "<extra_id_0> put it <extra_id_1>".
    Words are counted by their spaces, where T5 counts subwords, so that any tokeniser will do.

    Writes train.gaps, train.spans, dev.gaps and dev.spans, for train.huggingface.

    Example: python -m preprocess.denoise --text+ exp/mono.es --text+ exp/mono.gl --out exp/gaps

    Args:
        text: files of text, one sentence a line; lines of fewer than three words are left out.
        out: directory for the bitext.
        rate: share of the words to take out.
        span: words in a gap, on average.
        dev: number of lines of it all for dev, which are chosen by a hash.
        copies: so many versions of each line of train, with gaps in other places.
        seed: seed of the places.

    """
    if not 0 < rate < 1 or span < 1:
        raise RecipeError(f"rate {rate} must be between 0 and 1, and span {span} at least 1")
    lines = dict.fromkeys(line for path in text for line in read_lines(Path(path)))
    usable = sorted((line for line in lines if len(line.split()) > 2), key=hash_share)
    if len(usable) <= dev:
        raise RecipeError(
            f"the text has {len(usable):,} lines of three words or more, and dev takes {dev}"
        )
    generator = random.Random(seed)  # noqa: S311 (no secret)
    out.mkdir(parents=True, exist_ok=True)
    for name, part in {"dev": usable[:dev], "train": usable[dev:] * copies}.items():
        made = [corrupt(line.split(), rate, span, generator) for line in part]
        for place, language in enumerate(PAIR):
            write_lines(out / f"{name}.{language}", _sides(made, place))
    write_languages(out, *PAIR)
    print(f"{(len(usable) - dev) * copies:,} lines with gaps for train, {dev:,} for dev")
    note(out, lines=len(usable), copies=copies, rate=rate, span=span, seed=seed)


def _sides(pairs: Sequence[tuple[str, str]], place: int) -> Iterator[str]:
    for pair in pairs:
        yield pair[place]


def corrupt(
    words: Sequence[str], rate: float, span: float, generator: random.Random
) -> tuple[str, str]:
    """Text with gaps, and what was in them, each gap under its own name."""
    removed = min(max(1, round(len(words) * rate)), len(words) - 1)
    kept = len(words) - removed
    gaps = min(max(1, round(removed / span)), removed, kept, _GAPS - 1)
    lengths = _split(removed, gaps, generator)
    # Gaps are never neighbours, and may be at the line's beginning and end.
    before = _split(kept + 2, gaps + 1, generator)
    before[0] -= 1
    before[-1] -= 1
    source: list[str] = []
    target: list[str] = []
    place = 0
    for number, (text, gap) in enumerate(zip(before, [*lengths, 0], strict=True)):
        source += words[place : place + text]
        place += text
        target.append(f"<extra_id_{number}>")
        if gap:
            source.append(f"<extra_id_{number}>")
            target += words[place : place + gap]
            place += gap
    return " ".join(source), " ".join(target)


def _split(total: int, parts: int, generator: random.Random) -> list[int]:
    """A number as a sum of `parts` that are at least 1, all such sums as likely."""
    cuts = sorted(generator.sample(range(1, total), parts - 1))
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]


if __name__ == "__main__":
    command(denoise)
