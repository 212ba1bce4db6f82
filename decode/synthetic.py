"""Make a synthetic bitext of back-translated shards: filtered, ranked, and looked at."""

from collections.abc import Iterable, Iterator
from itertools import compress, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

from decode.backtranslate import FILE, Synthetic, read_synthetic
from decode.bundle import Bundle, Description
from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import read_bitext, read_lines, whole_file, write_bitext, write_lines
from pipeline.manifest import note
from pipeline.parallel import in_blocks, parallel_map
from pipeline.progress import progress
from preprocess.bitext import languages, write_languages
from preprocess.clean import decide, decide_in_corpus, held_out_lines, usual_ratio
from preprocess.features import Side
from preprocess.filters import Pairs, and_language, read_filters
from preprocess.monolingual import ALWAYS
from preprocess.normalise import Normaliser, read_steps

DEFAULT_FILTERS: list[dict[str, dict[str, Any] | None]] = [
    {"copy": {"max": 0}},
    {"repetition": {"max": 3}},
    {"length_ratio": {"max": 2.5}},
]
NUMBERS, SAMPLE = "train.numbers", "sample.txt"
_BLOCK_LINES, _SAMPLE_PAIRS = 2000, 20
# Words of a text that its quality is judged by, from its beginning.
_WORDS = 2_000_000


def synthetic(
    shards: list[str],
    language: str,
    bitext: Path,
    out: Path,
    filters: list[dict[str, dict[str, Any] | None]] | None = None,
    keep: float = 1.0,
    rank: Literal["score", "round-trip"] = "score",
    forward: Path | None = None,
    workers: int | None = None,
) -> None:
    """Filter back-translated shards and join them to a synthetic bitext.

    Writes train.SRC, train.TGT, train.numbers with the number of each pair's monolingual line,
    dropped.tsv with number, reason, monolingual line and translation, and sample.txt.

    Example: python -m decode.synthetic --shards+ exp/shard-1 --shards+ exp/shard-2
    --language ca --bitext exp/clean --out exp/synthetic

    Args:
        shards: directories that decode.backtranslate made.
        language: code of the monolingual text's language; the other side was translated.
        bitext: directory of the real bitext, whose dev and test sets are held out, and with
            which the synthetic one is compared.
        out: directory for the synthetic bitext.
        filters: as for preprocess.clean; outputs that were cut or are empty, and what stands in
            dev or a test set, are always dropped. The default drops copies, loops (of words
            between spaces), odd lengths, and translations in another language, if py3langid knows
            the right one (the monolingual text was checked by preprocess.monolingual).
        keep: share of the pairs to keep, of those that the filters leave, by rank.
        rank: score, the model's log-probability per subword, which lines translated in parts
            have none of, and go first; or round-trip, the chrF of the
            monolingual line against its translation translated back, which needs `forward`.
        forward: a bundle that translates the synthetic side back.
        workers: processes; one per core unless given. The result is the same.

    """
    src, tgt = languages(bitext)
    if language not in (src, tgt):
        raise RecipeError(f"{bitext} holds {src} and {tgt}, not {language}")
    if not 0 < keep <= 1:
        raise RecipeError(f"keep is a share, above 0 and at most 1, not {keep}")
    if (rank == "round-trip") != (forward is not None) or (forward and keep == 1):
        raise RecipeError("--rank round-trip, --forward and --keep below 1 go together")
    if filters is None:
        translated = ("source", src) if language == tgt else ("target", tgt)
        filters = and_language(DEFAULT_FILTERS, translated[1], translated[0])
    chosen = read_filters([*ALWAYS, *filters])
    if any(one.name == "external" for one in chosen):
        raise RecipeError("the filter external is for preprocess.clean")
    if forward:
        _check_direction(forward, src if language == tgt else tgt, language)
    steps = read_steps(bitext)
    held = tuple(held_out_lines(bitext, code, Normaliser(steps[code])) for code in (src, tgt))
    usual = usual_ratio(bitext / f"train.{src}", bitext / f"train.{tgt}")
    form = Normaliser(steps[src if language == tgt else tgt])

    def rows() -> Iterator[Synthetic]:
        for shard in shards:
            yield from read_synthetic(Path(shard) / FILE)

    def pair(row: Synthetic) -> tuple[str, str]:
        sides = form(row.translation), row.line
        return sides if language == tgt else (sides[1], sides[0])

    def judge(
        block: list[Synthetic],
    ) -> tuple[NDArray[np.int16], list[NDArray[np.int64]], NDArray[np.float64]]:
        sides = [Side(side) for side in zip(*map(pair, block), strict=True)]
        pairs = Pairs(sides[0], sides[1], src, tgt, (held[0], held[1]), usual_ratio=usual)
        reason = decide(pairs, chosen)[0]
        cut = np.array([row.cut for row in block]) & (reason < 0)
        reason[cut] = 0  # for now: as if by the first filter, so that no later one counts it
        keys = [np.asarray(one.score(pairs)) for one in chosen if one.of_the_corpus]
        scores = [-np.inf if row.score is None else row.score for row in block]
        return reason, keys, np.column_stack([[row.number for row in block], scores, cut])

    parts = parallel_map(judge, in_blocks(rows(), _BLOCK_LINES), workers)
    judged = list(progress(parts, "judging", "blocks"))
    if not judged:
        raise RecipeError(f"{', '.join(shards)}: there are no lines in them")
    reason = np.concatenate([part[0] for part in judged])
    numbers, ranks, cut = np.concatenate([part[2] for part in judged]).T
    if len(np.unique(numbers)) < len(numbers):
        raise RecipeError(
            "two shards have lines of the same number: of one text, give each shard once; of "
            "several, make a synthetic bitext each, and give all to preprocess.combine"
        )
    places = [place for place, one in enumerate(chosen) if one.of_the_corpus]
    by_place = [np.concatenate(keys) for keys in zip(*(part[1] for part in judged), strict=True)]
    keys = dict(zip(places, by_place, strict=True))
    decide_in_corpus(reason, np.zeros(len(reason)), keys, chosen)
    names = [*(one.name for one in chosen), "no score", f"lower {rank}", "cut"]
    reason[cut > 0] = len(names) - 1
    if keep < 1:
        left = np.flatnonzero(reason < 0)
        if forward:
            ranks[left] = _round_trip(compress(rows(), (reason < 0).tolist()), forward, workers)
        elif np.isinf(ranks[left]).all():
            raise RecipeError(f"{', '.join(shards)}: no line has a score to be ranked by")
        worst = left[np.argsort(-ranks[left], kind="stable")][max(1, round(keep * len(left))) :]
        reason[worst] = np.where(np.isinf(ranks[worst]), len(names) - 3, len(names) - 2)
    kept = (reason < 0).tolist()
    if not any(kept):
        raise RecipeError(f"all {len(kept):,} pairs would be dropped; look at the filters")

    write_languages(out, src, tgt)
    files = out / f"train.{src}", out / f"train.{tgt}"
    write_bitext(*files, map(pair, compress(rows(), kept)))
    write_lines(out / NUMBERS, (str(row.number) for row in compress(rows(), kept)))
    with whole_file(out / "dropped.tsv") as file:
        for row, place in zip(rows(), reason.tolist(), strict=True):
            if place >= 0:
                file.write(f"{row.number}\t{names[place]}\t{row.line}\t{row.translation}\n")
    sample = islice(compress(rows(), kept), 0, None, -(-sum(kept) // _SAMPLE_PAIRS))
    write_lines(out / SAMPLE, (text for row in sample for text in (*pair(row), "")))
    counts = np.bincount(reason[reason >= 0], minlength=len(names)).tolist()
    dropped = {name: count for name, count in zip(names, counts, strict=True) if count}
    quality = _quality(out, bitext, src if language == tgt else tgt)
    note(out, language=language, kept=sum(kept), dropped=dropped, quality=quality)
    print(f"{sum(kept):,} of {len(kept):,} pairs kept")
    for name, count in dropped.items():
        print(f"  {count:>9,}  dropped: {name}")
    print(f"{'':<44}{'synthetic':>10}{'real':>10}")
    for name, values in quality.items():
        print(f"{name:<44}" + "".join(f"{value:>10.3f}" for value in values))


def _check_direction(forward: Path, source: str, target: str) -> None:
    known = Description.read(forward)
    if (known.source_language, known.target_language) != (source, target):
        raise RecipeError(
            f"{forward} translates {known.source_language} to {known.target_language}; a round "
            f"trip needs one from {source} to {target}"
        )


def _round_trip(
    rows: Iterable[Synthetic], forward: Path, workers: int | None
) -> NDArray[np.float64]:
    """ChrF of each monolingual line against its translation translated back."""

    def score(block: list[Synthetic]) -> list[float]:
        back = Bundle.load(forward, 1).translate([row.translation for row in block])
        metric = CHRF()
        return [
            metric.sentence_score(text, [row.line]).score
            for text, row in zip(back, block, strict=True)
        ]

    parts = parallel_map(score, in_blocks(rows, _BLOCK_LINES), workers)
    return np.array([value for part in progress(parts, "round trips", "blocks") for value in part])


def _quality(synthetic: Path, real: Path, translated: str) -> dict[str, tuple[float, float]]:
    """How the synthetic text (first) differs from the real one (second).

    Length ratio: target words to a source word. Then, of the translated side, the share of dev's
    words that it holds, and of different words among its first words, as many as both have.
    """
    src, tgt = languages(real)
    texts = []
    for directory in (synthetic, real):
        words: dict[str, list[str]] = {src: [], tgt: []}
        for pair in read_bitext(directory / f"train.{src}", directory / f"train.{tgt}"):
            for language, line in zip((src, tgt), pair, strict=True):
                words[language] += line.split()
            if len(words[src]) > _WORDS:
                break
        texts.append(words)
    dev = [word for line in read_lines(real / f"dev.{translated}") for word in line.split()]
    size = min(len(text[translated]) for text in texts)
    known = [set(text[translated]) for text in texts]
    return {
        "length ratio": _two(len(t[tgt]) / len(t[src]) for t in texts),
        "dev words known": _two(
            sum(word in words for word in dev) / max(1, len(dev)) for words in known
        ),
        "different words": _two(len(set(text[translated][:size])) / size for text in texts),
    }


def _two(values: Iterable[float]) -> tuple[float, float]:
    first, second = values
    return round(first, 4), round(second, 4)


if __name__ == "__main__":
    command(synthetic)
