"""Word vectors, and the map from one language's space to another's."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import yaml
from conftest import REPOSITORY
from gensim.models import KeyedVectors
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess.binarise import binarise, read_dictionary
from preprocess.bitext import write_languages
from preprocess.subword import subword
from train.checkpoints import load
from train.embeddings import embeddings, read_vectors, write_vectors
from train.fairseq import train
from train.mapping import (
    mapping,
    neighbourhood,
    procrustes,
    read_lexicon,
    retrieve,
    word_translation,
)

WORDS = [f"s{number}" for number in range(300)]


def space(seed: int = 1) -> NDArray[np.float32]:
    """300 words in 20 dimensions, some of which tell more than others, as in real spaces."""
    drawn = np.random.default_rng(seed).standard_normal((300, 20)) * np.linspace(1, 0.3, 20)
    return drawn.astype(np.float32)


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space, a rotated and noisy copy whose words are in another order, and the word pairs."""
    directory = tmp_path_factory.mktemp("spaces")
    generator = np.random.default_rng(5)
    source = space()
    rotation = np.linalg.qr(generator.standard_normal((20, 20)))[0]
    noise = 0.1 * generator.standard_normal(source.shape)
    order = generator.permutation(len(source))
    target = (source @ rotation + noise).astype(np.float32)[order]
    write_vectors(directory / "source.txt", WORDS, source)
    write_vectors(directory / "target.txt", [f"t{number}" for number in order], target)
    # The first 25 translations are the same words.
    shared = [f"s{number}" if number < 25 else f"t{number}" for number in order]
    write_vectors(directory / "shared.txt", shared, target)
    pairs = [f"s{number}\tt{number}\n" for number in range(300)]
    (directory / "seeds.tsv").write_text("".join(pairs[:25]))
    (directory / "test.tsv").write_text("".join(pairs[25:]))
    return directory


def scores(out: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return result


def test_procrustes_finds_a_rotation_and_a_reflection() -> None:
    turn = math.radians(30)
    rotation = np.array([[math.cos(turn), math.sin(turn), 0], [-math.sin(turn), math.cos(turn), 0],
                         [0, 0, 1]])  # fmt: skip
    for known in (rotation, np.diag([1.0, 1.0, -1.0]) @ rotation):
        x = np.random.default_rng(1).standard_normal((10, 3)).astype(np.float32)
        found = procrustes(x, (x @ known).astype(np.float32))
        np.testing.assert_allclose(found, known, atol=1e-6)
    stretched = procrustes(x, (x @ np.diag([3.0, 2, 1])).astype(np.float32))
    np.testing.assert_allclose(stretched @ stretched.T, np.eye(3), atol=1e-6)


def test_csls_by_hand() -> None:
    # Cosines of three queries (rows) and three others, of which the first is a hub.
    similar = np.array([[0.9, 0.8, 0.1], [0.8, 0.2, 0.0], [0.7, 0.1, 0.6]], np.float32)
    queries, others = np.eye(3, dtype=np.float32), similar.T.copy()
    places, values = retrieve(queries, others)
    assert places.tolist() == [[0], [0], [0]]
    np.testing.assert_allclose(values[:, 0], [0.9, 0.8, 0.7], atol=1e-6)
    # With fewer than ten neighbours, r is the mean of them all: of the columns here.
    hubness = neighbourhood(others, queries)
    np.testing.assert_allclose(hubness, [0.8, 1.1 / 3, 0.7 / 3], atol=1e-6)
    places, values = retrieve(queries, others, hubness, best=2)
    assert places.tolist() == [[1, 0], [0, 1], [2, 0]]
    expected = [[0.8 - 0.55 / 3, 0.5], [0.4, 0.2 - 0.55 / 3], [0.6 - 0.35 / 3, 0.3]]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    # Of twelve, the ten nearest count: 1 to 10 of 0 … 11 are 2 … 11, whose mean is 6.5.
    line = np.arange(12, dtype=np.float32)[:, None]
    assert neighbourhood(np.ones((1, 1), np.float32), line).tolist() == [6.5]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z = space(1), space(2)
    whole = retrieve(x, z, neighbourhood(z, x), best=5)
    monkeypatch.setattr("train.mapping._SIMILARITIES", 2_000)  # six rows at a time
    parts = retrieve(x, z, neighbourhood(z, x), best=5)
    assert (whole[0] == parts[0]).all()


@pytest.mark.parametrize(
    ("target", "lexicon"),
    [
        ("target", "seeds.tsv"),
        ("shared", "identical"),
        pytest.param("target", "none", marks=pytest.mark.slow),
    ],
)
def test_a_rotated_space_is_found_again(
    spaces: Path, tmp_path: Path, target: str, lexicon: str
) -> None:
    given = str(spaces / lexicon) if lexicon.endswith(".tsv") else lexicon
    mapping(spaces / "source.txt", spaces / f"{target}.txt", tmp_path, given, spaces / "test.tsv")
    found = scores(tmp_path)
    assert found["csls P@1"] > 0.9 and found["nearest P@1"] > 0.9 and found["coverage"] == 1
    assert found["csls P@5"] >= found["csls P@1"] and found["test words"] == 275
    if lexicon != "none":
        assert found["seeds"] == 25
    # What is written is in one space: each word of length 1, and nearest to its translation.
    words, x = read_vectors(tmp_path / "vectors.source.txt")
    others, z = read_vectors(tmp_path / "vectors.target.txt")
    assert words == WORDS
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-4)
    place = others.index("t200")
    assert (x[200] @ z.T).argmax() == place


def test_self_learning_is_what_does_it(spaces: Path, tmp_path: Path) -> None:
    """Ten seeds cannot determine a map in 20 dimensions; the rounds after it do."""
    words, x = read_vectors(spaces / "source.txt")
    others, z = read_vectors(spaces / "target.txt")
    seeds = [others.index(f"t{number}") for number in range(10)]
    once = x @ procrustes(x[:10], z[seeds])
    pairs = read_lexicon(spaces / "test.tsv")
    assert word_translation(once, z, words, others, pairs)["csls P@1"] < 0.7
    few = tmp_path / "few.tsv"
    few.write_text("".join(f"s{number}\tt{number}\n" for number in range(10)))
    mapping(spaces / "source.txt", spaces / "target.txt", tmp_path, str(few), spaces / "test.tsv")
    assert scores(tmp_path)["csls P@1"] > 0.9


def test_precision_by_hand() -> None:
    x = np.eye(3, dtype=np.float32)
    z = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0.2], [0, 0, 1]], np.float32)
    lexicon = [("a", "a"), ("b", "y"), ("b", "x"), ("c", "x"), ("c", "unknown"), ("d", "a")]
    found = word_translation(x, z, ["a", "b", "c"], ["a", "x", "y", "z"], lexicon)
    # a is a; b is y, one of its two; c is nearest to z, and x is the last but one: among five.
    # d has no vector, so that three of four words are covered; copying gives a alone.
    assert found["test words"] == 4 and found["coverage"] == 0.75
    assert found["copied P@1"] == pytest.approx(1 / 3)
    assert found["nearest P@1"] == pytest.approx(2 / 3)
    assert found["nearest P@1, others"] == 0.5 and found["nearest P@4"] == 1


def test_test_words_are_no_seeds(spaces: Path, tmp_path: Path) -> None:
    both = spaces / "seeds.tsv"
    with pytest.raises(RecipeError, match="none of the 0 seed pairs"):
        mapping(spaces / "source.txt", spaces / "target.txt", tmp_path, str(both), both)


def test_what_does_not_fit_is_refused(spaces: Path, tmp_path: Path) -> None:
    source, target = spaces / "source.txt", spaces / "target.txt"
    bad = tmp_path / "bad"
    for text, message in (
        ("a\tb\nc d\n", r"bad, line 2: expected a source word, a tab and a target"),
        ("a\tb\tc\n", "line 1"),
        ("", "is empty"),
        ("nie\tnada\n", "none of the 1 seed pairs"),
    ):
        bad.write_text(text)
        with pytest.raises(RecipeError, match=message):
            mapping(source, target, tmp_path / "out", str(bad))
    with pytest.raises(RecipeError, match="none of the 0 seed pairs of 'identical'"):
        mapping(source, target, tmp_path / "out")
    bad.write_text("nie\tnada\n")
    with pytest.raises(RecipeError, match="none of the 1 words of the test lexicon"):
        mapping(source, target, tmp_path / "out", str(spaces / "seeds.tsv"), bad)
    with pytest.raises(RecipeError, match=r"cannot read none\.tsv"):
        mapping(source, target, tmp_path / "out", "none.tsv")
    for text, message in (
        ("a 1 2\n", r"bad, line 1: expected the number of words"),
        ("2 2\na 1 2\nb 1\n", r"line 3: expected a word and 2 numbers, not 'b 1'"),
        ("1 2\na 1 nan\n", "line 2"),
        ("1 2\na 1 x\n", "line 2"),
        ("2 2\na 1 2\n", "should have 2 words by its first line and has 1;"),
        ("1 2\na 1 2\nb 1 2\n", "should have 1 words by its first line and has more"),
        ("", "line 1"),
    ):
        bad.write_text(text)
        with pytest.raises(RecipeError, match=message):
            mapping(source, bad, tmp_path / "out")
    bad.write_text("2 3\na 1 2 3\nb 3 2 1\n")
    with pytest.raises(RecipeError, match=r"20 dimensions and .*bad 3; make both"):
        mapping(source, bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def text_of(directory: Path, lines: int = 300) -> Path:
    """Sentences in which dog and cat do the same, and a rare word."""
    generator = np.random.default_rng(1)
    animals, things = ["dog", "cat"], ["tin", "box", "jar"]
    text = [
        f"the {animals[a]} sleeps at home ." if kind else f"a {things[b]} stands on shelves ."
        for a, b, kind in zip(*generator.integers([[2], [3], [2]], size=(3, lines)), strict=True)
    ]
    (directory / "text").write_text("\n".join([*text, "rare ."]) + "\n")
    return directory / "text"


def test_vectors_of_a_text(tmp_path: Path) -> None:
    text = text_of(tmp_path)
    for name in ("one", "two"):
        embeddings(text, tmp_path / name, dimensions=16)
    path = tmp_path / "one" / "vectors.txt"
    assert path.read_bytes() == (tmp_path / "two" / "vectors.txt").read_bytes()
    embeddings(text, tmp_path / "two", dimensions=16, seed=2)
    assert path.read_bytes() != (tmp_path / "two" / "vectors.txt").read_bytes()
    words, vectors = read_vectors(path)
    assert words[0] == "." and "rare" not in words and vectors.shape == (14, 16)
    counts = [text.read_text().split().count(word) for word in words]
    assert counts == sorted(counts, reverse=True)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    dog, cat, tin = (unit[words.index(word)] for word in ("dog", "cat", "tin"))
    assert dog @ cat > dog @ tin
    facts = json.loads((tmp_path / "one" / "facts.json").read_text())
    assert facts["words"] == 14 and facts["coverage"] == pytest.approx(1 - 1 / sum(counts), 1e-3)
    theirs = KeyedVectors.load_word2vec_format(path)
    assert theirs.index_to_key == words
    np.testing.assert_array_equal(theirs.vectors, vectors)


def test_a_long_line_counts_as_a_whole(tmp_path: Path) -> None:
    """Gensim by itself leaves out what is beyond 10,000 words of a line."""
    (tmp_path / "text").write_text("a b\n" * 3 + "a b " * 5_000 + "c d " * 5_000 + "\n")
    embeddings(tmp_path / "text", tmp_path / "long", dimensions=8, epochs=3)
    words, vectors = read_vectors(tmp_path / "long" / "vectors.txt")
    assert sorted(words) == ["a", "b", "c", "d"]
    # Words that were never seen in training keep short random vectors.
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths[words.index("c")] > 0.5 * lengths[words.index("a")]


def test_odd_words_and_too_little_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a\xa0b \u2581x @@ " * 5 + "\n")
    embeddings(tmp_path / "text", tmp_path / "odd", dimensions=4)
    words, _ = read_vectors(tmp_path / "odd" / "vectors.txt")
    assert sorted(words) == ["@@", "a", "b", "\u2581x"]  # any white space separates, as for fairseq
    doubled = tmp_path / "doubled"
    doubled.write_text("3 2\nx 1 2 \nx 3 4\n1 5 6\n")
    assert read_vectors(doubled)[0] == ["x", "1"]
    assert read_vectors(doubled)[1].tolist() == [[1, 2], [5, 6]]
    (tmp_path / "text").write_text("once upon\n")
    with pytest.raises(RecipeError, match=r"text has 0 words that occur 2 times or more; give"):
        embeddings(tmp_path / "text", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_translation_model_begins_with_vectors(tmp_path: Path) -> None:
    write_languages(tmp_path / "bitext", "es", "gl")
    made = toy.pairs(300, seed=3)
    for name, part in {"train": made[40:], "dev": made[:20], "test": made[20:40]}.items():
        for place, language in enumerate(("es", "gl")):
            text = "".join(f"{pair[place]}\n" for pair in part)
            (tmp_path / "bitext" / f"{name}.{language}").write_text(text)
    subword(tmp_path / "bitext", tmp_path / "subword", vocab_size=120)
    binarise(tmp_path / "subword", tmp_path / "binary")
    paths = {}
    for side, language in (("encoder", "es"), ("decoder", "gl")):
        embeddings(tmp_path / "subword" / f"train.{language}", tmp_path / language, 32, epochs=1)
        paths[side] = tmp_path / language / "vectors.txt"
    options = yaml.safe_load((REPOSITORY / "tests" / "toy.yaml").read_text())["options"]
    options |= {f"{side}-embed-path": str(path) for side, path in paths.items()}
    options |= {"share-all-embeddings": False, "max-update": 2, "total-num-update": 2,
                "save-interval-updates": 1}  # fmt: skip
    tables = [f"{side}.embed_tokens" for side in paths]
    train(tmp_path / "binary", tmp_path / "out", options, average_last=1, freeze=tables)
    model = load(tmp_path / "out" / "checkpoint.pt")["model"]
    for side, language in (("encoder", "es"), ("decoder", "gl")):
        table = model[f"{side}.embed_tokens.weight"].numpy()
        numbers = read_dictionary(tmp_path / "binary" / f"dict.{language}.txt")
        words, vectors = read_vectors(paths[side])
        known = [word for word in words if word in numbers]
        assert len(known) > 50
        rows = [numbers[word] for word in known]
        np.testing.assert_allclose(table[rows], vectors[[words.index(w) for w in known]], rtol=1e-4)
    log = "\n".join(read_lines(tmp_path / "out" / "fairseq.log"))
    assert re.search(r"encoder_embed_path.*vectors\.txt", log)
