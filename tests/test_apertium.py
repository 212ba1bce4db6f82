"""Apertium beside the models: the real program, where it is installed."""

import json
import shutil
import string
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.lines import read_lines, write_bitext
from preprocess.bitext import write_languages
from score.apertium import apertium, find_mode, translate
from score.baselines import baselines

needs_apertium = pytest.mark.skipif(
    not shutil.which("apertium") or not Path("/usr/share/apertium/modes/es-gl.mode").exists(),
    reason="needs apt-get install apertium apertium-es-gl",
)

SPANISH = [
    "Abra el archivo.", "Barra Datos de tabla", "La casa es grande", "¿Dónde está la casa?",
    "Si incluye los hiperenlaces, guarde el documento.", "Seleccione dos o más objetos...",
    "Haga clic en «Aceptar» (véase arriba).", "3,5 + 1 = 4,5 %",
]  # fmt: skip


@pytest.mark.slow
@needs_apertium
def test_each_line_as_if_it_were_alone() -> None:
    """The reference is what the program says to a text of this line alone."""
    command = ["apertium", "-u", "es-gl"]
    alone = [
        subprocess.run(command, input=line, capture_output=True, text=True, check=True).stdout
        for line in SPANISH
    ]
    found = list(translate(SPANISH, "es-gl"))
    assert found == [" ".join(text.split()) for text in alone]
    assert found[2] == "A casa é grande"


@needs_apertium
def test_whatever_is_in_a_line_it_stays_one(tmp_path: Path) -> None:
    odd = ["", "La casa xyzzyq", "  ", "*casa* ^casa$ [casa] {casa} <b>casa</b> \\ / []",
           "\u200b", "a@b.com y ~/dir", "casa^a/b<n>$", ".", "[", "\\", "..", "]\\[",
           "x" * 5_000]  # fmt: skip
    (tmp_path / "odd.es").write_text("\n".join(odd))  # no final newline
    apertium(tmp_path / "odd.es", "es", "glg_Latn", tmp_path / "out")
    found = list(read_lines(tmp_path / "out" / "apertium.txt"))
    assert len(found) == len(odd)
    assert found[:4] == ["", "A casa xyzzyq", "", odd[3]]  # casa is casa; no mark at the unknown
    assert found[5] == "a@b.com e ~/dir" and found[7:] == odd[7:]
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert facts["mode"] == "es-gl" and facts["version"].startswith("Apertium 3")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    write_languages(tmp_path, "es", "gl")
    for name in ("train", "test"):
        write_bitext(tmp_path / f"{name}.es", tmp_path / f"{name}.gl", [("La casa es grande", "A")])
    return tmp_path


@needs_apertium
def test_a_row_of_the_table_where_it_is_installed(house: Path, tmp_path: Path) -> None:
    baselines(house, tmp_path)
    assert list(read_lines(tmp_path / "apertium.txt")) == ["A casa é grande"]
    assert json.loads((tmp_path / "facts.json").read_text())["rules"].endswith(", es-gl")


def test_no_row_where_it_is_not(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "apertium.txt").touch()  # of an earlier run
    monkeypatch.setenv("PATH", "/nowhere")
    baselines(house, tmp_path)
    assert not (tmp_path / "apertium.txt").exists()
    assert "no row of rules: apertium is missing; apt-get install" in capsys.readouterr().out
    assert json.loads((tmp_path / "facts.json").read_text())["rules"] is None


@needs_apertium
def test_signs_come_through() -> None:
    signs = string.punctuation + "«»“”…–€"
    lines = [f"zzq{sign}zzq {sign} zzq {sign}zzq zzq{sign}" for sign in signs]
    assert list(translate(lines, "es-gl")) == lines


@needs_apertium
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["", *SPANISH[:3], ""]
    whole = list(translate(lines, "es-gl"))
    monkeypatch.setattr("score.apertium._BLOCK_LINES", 2)
    assert list(translate(lines, "es-gl")) == whole


@needs_apertium
def test_a_pair_that_is_not_there() -> None:
    assert find_mode("glg", "spa") == "gl-es"
    with pytest.raises(RecipeError, match=r"without Zulu to Galician; apt-get install apertium-zu"):
        find_mode("zu", "gl")
    with pytest.raises(RecipeError, match="apertium -f none -z -u no-no failed"):
        list(translate(["casa"], "no-no"))


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "text").write_text("casa\n")
    with pytest.raises(RecipeError, match="apertium is missing; apt-get install apertium and"):
        apertium(tmp_path / "text", "es", "gl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
