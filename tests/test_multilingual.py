"""Several pairs in one model: what is mixed, what is shared, and what the encoder tells."""

import json
import sys
from collections.abc import Iterator
from math import tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
import yaml
from conftest import REPOSITORY

from decode.bundle import Bundle
from decode.export import export
from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_bitext, write_lines
from pipeline.stage import Stage
from preprocess.binarise import binarise, read_dictionary
from preprocess.bitext import SETS, write_languages
from preprocess.mix import mix
from preprocess.normalise import read_steps, write_steps
from preprocess.subset import subset
from preprocess.subword import subword
from score.experiment import beside_scores
from score.off_target import likeliest, off_target
from score.retrieval import found_first, retrieval, told_apart
from train.checkpoints import load
from train.curves import read_curves
from train.fairseq import arguments, train
from train.multilingual import _Reversed, install, pooled, schedule, sides, take_out
from train.resample import write_epoch

OPTIONS = yaml.safe_load((REPOSITORY / "tests" / "toy.yaml").read_text())["options"]


def bitext(
    directory: Path, src: str, tgt: str, count: int, reverse: bool = False, seed: int = 1
) -> Path:
    """Toy pairs; reversed words make a third language."""
    write_languages(directory, src, tgt)
    pairs = toy.pairs(count, seed)
    if reverse:
        pairs = [(source, " ".join(target.split()[::-1])) for source, target in pairs]
    for name, start in zip(SETS, (0, -20, -10), strict=True):
        part = pairs[: count - 20] if name == "train" else pairs[start : start + 10 or None]
        write_bitext(directory / f"{name}.{src}", directory / f"{name}.{tgt}", part)
    return directory


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Subwords and binary data of four directions."""
    place = tmp_path_factory.mktemp("mixed")
    one = bitext(place / "es-gl", "es", "gl", 120)
    other = bitext(place / "es-ca", "es", "ca", 420, reverse=True, seed=2)
    mix([str(one), str(other)], place / "text", both=True)
    subword(place / "text", place / "subword", vocab_size=120, workers=1)
    binarise(place / "subword", place / "binary", workers=1)
    return place


def test_small_pairs_are_taken_more_often(tmp_path: Path) -> None:
    """100 and 400 pairs at temperature 2: shares of 1 to 2, so 200 of the small and all of the
    large; at temperature 1 each as it is."""  # noqa: D205, D209
    one = bitext(tmp_path / "es-gl", "es", "gl", 120)
    other = bitext(tmp_path / "es-ca", "es", "ca", 420, seed=2)
    for temperature, expected in ((2.0, 200), (1.0, 100)):
        mix([str(one), str(other)], tmp_path / "text", temperature=temperature)
        pairs = list(read_lines(tmp_path / "text/train.pairs"))
        assert (pairs.count("es-gl"), pairs.count("es-ca")) == (expected, 400)
    sources = list(read_lines(tmp_path / "text/train.es"))
    assert sources[:100] == list(read_lines(one / "train.es"))
    assert (tmp_path / "text/dev.gl").read_bytes() == (one / "dev.gl").read_bytes()
    assert list(read_lines(tmp_path / "text/dev.pairs")) == ["es-gl"] * 10
    with pytest.raises(RecipeError, match="es-gl is given twice"):
        mix([str(one), str(one)], tmp_path / "again")
    with pytest.raises(RecipeError, match="is of several pairs of languages"):
        mix([str(tmp_path / "text"), str(other)], tmp_path / "again")
    with pytest.raises(RecipeError, match="is of several pairs of languages"):
        subset(tmp_path / "text", tmp_path / "again", 50)
    alias = bitext(tmp_path / "spa-ca", "spa", "ca", 300)  # its lines would not be known again
    with pytest.raises(RecipeError, match="es and spa are one language"):
        mix([str(one), str(alias)], tmp_path / "again")
    leaking = bitext(tmp_path / "leak", "es", "ca", 300)  # the same sentences as es-gl
    with pytest.raises(RecipeError, match=r"its train holds a line of dev or test .*--hold-out"):
        mix([str(one), str(leaking)], tmp_path / "again")
    for where, codes in ((one, ("es", "gl")), (other, ("es", "ca"))):
        write_steps(where, {code: ["nfc", "quotes"] for code in codes})
    mix([str(one), str(other)], tmp_path / "quotes", both=True)
    assert read_steps(tmp_path / "quotes") == {
        code: ["nfc", "quotes"] for code in ("es", "gl", "ca")
    }
    write_steps(other, {"es": ["nfc", "quotes"], "ca": ["nfc", "width"]})
    with pytest.raises(RecipeError, match="normalised alike in all languages"):
        mix([str(one), str(other)], tmp_path / "again")
    (other / "tokenise.json").write_text("{}")
    with pytest.raises(RecipeError, match="mix running text"):
        mix([str(one), str(other)], tmp_path / "again")


def test_each_source_begins_with_the_tag_of_its_target(mixed: Path) -> None:
    text, cut = mixed / "text", mixed / "subword"
    pairs = list(read_lines(cut / "train.pairs"))
    assert list(dict.fromkeys(pairs)) == ["es-gl", "es-ca", "gl-es", "ca-es"]
    lines = list(read_lines(cut / "train.es"))
    for pair, line in zip(pairs, lines, strict=True):
        assert line.startswith(f"<2{pair[3:]}> ▁")
    back = pairs.index("gl-es")
    assert next(iter(read_lines(text / "train.gl"))) == list(read_lines(text / "train.es"))[back]
    assert not any("<2" in line for line in read_lines(cut / "train.gl"))
    assert next(iter(read_lines(cut / "dev.es"))).startswith("<2gl> ")
    known = {line.split(" ")[0] for line in read_lines(cut / "dict.txt")}
    assert {"<2gl>", "<2ca>", "<2es>"} <= known


def test_a_tag_stays_where_the_text_is_cut_anew(mixed: Path, tmp_path: Path) -> None:
    """With BPE-dropout or subword regularisation, too, the first number is the tag's."""
    write_epoch(mixed / "subword", tmp_path, 0.2, seed=1, epoch=1)
    numbers = read_dictionary(mixed / "subword/dict.txt")
    found = np.fromfile(tmp_path / "train.es-gl.es.bin", np.uint16)
    firsts = [found[0], *found[np.flatnonzero(found == 2)[:-1] + 1]]
    pairs = read_lines(mixed / "subword/train.pairs")
    assert firsts == [numbers[f"<2{pair[3:]}>"] for pair in pairs]


def test_parts_of_a_direction_are_taken_out() -> None:
    """Three targets: the first pair's decoder has the plain name, the third's is second beside."""
    pairs = ["es-gl", "es-ca", "en-pt"]
    assert sides(pairs) == (["es", "en"], ["gl", "ca", "pt"])
    model = {
        name: torch.tensor(float(number))
        for number, name in enumerate(
            ["encoder.w", "decoder.w", "more_encoders.0.w", "more_decoders.0.w",
             "more_decoders.1.w", "discriminator.0.weight"]
        )
    }  # fmt: skip
    numbers = lambda direction: {  # noqa: E731
        name: int(value) for name, value in take_out(model, pairs, direction).items()
    }
    assert numbers("es-gl") == {"encoder.w": 0, "decoder.w": 1}
    assert numbers("es-ca") == {"encoder.w": 0, "decoder.w": 3}
    assert numbers("en-pt") == {"encoder.w": 2, "decoder.w": 4}
    with pytest.raises(RecipeError, match="translates to gl, ca, pt, not de"):
        take_out(model, pairs, "es-de")


def test_the_gradient_is_reversed_and_its_weight_rises() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (3 * _Reversed.apply(x, 0.5)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-1.5, -1.5]
    # 2 / (1 + e^-10p) - 1, by hand: 0, and at 0.1 tanh(0.5) = 0.4621.
    assert schedule(0.0, 1.0) == 0.0
    assert schedule(0.1, 1.0) == pytest.approx(0.46212, abs=1e-5)
    assert schedule(7.0, 2.0) == pytest.approx(2.0, abs=1e-3)


def test_retrieval_by_hand() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], np.float32)
    candidates = np.array([[5.0, 0.1], [0.1, 1.0], [0.0, 3.0]], np.float32)
    # The second's nearest is the third, of the very same direction; the third's is the second.
    assert found_first(queries, candidates) == pytest.approx((100 / 3, 100 / 3))
    # Among candidates alone both are found; but each query is nearest to the other query.
    queries, candidates = queries[[0, 0]] + [[0, 0], [0, 0.1]], np.array([[1, -0.9], [1, 1]])
    assert found_first(queries, candidates) == (100, 0)
    # More than are compared at once: beyond the 1,024th, too, a query does not find itself.
    generator = np.random.default_rng(1)
    queries, noise = generator.normal(size=(2, 1100, 3))
    one, other = (side / np.linalg.norm(side, axis=1, keepdims=True)
                  for side in (queries, queries + 0.02 * noise))  # fmt: skip
    to_other, to_own = one @ other.T, one @ one.T
    np.fill_diagonal(to_own, -2)
    found = to_other.argmax(axis=1) == np.arange(1100)
    among_all = found & (to_other.max(axis=1) > to_own.max(axis=1))
    assert 0 < among_all.sum() < found.sum() < 1100
    assert found_first(one, other) == pytest.approx((100 * found.mean(), 100 * among_all.mean()))
    generator = np.random.default_rng(1)
    same, shifted = generator.normal(size=(2, 300, 4)).astype(np.float32)
    assert told_apart(same, shifted) == pytest.approx(50, abs=8)
    assert told_apart(same, shifted + 9) == 100


@pytest.fixture
def registries() -> Iterator[None]:
    """What install changes in fairseq is as it was, afterwards."""
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY

    all_of_them = (CRITERION_REGISTRY, ARCH_MODEL_REGISTRY, MODEL_REGISTRY)
    before = [dict(registry) for registry in all_of_them]
    yield
    for registry, contents in zip(all_of_them, before, strict=True):
        registry.clear()
        registry.update(contents)


@pytest.mark.usefixtures("registries")
def test_each_sentence_goes_through_its_own_parts(mixed: Path, tmp_path: Path) -> None:
    """Gradients reach the parts of a batch's languages, and no others; the adversary's is turned.

    It is asked of gl-es, as es comes from gl and ca, and not of es-ca.
    """
    from fairseq import options, tasks

    with pytest.raises(SystemExit, match="not for arch transformer_align, but for transformer,"):
        install(str(mixed / "binary"), "encoder", 0.5, updates=10, arch="transformer_align")
    install(str(mixed / "binary"), "encoder", 0.5, updates=10, arch="transformer")
    given = {**OPTIONS, "dropout": 0.0, "total-num-update": 20}
    parsed = options.parse_args_and_arch(
        options.get_training_parser(), arguments(mixed / "binary", tmp_path, given, {})
    )
    task = tasks.setup_task(parsed)
    torch.manual_seed(1)
    model, criterion = task.build_model(parsed), task.build_criterion(parsed)
    task.load_dataset("train")
    data, pairs = task.dataset("train"), list(read_lines(mixed / "binary/train.pairs"))

    def gradients(pair: str, progress: float) -> tuple[dict[str, Any], dict[str, Any]]:
        first = pairs.index(pair)
        model.zero_grad()
        model.progress = progress
        loss, _, output = criterion(model, data.collater([data[n] for n in (first, first + 1)]))
        loss.backward()
        named = model.named_parameters()
        return output, {name: p.grad.clone() for name, p in named if p.grad is not None}

    # Targets in the order of the pairs: gl, ca and es.
    for pair, part in (("es-gl", "decoder"), ("es-ca", "more_decoders.0"),
                       ("gl-es", "more_decoders.1")):  # fmt: skip
        output, found = gradients(pair, 0.0)
        reached = {name.partition(".layers")[0] for name in found if ".layers.0.fc1" in name}
        assert reached == {"encoder", part}
        assert output.get("asked") == (2 if pair == "gl-es" else None)
        assert any(name.startswith("discriminator") for name in found) is (pair == "gl-es")
    name = "encoder.layers.0.fc1.weight"
    still, turned = (gradients("gl-es", progress)[1] for progress in (0.0, 1.0))
    # By hand: the discriminator's loss of the two sentences, whose gl is the second source.
    model.zero_grad()
    batch = data.collater([data[n] for n in (pairs.index("gl-es"), pairs.index("gl-es") + 1)])
    tokens, lengths = (batch["net_input"][key] for key in ("src_tokens", "src_lengths"))
    scores = model.discriminator(pooled(model.encoder(tokens, src_lengths=lengths)))
    apart = torch.nn.functional.cross_entropy(scores, torch.tensor([1, 1]), reduction="sum")
    (apart * batch["ntokens"] / 2).backward()
    own = dict(model.named_parameters())[name].grad
    torch.testing.assert_close(still[name] - turned[name], schedule(1.0, 0.5) * own)
    assert own.abs().max() > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "adversarial", "more"),
    [("all", 1.0, set()),
     ("encoder", 1.0, {"more_decoders.0", "more_decoders.1"}),
     ("decoder", 0.0, {"more_encoders.0", "more_encoders.1"}),
     ("embeddings", 0.0,
      {"more_encoders.0", "more_encoders.1", "more_decoders.0", "more_decoders.1"})],
)  # fmt: skip
def test_a_model_shares_what_it_is_told(
    mixed: Path, tmp_path: Path, share: str, adversarial: float, more: set[str]
) -> None:
    """Each part is trained, and a direction that was never seen is translated, too."""
    out = tmp_path / "train"
    options = {**OPTIONS, "max-update": 20, "total-num-update": 20}
    by = {"stop_on": "chrf", "subwords": mixed / "subword"} if share == "encoder" else {}
    train(mixed / "binary", out, options, average_last=2, share=share,  # type: ignore[arg-type]
          adversarial=adversarial, **by)  # fmt: skip
    model = load(out / "checkpoint.pt")["model"]
    parts = {".".join(name.split(".")[:2]) for name in model if name.startswith("more_")}
    assert parts == more
    for side in {name.split(".")[0] for name in more}:
        plain = side.removeprefix("more_").removesuffix("s")
        first, second = (model[f"{name}.layers.0.fc1.weight"] for name in (f"{side}.0", plain))
        assert not torch.equal(first, second)
        assert (
            model[f"{side}.0.embed_tokens.weight"].data_ptr()
            == model["encoder.embed_tokens.weight"].data_ptr()
        )
    curves = read_curves(read_lines(out / "fairseq.log"))
    told = [row.get("discriminator") for row in curves.train.values()]
    assert (None not in told) is bool(adversarial)
    # Ganin et al. 2016: 2 / (1 + e^-10p) - 1 is tanh 5p; the log has means over ten updates.
    weights = [row.get("adversarial_weight") for row in curves.train.values()]
    means = [sum(tanh(n / 4) for n in range(start, start + 10)) / 10 for start in (0, 10)]
    assert weights == (pytest.approx(means, abs=1e-3) if adversarial else [None, None])
    outputs = {}
    for direction in ("es-gl", "ca-gl", None):
        export(out / "checkpoint.pt", mixed / "subword", tmp_path / "bundle", mixed / "binary",
               direction=direction)  # fmt: skip
        bundle = Bundle.load(tmp_path / "bundle", threads=1)
        assert bundle.description.tag == "<2gl>"
        outputs[direction] = bundle.translate(["ba ce dila."])
        assert not (tmp_path / "bundle/direction.pt").exists()
    assert bundle.description.source_language == "es"
    assert outputs[None] == outputs["es-gl"]
    retrieval(out / "checkpoint.pt", mixed / "binary", mixed / "subword",
              mixed / "text/test.es", mixed / "text/test.gl", tmp_path / "found",
              directions=["es-gl", "gl-es"])  # fmt: skip
    result = json.loads((tmp_path / "found/retrieval.json").read_text())
    assert result["sentences"] == 10
    for way in ("found", "found_back"):
        assert 0 <= result[f"{way}_among_all"] <= result[way] <= 100


@pytest.mark.slow
def test_an_adversary_needs_two_sources(tmp_path: Path) -> None:
    one = bitext(tmp_path / "es-gl", "es", "gl", 60)
    other = bitext(tmp_path / "es-ca", "es", "ca", 60, seed=2)
    mix([str(one), str(other)], tmp_path / "text")
    subword(tmp_path / "text", tmp_path / "subword", vocab_size=100, workers=1)
    binarise(tmp_path / "subword", tmp_path / "binary", workers=1)
    with pytest.raises(RecipeError, match="two source languages to confuse: mix with --both true"):
        train(tmp_path / "binary", tmp_path / "train", OPTIONS, adversarial=1.0)
    other_loss = {**OPTIONS, "criterion": "cross_entropy"}
    with pytest.raises(RecipeError, match="are for arch transformer and criterion label_smoothed"):
        train(tmp_path / "binary", tmp_path / "train", other_loss, share="encoder")
    with pytest.raises(RecipeError, match="are for a single process"):
        train(tmp_path / "binary", tmp_path / "train", OPTIONS, share="encoder", processes=2)
    (tmp_path / "binary/train.pairs").unlink()
    with pytest.raises(RecipeError, match=r"is of one pair of languages; mix several"):
        train(tmp_path / "binary", tmp_path / "train", OPTIONS, share="encoder")


def test_lines_that_tell_no_language_count_neither_way(tmp_path: Path) -> None:
    """py3langid finds all languages as likely for a number; the first is not to be taken."""
    assert likeliest("123", ["es", "gl"]) is likeliest("", ["gl", "es"]) is None
    write_lines(tmp_path / "out", ["123", "", "The window is open and the door is closed."])
    write_lines(tmp_path / "ref", ["123", "", "Das Fenster ist offen und die Tür ist geschlossen."])
    off_target({"one": tmp_path / "out"}, tmp_path / "ref", "de", ["en", "de"], tmp_path / "found")
    result = json.loads((tmp_path / "found/off-target.json").read_text())
    assert result["one"] == {"lines": 3, "blank": 1, "told": 1, "off_target": 100.0,
                             "languages": {"en": 1}}  # fmt: skip
    assert result["references"]["off_target"] == 0.0
    (tmp_path / "out").write_text("\n\n\n")
    off_target({"one": tmp_path / "out"}, tmp_path / "ref", "de", ["en", "de"], tmp_path / "found")
    blank = json.loads((tmp_path / "found" / "off-target.json").read_text())["one"]
    assert blank["off_target"] is None and blank["blank"] == 3
    with pytest.raises(RecipeError, match="names a language twice"):
        off_target({"one": tmp_path / "out"}, tmp_path / "ref", "de", ["de", "deu", "en"], tmp_path)
    (tmp_path / "out").write_text("\n\n")
    with pytest.raises(RecipeError, match=r"out has 2 lines, but .*ref 3"):
        off_target({"one": tmp_path / "out"}, tmp_path / "ref", "de", ["en", "de"], tmp_path)
    with pytest.raises(RecipeError, match="cannot be called references"):
        off_target({"references": tmp_path / "out"}, tmp_path / "ref", "de", ["en", "de"], tmp_path)
    # py3langid has no Asturian, and calls Bokmål "no".
    off_target({"one": tmp_path / "ref"}, tmp_path / "ref", "ast", ["ast", "es"], tmp_path / "ast")
    assert json.loads((tmp_path / "ast/off-target.json").read_text()) == {}
    off_target({"one": tmp_path / "ref"}, tmp_path / "ref", "nb", ["nb", "de"], tmp_path / "nb")
    assert json.loads((tmp_path / "nb/off-target.json").read_text())["one"]["off_target"] == 100


def test_what_is_measured_beside_scores_is_over_seeds(tmp_path: Path) -> None:
    left = {
        "retrieval-x-1": ("Retrieve, x, seed 1", {"sentences": 9, "found": 50.0,
            "found_among_all": 20.0, "found_back": 40.0, "found_back_among_all": 0.0,
            "language_told": 90.0}),
        "retrieval-x-2": ("Retrieve, x, seed 2", {"sentences": 9, "found": 60.0,
            "found_among_all": 40.0, "found_back": 40.0, "found_back_among_all": 0.0,
            "language_told": 80.0}),
        "off-target-a-b": ("Off target, a-b", {"off_target":
            {"x-seed1": 10.0, "x-seed2": 30.0, "references": 5.0, "none": None}}),
    }  # fmt: skip
    leave = (
        "import json, sys; from pathlib import Path; from pipeline.manifest import note; "
        "note(Path(sys.argv[1]), **json.loads(sys.argv[2]))"
    )
    for name, (title, facts) in left.items():
        command = [sys.executable, "-c", leave, str(tmp_path / name), json.dumps(facts)]
        Stage("1", title, tmp_path, [], tmp_path / name, command).run(False)
    assert [*beside_scores(tmp_path)] == [
        # The standard deviation of two values is their difference by the root of 2.
        "Retrieve, x: of 9 sentences 55.00 ±7.07 % found, 40.00 ±0.00 % the other way; among those "
        "of both languages 30.00 ±14.14 %, 0.00 ±0.00 %; language told in 85.00 ±7.07 %",
        "Off target, a-b, lines in another language: x 20.00 ±14.14 %, references 5.00 %, none -",
    ]
    older = json.dumps({"sentences": 9, "found": 1.0, "found_back": 1.0, "language_told": 50.0})
    command = [sys.executable, "-c", leave, str(tmp_path / "old"), older]
    Stage("1", "Retrieve, y", tmp_path, [], tmp_path / "old", command).run(False)
    with pytest.raises(RecipeError, match="'Retrieve, y' is of an older version"):
        list(beside_scores(tmp_path))
