"""Bundles of Hugging Face's models, held against transformers' own generate."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

from decode.backtranslate import backtranslate, read_synthetic
from decode.bundle import Bundle
from decode.export import export
from decode.huggingface import PretrainedCodec, Translation
from decode.search import Search
from pipeline.errors import RecipeError
from train.families import end_of
from train.hub import library

pytestmark = [
    pytest.mark.slow,
    # Of transformers 5, whoever uses an encoder-decoder.
    pytest.mark.filterwarnings("ignore:Version v4.12.0 introduces:FutureWarning"),
]
BY_TRANSFORMERS = ("encoder_decoder",)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Directory of a family's model, made when it is first asked for."""
    directory, made = tmp_path_factory.mktemp("tiny models, é"), dict[str, Path]()

    def model(family: str) -> Path:
        if family not in made:
            made[family] = tiny.save(family, directory / family, updates=120)
            export(made[family], None, directory / family / "bundle")
        return made[family]

    return model


def generate(model: Path, lines: list[str], beam: int, limit: int) -> list[tuple[str, bool]]:
    """What transformers make of lines with our settings of the search, and whether it ended."""
    facts = Translation.read(model)
    transformers = library()
    own = transformers.AutoModelForSeq2SeqLM.from_pretrained(model).eval()
    tokeniser = transformers.AutoTokenizer.from_pretrained(model)
    if facts.source_token:
        tokeniser.src_lang = facts.source_token
    forced = tokeniser.convert_tokens_to_ids(facts.target_token) if facts.target_token else None
    batch = tokeniser([facts.prefix + line for line in lines], return_tensors="pt", padding=True)
    ids = own.generate(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], num_beams=beam,
        do_sample=False, max_new_tokens=limit, min_new_tokens=1 + bool(forced),
        early_stopping=beam > 1, forced_bos_token_id=forced,
        suppress_tokens=[tokeniser.pad_token_id],
    )  # fmt: skip
    # M2M-100's tokeniser leaves names of languages in.
    texts = tokeniser.batch_decode(ids, skip_special_tokens=True)
    ended = [bool((row[2:] == end_of(tokeniser)).any()) for row in ids]
    return [(re.sub("__[a-z]+__", "", text).strip(), end)
            for text, end in zip(texts, ended, strict=True)]  # fmt: skip


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_outputs_are_those_of_transformers(models: Any, family: str) -> None:
    # An output's limit is the same for all lines, whatever batch they come in.
    model, lines = models(family), tiny.LINES[:50]
    for beam in (1, 5):
        bundle = Bundle.load(model.parent / "bundle", 1, Search(beam=beam))
        limit = bundle.description.max_output_subwords = 36 if family == "byt5" else 22
        found = [hypotheses[0] for hypotheses in bundle.stream(lines)]
        theirs = generate(model, lines, beam, limit)
        # Among hypotheses without an end, the two take each another where the beam is cut; and
        # outputs in bytes are long, so that more of them are.
        pairs = [(ours.text, text) for ours, (text, ended) in zip(found, theirs, strict=True)
                 if beam == 1 or (ended and not ours.cut)]  # fmt: skip
        different = [pair for pair in pairs if pair[0] != pair[1]]
        # And what may not be chosen leaves its probability to the rest in CTranslate2 alone.
        allowed = 0 if beam == 1 else len(pairs) // (5 if family == "byt5" else 25)
        assert len(pairs) > 20 and len(different) <= allowed, (beam, len(pairs), different)
    assert len({text for text, _ in theirs}) > 5
    assert (model.parent / "bundle" / "transformers").is_dir() is (family in BY_TRANSFORMERS)


ODD = ["", "  ", "\u200b", "guru\rtetela\u2028sa\x85.", "</s> <pad> <s> <extra_id_0> __es__ >>ca<<",
       "語 😀 e\u0301", " ".join(tiny.LINES[:40])]  # fmt: skip


@pytest.mark.parametrize("family", ["t5", "byt5", "marian", "m2m_100", "nllb", "encoder_decoder"])
def test_blank_odd_and_long_lines(models: Any, family: str) -> None:
    bundle = Bundle.load(models(family).parent / "bundle", 1, Search(beam=1))
    outputs = bundle.translate([*ODD, tiny.LINES[0]])
    assert outputs[:3] == ["", "", ""] and len(outputs) == len(ODD) + 1
    assert outputs[-1][:15] == bundle.translate([tiny.LINES[0]])[0][:15]
    assert bundle.counts.split >= 1 and bundle.counts.blank == 2
    specials = set(bundle.codec.tokeniser.all_special_tokens) - {"<unk>", "[UNK]"}
    assert not specials & set(bundle.codec.encode([ODD[4]], "es")[0])
    assert all("\n" not in output for output in outputs)
    parts = bundle.codec.encode([ODD[-1]], "es")[0]
    assert len(parts) > bundle.description.max_source_subwords


def test_a_bert_gives_running_text(models: Any) -> None:
    codec = Bundle.load(models("encoder_decoder").parent / "bundle", 1).codec
    line = "Ábc, déf! (1)"
    pieces = codec.encode([line], "es")[0]
    assert codec.decode(pieces) == "Ábc, déf! ( 1 )" and codec.restore(pieces, "es") == line


@pytest.mark.parametrize("family", ["t5", "marian", "m2m_100"])
def test_text_is_of_the_form_of_the_training_text(models: Any, family: str, tmp_path: Path) -> None:
    """Steps of preprocess.clean go with the model; and spaces stay, whatever it says of them."""
    made = shutil.copytree(models(family), tmp_path / "model")
    said = json.loads((made / "translation.json").read_text())
    (made / "translation.json").write_text(
        json.dumps({**said, "normalise": {"es": ["nfkc", "quotes"], "ca": []}})
    )
    settings = json.loads((made / "tokenizer_config.json").read_text())
    settings["clean_up_tokenization_spaces"] = True
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    codec = PretrainedCodec(made)
    assert codec.encode(["“guru ½”"], "es") == codec.encode(['"guru 1⁄2"'], "es")
    assert codec.encode(["“guru ½”"], "ca") != codec.encode(['"guru 1⁄2"'], "ca")
    assert codec.decode(codec.encode(["déf ! , ."], "es")[0]) == "déf ! , ."


@pytest.mark.parametrize("family", ["m2m_100", "mbart"])
def test_every_output_begins_with_the_target_language(models: Any, family: str) -> None:
    bundle = Bundle.load(models(family).parent / "bundle", 1)
    token = bundle.codec.translation.target_token
    assert bundle.frame.target == (token,)
    source = bundle.frame.around(bundle.codec.encode([tiny.LINES[0]], "es")[0])
    result = bundle.translator.translate_batch([source], [[token]])[0]
    assert result.hypotheses[0][0] == token
    assert token not in bundle.translate(tiny.LINES[:1])[0]
    settings = models(family) / "translation.json"
    text = settings.read_text()
    settings.write_text(text.replace(token, "xx_XX"))
    with pytest.raises(RecipeError, match="knows no target_token 'xx_XX'"):
        export(models(family), None, models(family).parent / "wrong")
    settings.write_text(text)


@pytest.mark.parametrize("family", ["m2m_100", "encoder_decoder"])
def test_sampling_n_best_and_prefixes(models: Any, family: str) -> None:
    directory, lines = models(family).parent / "bundle", tiny.LINES[:20]

    def found(search: Search) -> list[list[tuple[str, float | None]]]:
        outputs = Bundle.load(directory, 1, search).stream(lines)
        return [[(one.text, one.score) for one in hypotheses] for hypotheses in outputs]

    drawn = Search(sampling=True, n_best=3)
    assert found(drawn) == found(drawn) != found(replace(drawn, seed=2))
    assert any(len({text for text, _ in several}) > 1 for several in found(drawn))
    best = found(Search(beam=4, n_best=4))
    for several in best:
        scores = [score for _, score in several if score is not None]
        assert scores == sorted(scores, reverse=True) and len(scores) == 4 and max(scores) < 0
    assert [one[0][0] for one in found(Search(beam=1))] == [
        one[0][0] for one in found(Search(sampling=True, top_k=1))
    ]
    assert all(one[0][0].startswith("gu") for one in found(Search(beam=2, prefix="guru")))


def test_a_bundle_stands_alone(models: Any, tmp_path: Path) -> None:
    for family in ("marian", "encoder_decoder"):
        made = tmp_path / f"{family} made"
        model = shutil.copytree(models(family), tmp_path / family)
        export(model, None, made)
        before = Bundle.load(made, 1).translate(tiny.LINES[:5])
        shutil.rmtree(model)
        moved = shutil.move(made, tmp_path / "else where, é" / family)
        assert Bundle.load(Path(moved), 1).translate(tiny.LINES[:5]) == before
        card = (Path(moved) / "MODEL_CARD.md").read_text()
        assert f"- model: {family.replace('_', '-')} of Hugging Face, not pretrained" in card
        assert not [path for path in Path(moved).rglob("*") if path.suffix in (".pt", ".pkl")]


def test_the_command(models: Any) -> None:
    command = [sys.executable, "-m", "decode.translate", "--bundle",
               str(models("m2m_100").parent / "bundle")]  # fmt: skip
    done = subprocess.run(command, input=b"guru tetela.\r\n\n", capture_output=True)
    lines = done.stdout.decode().split("\n")
    assert done.returncode == 0 and len(lines) == 3 and lines[0] and not lines[1]


def test_back_translation_in_two_processes(models: Any, tmp_path: Path) -> None:
    bundle = models("encoder_decoder").parent / "bundle"
    shard = tmp_path / "shard.tsv"
    shard.write_text("".join(f"{n}\t{line}\n" for n, line in enumerate(tiny.LINES[:9], 1)))
    backtranslate(shard, tmp_path / "out", bundle, threads=2)
    rows = list(read_synthetic(tmp_path / "out" / "synthetic.tsv"))
    assert [row.translation for row in rows] == Bundle.load(bundle, 1).translate(tiny.LINES[:9])
    assert rows[0].score is not None and rows[0].score < 0


def test_int8_and_what_is_refused(models: Any, tmp_path: Path) -> None:
    export(models("marian"), None, tmp_path / "int8", quantization="int8")
    assert Bundle.load(tmp_path / "int8", 1).translate(["guru tetela."])[0]
    with pytest.raises(RecipeError, match="transformers will decode it, in float32: leave out"):
        export(models("encoder_decoder"), None, tmp_path / "no", quantization="int8")
    with pytest.raises(RecipeError, match="has a tokeniser of its own"):
        export(models("marian"), tmp_path, tmp_path / "no")
    with pytest.raises(RecipeError, match="needs --subwords"):
        export(tmp_path / "checkpoint.pt", None, tmp_path / "no")
    with pytest.raises(RecipeError, match="knows no tag <BT>"):
        Bundle.load(models("marian").parent / "bundle", 1, Search(tag="<BT>"))
    broken = shutil.copytree(models("marian"), tmp_path / "broken")
    facts = json.loads((broken / "translation.json").read_text())
    (broken / "translation.json").write_text(json.dumps({**facts, "max_source_tokens": 2}))
    with pytest.raises(RecipeError, match="leaves no room for text"):
        export(broken, None, tmp_path / "no")
    del facts["prefix"]
    (broken / "translation.json").write_text(json.dumps(facts))
    with pytest.raises(RecipeError, match=r"does not say how the model translates .*prefix"):
        export(broken, None, tmp_path / "no")


def test_a_conversion_that_changes_the_model_is_found(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decode import converter

    original = converter._Converter._load

    def other(self: Any) -> Any:
        spec = original(self)
        spec.decoder.layer_norm.gamma = spec.decoder.layer_norm.gamma * 1.01
        return spec

    monkeypatch.setattr(converter._Converter, "_load", other)
    export(models("m2m_100"), None, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "transformers").is_dir()
    whole = Bundle.load(models("m2m_100").parent / "bundle", 1).translate(tiny.LINES[:20])
    assert Bundle.load(tmp_path / "bundle", 1).translate(tiny.LINES[:20]) == whole


def test_without_the_library(models: Any) -> None:
    script = (
        "import sys; sys.modules['transformers'] = None\n"
        "from decode.bundle import Bundle; from pathlib import Path\n"
        f"Bundle.load(Path({str(models('marian').parent / 'bundle')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install -c constraints.txt -e '.[huggingface]'" in done.stderr
