"""COMET (Rei et al. 2020): a model that was taught how people judge translations.

Its package cannot be installed beside ours (comet.txt says why), so another Python runs it. The
score of a system is the mean over lines; intervals and p-values are those of that mean.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import RecipeError
from pipeline.manifest import file_record
from score import comet_main
from score.measures import Counts, Shares

ENVIRONMENT = Path(__file__).resolve().parents[1] / ".venv-comet" / "bin" / "python"


class Comet(Shares):
    """COMET of these systems, times 100; the model is loaded once for all of them."""

    def __init__(
        self,
        model: Path,
        sources: Sequence[str],
        references: Sequence[str],
        systems: Mapping[str, Sequence[str]],
    ) -> None:
        """Score all systems.

        Args:
            model: checkpoint, in a folder `checkpoints` beside which hparams.yaml is.
            sources: source lines.
            references: reference lines.
            systems: hypotheses of each system.

        Raises RecipeError if the model or COMET's environment is not there, or COMET fails.

        """
        model = model.resolve()
        if not model.is_file() or not (model.parents[1] / "hparams.yaml").is_file():
            raise RecipeError(
                f"{model} is no COMET model: that is a file checkpoints/model.ckpt, and "
                "hparams.yaml beside the folder. With network, this says where it has put one: "
                '.venv-comet/bin/python -c "from comet import download_model as get; '
                "print(get('Unbabel/wmt22-comet-da'))\""
            )
        if not ENVIRONMENT.is_file():
            raise RecipeError(
                f"COMET has an environment of its own, {ENVIRONMENT.parents[1]}, which is not "
                "there: python3.11 -m venv .venv-comet && .venv-comet/bin/pip install -r comet.txt"
            )
        lines = [
            [
                {"src": source, "mt": line, "ref": reference}
                for source, line, reference in zip(sources, hypotheses, references, strict=True)
            ]
            for hypotheses in systems.values()
        ]
        task = {"model": str(model), "systems": lines}
        with tempfile.TemporaryDirectory() as place:
            answer = Path(place) / "scores.json"
            done = subprocess.run(
                [ENVIRONMENT, "-P", comet_main.__file__, answer],
                input=json.dumps(task), text=True, stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RecipeError(
                    f"COMET failed (exit code {done.returncode}); its words are above"
                )
            scores: Counts = np.array(json.loads(answer.read_text()), dtype=np.float64)
        if not np.isfinite(scores).all():
            line = int(np.argwhere(~np.isfinite(scores))[0][1]) + 1
            raise RecipeError(f"COMET gave no number for line {line}; is {model} whole?")
        self._scores = dict(zip(map(tuple, systems.values()), scores, strict=True))
        files = (model, model.parents[1] / "hparams.yaml")
        digest = "+".join(file_record(path).sha256[:12] for path in files)
        self.signature = f"nrefs:1|model:{model.parents[1].name}|sha256:{digest}|prec:32|x100"

    def count(self, hypotheses: Sequence[str]) -> Counts:
        """Score and 1 for each line."""
        scores = self._scores[tuple(hypotheses)]
        return np.stack([scores, np.ones(len(scores))], axis=1)
