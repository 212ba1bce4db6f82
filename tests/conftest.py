"""Shared fixtures: one toy experiment, run by the real quick start, serves all slow tests."""

import subprocess
from pathlib import Path

import pytest
import toy
from hypothesis import settings

# The first example pays for tables that all later ones use.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

REPOSITORY = Path(__file__).resolve().parent.parent
QUICKSTART = REPOSITORY / "recipes" / "quickstart" / "run.sh"
TEMPLATE = REPOSITORY / "recipes" / "template" / "run.sh"


class Recipe:
    """The quick start on a toy bitext of 600 pairs."""

    def __init__(self, directory: Path, script: Path = QUICKSTART) -> None:
        self.script = script
        self.exp = directory / "exp"
        self.tsv = toy.write_tsv(directory / "toy.tsv", 600)

    def command(self, *options: str) -> list[str]:
        """The command line of a run."""
        settings = {
            "train": f"file:{self.tsv}",
            "vocab_size": "150",
            "updates": "30",
            "train_config": str(REPOSITORY / "tests" / "toy.yaml"),
        }
        sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return [str(self.script), "--exp-dir", str(self.exp), *sets, *options]

    def run(self, *options: str, code: int = 0) -> str:
        """Run it, check the exit code, and return what it printed."""
        result = subprocess.run(
            self.command(*options),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.exp.parent,
        )
        assert result.returncode == code, result.stdout
        return result.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file, so that those who share the work end together."""
    items.sort(key=lambda item: item.path.name != "test_multi30k.py")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A finished toy experiment, in a directory with a space and a comma. Do not change it."""
    directory = tmp_path_factory.mktemp("toy") / "a dir, with comma é"
    directory.mkdir()
    recipe = Recipe(directory)
    recipe.run()
    return recipe
