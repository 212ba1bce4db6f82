"""Back-translation: the shards, what is filtered of them, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from conftest import REPOSITORY, Recipe

from decode import backtranslate as module
from decode.backtranslate import METHODS, backtranslate, read_synthetic
from decode.bundle import Bundle
from decode.export import export
from decode.search import Search
from decode.synthetic import synthetic
from pipeline.errors import RecipeError
from pipeline.manifest import Manifest
from preprocess.bitext import write_languages

REAL = [
    ("A dog runs across the green grass.", "Ein Hund läuft über das grüne Gras."),
    ("Two women are sitting at a table.", "Zwei Frauen sitzen an einem Tisch."),
    ("The man is reading a newspaper.", "Der Mann liest eine Zeitung."),
]
# Number, score, cut, monolingual line, translation, and why it is dropped.
ROWS = [
    (3, "-0.9", 0, "Ein Kind spielt mit einem Ball.", "A child is playing with a ball.", None),
    (4, "-0.5", 0, "Ein Mann steht auf der Straße.", "Ein Mann steht auf der Straße.", "copy"),
    (7, "-0.2", 0, "Die Frau hat einen Hut.", "", "empty"),
    (8, "-0.3", 0, "Ein Kind schläft hier.", "a child a child a child a child", "repetition"),
    (9, "-0.3", 0, "Ein Hund.", "A dog that is running over the wide green field to its house.",
     "length_ratio"),
    (11, "-0.3", 0, "Der Junge wirft einen Ball.", "Le garçon jette un ballon dans la rivière.",
     "language"),
    (12, "-0.3", 0, "Männer lesen gern Zeitungen.", "the man is reading a newspaper", "held_out"),
    (15, "-0.3", 1, "Eine Gruppe von Leuten wandert.", "A group of people is hiking.", "cut"),
    (19, "-0.4", 0, "Eine Katze liegt auf dem Sofa.", "A cat is lying on the sofa.", None),
    (20, "", 0, "Der Zug fährt durch die Stadt.", "The train goes through the city.", None),
]  # fmt: skip


@pytest.mark.parametrize(("after", "code"), [(50.25, 3), (50.75, 0), (None, 2)])
def test_a_round_that_gives_too_little_has_a_code_of_its_own(
    tmp_path: Path, after: float | None, code: int
) -> None:
    for name, values in {"old": [50.0, 50.4], "new": [after]}.items():
        (tmp_path / name).mkdir()
        written = {f"it-seed{n}": {"scores": [{"metric": "chrF", "value": value}]}
                   for n, value in enumerate(values)}  # fmt: skip
        scores = {"systems": written} | ({"seeds_together": {}} if after else {})
        (tmp_path / name / "scores.json").write_text(json.dumps(scores))
    command = [sys.executable, "-m", "score.gain", "--new", tmp_path / "new", "--old",
               tmp_path / "old", "--least", "0.3"]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == code, done.stderr


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """A real bitext, en-de, and ROWS in two shards."""
    write_languages(tmp_path / "real", "en", "de")
    for name, pairs in {"train": REAL[:2] * 9, "dev": REAL[1:2], "test": REAL[2:]}.items():
        for place, language in enumerate(("en", "de")):
            text = "".join(f"{pair[place]}\n" for pair in pairs)
            (tmp_path / "real" / f"{name}.{language}").write_text(text)
    for name, rows in {"one": ROWS[:4], "two": ROWS[4:]}.items():
        (tmp_path / name).mkdir()
        text = "".join("\t".join(map(str, row[:5])) + "\n" for row in rows)
        (tmp_path / name / "synthetic.tsv").write_text(text)
    return [str(tmp_path / "one"), str(tmp_path / "two")]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_what_is_dropped_and_why(shards: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthetic(shards, "de", tmp_path / "real", out)
    kept = [row for row in ROWS if row[5] is None]
    assert lines(out / "train.de") == [row[3] for row in kept]
    assert lines(out / "train.en") == [row[4] for row in kept]
    assert lines(out / "train.numbers") == [str(row[0]) for row in kept]
    assert [tuple(line.split("\t")) for line in lines(out / "dropped.tsv")] == [
        (str(row[0]), row[5], row[3], row[4]) for row in ROWS if row[5]
    ]
    assert lines(out / "sample.txt")[:3] == [kept[0][4], kept[0][3], ""]


def test_what_was_cut_is_no_earlier_pair(shards: list[str], tmp_path: Path) -> None:
    pair = "Ein Kind malt ein Bild.\tA child paints a picture.\n"
    (tmp_path / "one" / "synthetic.tsv").write_text(f"1\t\t1\t{pair}2\t\t0\t{pair}3\t\t0\t{pair}")
    filters = [{"repeated_pair": {"max": 0}}]
    synthetic(shards[:1], "de", tmp_path / "real", tmp_path / "out", filters=filters)
    dropped = [line.split("\t")[:2] for line in lines(tmp_path / "out" / "dropped.tsv")]
    assert dropped == [["1", "cut"], ["3", "repeated_pair"]]


def test_forward_translation_keeps_the_sides_where_they_belong(shards, tmp_path: Path) -> None:
    """The same rows as if German were the source: what is real is still German."""
    write_languages(tmp_path / "real", "de", "en")
    synthetic(shards, "de", tmp_path / "real", tmp_path / "out")
    assert lines(tmp_path / "out" / "train.de")[0] == ROWS[0][3]
    assert lines(tmp_path / "out" / "train.en")[0] == ROWS[0][4]


def test_the_best_by_score_are_kept(shards: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for keep, numbers in ((0.67, ["3", "19"]), (0.33, ["19"])):  # without a score comes last
        synthetic(shards, "de", tmp_path / "real", out, keep=keep)
        assert lines(out / "train.numbers") == numbers
    dropped = (out / "dropped.tsv").read_text()
    assert "20\tno score\t" in dropped and "3\tlower score\t" in dropped
    (tmp_path / "two" / "synthetic.tsv").write_text("1\t\t0\tEin Zug fährt.\tA train goes.\n")
    with pytest.raises(RecipeError, match="no line has a score to be ranked by"):
        synthetic(shards[1:], "de", tmp_path / "real", out, keep=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "fr"}, "holds en and de, not fr"),
        ({"keep": 0.0}, "keep is a share"),
        ({"keep": 0.5, "rank": "round-trip"}, "--keep below 1 go together"),
        ({"forward": "somewhere"}, "--keep below 1 go together"),
        ({"rank": "round-trip"}, "--keep below 1 go together"),
        ({"filters": [{"words": {"min": 99}}]}, "all 10 pairs would be dropped"),
    ],
)
def test_mistakes(shards: list[str], tmp_path: Path, settings, message: str) -> None:
    given = {"language": "de", "bitext": tmp_path / "real", "out": tmp_path / "out", **settings}
    with pytest.raises(RecipeError, match=message):
        synthetic(shards, **given)
    assert not (tmp_path / "out").exists()


def test_shards_that_cannot_be(shards: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="two shards have lines of the same number"):
        synthetic([shards[0]] * 2, "de", tmp_path / "real", tmp_path / "out")
    with open(Path(shards[1]) / "synthetic.tsv", "a") as file:
        file.write("21\t-0.1\t0\tein Satz\n")
    with pytest.raises(RecipeError, match=r"line 7: not a row of decode\.backtranslate"):
        list(read_synthetic(Path(shards[1]) / "synthetic.tsv"))


def write_shard(path: Path, count: int, start: int = 1) -> Path:
    sources = (source for source, _ in toy.pairs(count))
    path.write_text("".join(f"{n}\t{line}\n" for n, line in enumerate(sources, start)))
    return path


def test_a_copy_is_its_own_translation(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard", 5, start=40)
    backtranslate(shard, tmp_path / "out", method="copy")
    rows = list(read_synthetic(tmp_path / "out" / "synthetic.tsv"))
    assert [row.number for row in rows] == [40, 41, 42, 43, 44]
    assert all(row.line == row.translation and row.score is None for row in rows)
    with pytest.raises(RecipeError, match="method copy takes no bundle"):
        backtranslate(shard, tmp_path / "out", method="beam")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["beam", "greedy", "sampling", "top-k"])
def test_bytes_do_not_depend_on_the_threads(
    finished, tmp_path: Path, method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_LINES", 25)
    shard, bundle = write_shard(tmp_path / "shard", 110), finished.exp / "bundle-1"
    texts = []
    for seed, threads in ((1, 1), (1, 2), (2, 2)):
        backtranslate(shard, tmp_path / "out", bundle, method, seed, threads)
        texts.append((tmp_path / "out" / "synthetic.tsv").read_text())
    assert texts[0] == texts[1]
    assert (texts[0] == texts[2]) == (method in ("beam", "greedy"))
    rows = list(read_synthetic(tmp_path / "out" / "synthetic.tsv"))
    assert [row.number for row in rows] == [*range(1, 111)]
    if method in ("beam", "greedy"):
        search = replace(METHODS[method], scores=False)
        expected = Bundle.load(bundle, search=search).translate([row.line for row in rows])
        assert [row.translation for row in rows] == expected
    assert all(row.score is not None and row.score < 0 for row in rows)


@pytest.mark.slow
def test_each_chunk_draws_numbers_of_its_own(
    finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_LINES", 25)
    shard = tmp_path / "shard"
    shard.write_text("".join(f"{number}\tnifo niba sa\n" for number in range(1, 76)))
    backtranslate(shard, tmp_path / "out", finished.exp / "bundle-1", "sampling")
    drawn = [row.translation for row in read_synthetic(tmp_path / "out" / "synthetic.tsv")]
    chunks = {tuple(drawn[start : start + 25]) for start in (0, 25, 50)}
    assert len(chunks) == 3 and len(set(drawn)) > 25


@pytest.mark.slow
def test_text_in_the_wrong_language_is_refused(finished, tmp_path: Path) -> None:
    """The toy's bundle translates from Spanish; the shard's stage says what its text is in."""
    directory = tmp_path / "exp" / "mono-ca"
    command = [sys.executable, "-m", "pipeline.stage", "2", "Clean", "--exp", tmp_path / "exp",
               "--out", directory, "--", sys.executable, "-m", "preprocess.monolingual",
               "--text", f"file:{write_shard(tmp_path / 'mono', 30)}", "--language", "ca",
               "--bitext", finished.exp / "clean", "--out", directory]  # fmt: skip
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
    (shard,) = directory.glob("shard-*.tsv")
    for made_by_hand in (False, True):
        if made_by_hand:  # without a stage, what the command left is all there is
            (directory / "manifest.json").unlink()
            (directory / "facts.json").write_text('{"language": "ca"}')
        with pytest.raises(RecipeError, match=r"text in Catalan, and .* translates from Spanish"):
            backtranslate(shard, tmp_path / "out", finished.exp / "bundle-1")


@pytest.mark.slow
def test_round_trips_rank_by_chrf(finished, tmp_path: Path) -> None:
    """Half of the pairs, those that this (bad) model brings closest to what they were."""
    exp = finished.exp
    rows = lines(exp / "clean" / "train.es")[:40]
    good = lines(exp / "clean" / "train.ca")[:40]
    (tmp_path / "one").mkdir()
    text = "".join(f"{n}\t-1\t0\t{line}\t{good[n - 1]}\n" for n, line in enumerate(rows, 1))
    (tmp_path / "one" / "synthetic.tsv").write_text(text)
    export(exp / "train-1/checkpoint.pt", exp / "subword", tmp_path / "b", exp / "binary")
    with pytest.raises(RecipeError, match="a round trip needs one from ca to es"):
        synthetic(
            [str(tmp_path / "one")], "es", exp / "clean", tmp_path / "out", keep=0.5,
            rank="round-trip", forward=tmp_path / "b",
        )  # fmt: skip
    description = tmp_path / "b" / "bundle.json"
    description.write_text(
        json.dumps(
            json.loads(description.read_text()) | {"source_language": "ca", "target_language": "es"}
        )
    )
    synthetic(
        [str(tmp_path / "one")], "es", exp / "clean", tmp_path / "out", filters=[], keep=0.5,
        rank="round-trip", forward=tmp_path / "b",
    )  # fmt: skip
    from sacrebleu.metrics.chrf import CHRF

    back = Bundle.load(tmp_path / "b").translate(good)
    values = [CHRF().sentence_score(b, [r]).score for b, r in zip(back, rows, strict=True)]
    best = sorted(range(40), key=lambda place: -values[place])[:20]
    assert lines(tmp_path / "out" / "train.numbers") == [str(place + 1) for place in sorted(best)]


@pytest.mark.slow
def test_killed_and_run_again_the_bytes_are_the_same(finished, tmp_path: Path) -> None:
    shard, bundle = write_shard(tmp_path / "shard-1.tsv", 30_000), finished.exp / "bundle-1"

    def run(exp: Path, kill: bool) -> int:
        out = exp / "synthetic"
        command = [*(sys.executable, "-m", "pipeline.stage", "6", "Translate", "--exp", exp),
                   *("--in", shard, bundle, "--out", out, "--", sys.executable, "-m"),
                   *("decode.backtranslate", "--shard", shard, "--bundle", bundle),
                   *("--method", "top-k", "--out", out)]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        half_written = exp / "synthetic.partial" / "synthetic.tsv.partial"
        while kill and process.poll() is None:
            time.sleep(0.02)
            if half_written.exists() and half_written.stat().st_size:
                os.killpg(process.pid, signal.SIGKILL)
                break
        return process.wait()

    assert run(tmp_path / "a", kill=False) == 0
    assert run(tmp_path / "b", kill=True) == -signal.SIGKILL
    assert not (tmp_path / "b" / "synthetic").exists()
    assert run(tmp_path / "b", kill=False) == 0
    texts = [(tmp_path / name / "synthetic" / "synthetic.tsv").read_bytes() for name in "ab"]
    assert texts[0] == texts[1] and texts[0].count(b"\n") == 30_000


@pytest.mark.slow
def test_the_recipe_from_pairs_to_the_table(tmp_path: Path) -> None:
    """With the pairs that were not used as monolingual text; again, it does nothing."""
    directory = tmp_path / "a dir, with comma"
    directory.mkdir()
    recipe = Recipe(directory, REPOSITORY / "recipes" / "backtranslation" / "run.sh")
    settings = {
        "src": "es", "tgt": "ca", "dev": "", "test": "", "mono": "rest", "pairs": "200",
        "lines": "300", "methods": "bitext beam tagged", "seeds": "1", "updates": "20",
        "upsample": "2",
    }  # fmt: skip
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    recipe.run(*options)
    numbers = lines(recipe.exp / "synthetic-beam" / "train.numbers")
    table = json.loads((recipe.exp / "table" / "table.json").read_text())["methods"]
    assert [(row["method"], row["real"], row["synthetic"]) for row in table] == [
        ("bitext", "200", "0"),
        *((name, "200 ×2", str(len(numbers))) for name in ("beam", "tagged")),
    ]
    assert len(numbers) > 20
    again = recipe.run(*options)
    assert "runs because" not in again and "p<.05" in again
    tagged = lines(recipe.exp / "data-tagged" / "train.es")
    assert [line.startswith("<BT> ") for line in tagged] == [False] * 400 + [True] * len(numbers)
    # Without forward or iterative, nothing is asked of the source language's text.
    assert not (recipe.exp / "mono-es").exists()
    trained = Manifest.read(recipe.exp / "train-tagged-1")
    minutes = float(table[2]["training"])
    assert trained and minutes == round(trained.facts["training_minutes"], 1)
    assert Bundle.load(recipe.exp / "bundle-reverse-1").shortlist
    # A tag begins the source, as one symbol.
    bundle = recipe.exp / "bundle-tagged-1"
    plain, tag = (Bundle.load(bundle, 1, Search(tag=tag, scores=True)) for tag in ("", "<BT>"))
    pieces = plain.codec.encode(["nifo niba"], "es")[0]
    options = {"return_scores": True, "beam_size": 5, "max_decoding_length": 40}
    expected = plain.translator.translate_batch([["<BT>", *pieces]], **options)[0].scores[0]
    scores = [next(one.stream(["nifo niba"]))[0].score for one in (plain, tag)]
    assert scores[1] == pytest.approx(expected, abs=1e-4) != pytest.approx(scores[0], abs=1e-4)
    with pytest.raises(RecipeError, match="knows no tag <2fr>; its symbols: <BT>, <BLANK>"):
        Bundle.load(bundle, search=Search(tag="<2fr>"))
