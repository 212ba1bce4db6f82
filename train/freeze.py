"""Parameters that training leaves as they are."""

from collections.abc import Sequence
from typing import Any


def install(beginnings: Sequence[str]) -> None:
    """Leave parameters out of the training whose names begin so, wherever fairseq makes a model.

    Names are fairseq's, as in its checkpoints; embeddings that are shared have several, and one is
    enough. A beginning that no parameter has ends the training before it starts.
    """
    from fairseq.tasks.fairseq_task import FairseqTask, LegacyFairseqTask

    for task in (FairseqTask, LegacyFairseqTask):
        _freeze_in(task, beginnings)


def _freeze_in(task: Any, beginnings: Sequence[str]) -> None:
    build = task.build_model

    def build_model(self: Any, *arguments: Any, **named: Any) -> Any:
        model = build(self, *arguments, **named)
        parameters = list(model.named_parameters(remove_duplicate=False))
        names = [name for name, _ in parameters]
        for beginning in beginnings:
            if not any(_is_in(name, beginning) for name in names):
                parts = sorted({".".join(name.split(".")[:2]) for name in names})
                raise SystemExit(
                    f"error: no parameter's name begins with {beginning!r}; there are "
                    + ", ".join(parts)
                )
        for name, parameter in parameters:
            if any(_is_in(name, beginning) for beginning in beginnings):
                parameter.requires_grad_(False)
        return model

    task.build_model = build_model


def _is_in(name: str, beginning: str) -> bool:
    return name == beginning or name.startswith(beginning.rstrip(".") + ".")
