"""Keeps the settings with a training, which may not go on with others."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.manifest import write_json

NAME = "settings.json"


def refuse_changes(out: Path, settings: dict[str, Any], begun: bool) -> None:
    """Write the settings into `out`; RecipeError if a training there has `begun` with others."""
    path, now = out / NAME, {name: str(value) for name, value in settings.items()}
    if path.exists() and begun:
        before = json.loads(path.read_text(encoding="utf-8"))
        changes = [
            f"{name} from {before.get(name, 'unset')} to {now.get(name, 'unset')}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changes:
            raise RecipeError(
                f"{out} holds a training with other settings: {'; '.join(changes)}. "
                "Take the change back to go on with it, or delete the directory to start anew"
            )
    write_json(path, now)
