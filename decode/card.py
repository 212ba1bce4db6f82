"""MODEL_CARD.md of a bundle (Mitchell et al. 2019): what the model is, from manifests."""

from pathlib import Path
from typing import Any

from pipeline.languages import find
from pipeline.manifest import Manifest, ancestors

CARD = "MODEL_CARD.md"


def card(
    src: str,
    tgt: str,
    quantization: str,
    pairs: int | None,
    training: Path,
    text: Path,
    family: str | None = None,
    pretrained: str | None = None,
) -> str:
    """The card of a model, as Markdown.

    `training` is the directory of its checkpoint, `text` that of its subwords; `family` and
    `pretrained` say what a model of Hugging Face is and began with. What no manifest says is left
    out.
    """
    manifest = Manifest.read(training)
    facts: dict[str, Any] = manifest.facts if manifest else {}
    source, target = find(src).name, find(tgt).name
    lines = [
        f"# {source} to {target}",
        "",
        f"Translates {source} (`{src}`) to {target} (`{tgt}`); weights in {quantization}.",
        "",
        "    echo '...' | python -m decode.translate --bundle THIS-DIRECTORY",
        "",
        "## Training",
        *([f"- model: {family} of Hugging Face, {_origin(pretrained)}"] if family else []),
        *([f"- text: {pairs:,} pairs"] if pairs else []),
        *(
            f"- from {source['url']} (sha256 {source['sha256']})"
            for _, stage in ancestors(text)
            for source in stage.facts.get("sources", [])
        ),
    ]
    if manifest:
        lines.append(f"- {manifest.started[:10]}, {manifest.minutes:.1f} minutes on "
                     f"{manifest.host['cores']} cores ({facts.get('device', 'CPU')})")  # fmt: skip
    for fact in ("parameters", "updates", "seed", "dev_perplexity", "preset"):
        if facts.get(fact):
            number = facts[fact]
            shown = f"{number:,}" if isinstance(number, int) else str(number)
            lines.append(f"- {fact.replace('_', ' ')}: {shown}")
    lines += [f"- {name}: {value}" for name, value in facts.get("options", {}).items()]
    return "\n".join([
        *lines,
        "",
        "## Evaluation",
        "Scores on test sets, with signatures and confidence intervals, are in the experiment's",
        "report.html; the bundle was made before them.",
        "",
        "## Limits",
        f"Trained on the text above{', after the pretraining' if pretrained else ' alone'}: other",
        "domains, registers and spellings are translated worse, names and numbers may change, and",
        "what the text says of people it may repeat. It may be used as the licences of that text",
        f"{'and of the pretrained model allow' if pretrained else 'allow'}.",
        "",
    ])  # fmt: skip


def _origin(pretrained: str | None) -> str:
    return f"pretrained: {pretrained}" if pretrained else "not pretrained"
