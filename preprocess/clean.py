"""Drop the training pairs that teach a model nothing or the wrong thing; each for one reason."""

from collections import Counter
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.lines import write_bitext
from pipeline.manifest import note
from preprocess.bitext import languages, read_set, squashed, write_languages
from preprocess.normalise import normalise


class Filter:
    """Decides for one pair after the other; remembers the pairs it has kept."""

    def __init__(
        self, held_out: list[tuple[str, str]], max_words: int, max_ratio: float, keep_copies: bool
    ) -> None:
        self._max_words, self._max_ratio, self._keep_copies = max_words, max_ratio, keep_copies
        self._held_out = [{squashed(normalise(pair[side])) for pair in held_out} for side in (0, 1)]
        self._seen: set[tuple[str, str]] = set()

    def reason(self, source: str, target: str) -> str | None:
        """Why a normalised pair is dropped, or None to keep it."""
        if not source or not target:
            return "empty"
        lengths = len(source.split()), len(target.split())
        if max(lengths) > self._max_words:
            return "too long"
        # Two words against five are no sign of trouble; twenty against fifty are.
        if (max(lengths) + 3) / (min(lengths) + 3) > self._max_ratio:
            return "length ratio"
        if source == target and not self._keep_copies:
            return "copy"
        if squashed(source) in self._held_out[0] or squashed(target) in self._held_out[1]:
            return "in dev or test"
        if (source, target) in self._seen:
            return "repeated"
        self._seen.add((source, target))
        return None


def clean(
    bitext: Path,
    out: Path,
    max_words: int = 200,
    max_ratio: float = 2.5,
    keep_copies: bool = False,
) -> None:
    """Normalise and filter the training pairs; dev is normalised, test stays as it is.

    Pairs are judged after normalising and dropped as pairs, so that the sides cannot shift.
    Writes train, dev and test, and dropped.tsv with line number, reason and both sides.

    Example: python -m preprocess.clean --bitext exp/fetch --out exp/clean --max-words 100

    Args:
        bitext: directory with train.SRC, train.TGT, dev.SRC …
        out: directory for the same files, cleaned.
        max_words: longest side that is kept, in words.
        max_ratio: largest ratio of the lengths in words, after adding 3 to both.
        keep_copies: keep pairs whose sides are equal (they teach a model to copy:
            Khayrallah & Koehn 2018).

    """
    src, tgt = languages(bitext)
    held_out = [pair for name in ("dev", "test") for pair in read_set(bitext, name, src, tgt)]
    decide = Filter(held_out, max_words, max_ratio, keep_copies)
    kept: list[tuple[str, str]] = []
    dropped: list[tuple[int, str, str, str]] = []
    for number, pair in enumerate(read_set(bitext, "train", src, tgt), start=1):
        source, target = normalise(pair[0]), normalise(pair[1])
        if reason := decide.reason(source, target):
            dropped.append((number, reason, *pair))
        else:
            kept.append((source, target))
    if not kept:
        raise RecipeError(f"all {len(dropped)} training pairs would be dropped; see {bitext}")

    write_languages(out, src, tgt)
    write_bitext(out / f"train.{src}", out / f"train.{tgt}", kept)
    dev = [(normalise(s), normalise(t)) for s, t in read_set(bitext, "dev", src, tgt)]
    dev = [pair for pair in dev if all(pair)]
    write_bitext(out / f"dev.{src}", out / f"dev.{tgt}", dev)
    write_bitext(out / f"test.{src}", out / f"test.{tgt}", read_set(bitext, "test", src, tgt))
    with open(out / "dropped.tsv", "w", encoding="utf-8", newline="\n") as file:
        for number, reason, source, target in dropped:
            columns = (text.replace("\t", " ") for text in (source, target))
            file.write(f"{number}\t{reason}\t" + "\t".join(columns) + "\n")
    reasons = Counter(reason for _, reason, _, _ in dropped)
    note(out, train_kept=len(kept), train_dropped=reasons, dev_kept=len(dev))

    print(f"train: {len(kept):,} of {len(kept) + len(dropped):,} pairs kept")
    for reason, count in reasons.most_common():
        print(f"  {count:>9,}  dropped: {reason}")


if __name__ == "__main__":
    command(clean)
