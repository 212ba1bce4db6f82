"""The table of recipes/backtranslation: what each way of using monolingual text gave."""

from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.manifest import Manifest, note, write_json
from score.experiment import read, signatures
from score.metrics import SEED, mean_and_spread
from score.tables import aligned

BASELINE = "bitext"


def methods(exp: Path, names: list[str], out: Path) -> None:
    """Write one row for each method: pairs, minutes, and scores of dev and test.

    Real pairs are shown with how often they were put in. Minutes are of translating and filtering
    the synthetic pairs, and of one training. The last columns say for how many seeds test is
    better (up) or worse (down) than by `bitext` of the same seed, with p < 0.05 by paired
    bootstrap. Then what each synthetic text is like.

    Example: python -m score.methods --exp exp --names '[bitext, beam]' --out exp/table

    Args:
        exp: directory of an experiment of recipes/backtranslation.
        names: the methods, `bitext` among them.
        out: directory for table.txt and table.json.

    """
    rows = [_row(exp, name) for name in names]
    made = dict.fromkeys(part for name in names for part in _synthetic(exp, name))
    texts = [_text(exp / name) for name in made]
    reverse = ["reverse", *(f"reverse-{name.partition('-')[2]}" for name in names
                            if name.startswith("iterative-"))]  # fmt: skip
    lines = [*aligned(rows), "", *(aligned(texts) if texts else []), "",
             *_signatures(exp, reverse)]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(out / "table.json", {"methods": rows, "synthetic": texts})
    note(out, methods=names)
    print(f"{out / 'table.txt'}: {len(rows)} methods")


def _synthetic(exp: Path, name: str) -> list[str]:
    return [part for part in _manifest(exp / f"data-{name}").facts["pairs"] if part != "real"]


def _text(directory: Path) -> dict[str, str]:
    """What decode.synthetic found."""
    facts = _manifest(directory).facts
    row = {
        "synthetic text": directory.name.removeprefix("synthetic-"),
        "kept": f"{facts['kept']:,}",
        "dropped": f"{sum(facts['dropped'].values()):,}",
    }
    for title, (made, real) in facts["quality"].items():
        row[title] = f"{made:.3f} (real {real:.3f})"
    return row


def _row(exp: Path, name: str) -> dict[str, str]:
    facts = _manifest(exp / f"data-{name}").facts
    pairs, upsample = dict(facts["pairs"]), facts["upsample"]
    seeds = [s for s in _systems(exp / "score-test") if SEED.sub("", s) == name]
    trained = [_manifest(exp / f"train-{seed.replace('-seed', '-')}") for seed in seeds]
    row = {
        "method": name,
        "real": f"{pairs.pop('real') // upsample:,}" + (f" ×{upsample}" if upsample > 1 else ""),
        "synthetic": f"{sum(pairs.values()):,}",
        "making": f"{sum(_minutes(exp, part) for part in pairs):.1f}",
        "training": f"{mean(manifest.minutes for manifest in trained):.1f}",
    }
    for title, scores in (("dev", exp / f"score-dev-{name}"), ("test", exp / "score-test")):
        systems = _systems(scores)
        own = [found for system, found in systems.items() if SEED.sub("", system) == name]
        for metric in ("BLEU", "chrF"):
            row[f"{title} {metric}"] = mean_and_spread([each[metric]["value"] for each in own])
    if name != BASELINE:
        for metric in ("BLEU", "chrF"):
            row[f"{metric} p<.05"] = _significant(name, systems, metric)
    return row


def _significant(name: str, systems: dict[str, Any], metric: str) -> str:
    """For how many seeds the system is better, and worse, than the baseline beyond chance."""
    ups = downs = 0
    for system, found in systems.items():
        if SEED.sub("", system) != name or found[metric]["p_value"] >= 0.05:
            continue
        against = systems[system.replace(name, BASELINE, 1)][metric]["value"]
        ups += found[metric]["value"] > against
        downs += found[metric]["value"] < against
    return " ".join(f"{count} {word}" for count, word in ((ups, "up"), (downs, "down")) if count)


def _minutes(exp: Path, synthetic: str) -> float:
    """Minutes that went into a synthetic bitext, without those of training its model."""
    manifest = _manifest(exp / synthetic)
    total = manifest.seconds
    for path in manifest.inputs(exp / synthetic):
        if path.name.startswith("shard-"):
            total += _manifest(path).seconds
    return total / 60


def _manifest(directory: Path) -> Manifest:
    manifest = Manifest.read(directory)
    if manifest is None:
        raise RecipeError(f"{directory} is not there; run the recipe's stages before this one")
    return manifest


def _systems(scores: Path) -> dict[str, Any]:
    _manifest(scores)
    return {
        name: {score["metric"]: score for score in system["scores"]}
        for name, system in read(scores)["systems"].items()
    }


def _signatures(exp: Path, models: list[str]) -> list[str]:
    found = signatures(read(exp / "score-test"))
    lines = [f"{metric}: {found[metric]}" for metric in ("BLEU", "chrF")]
    for model in models:
        for name, scores in _systems(exp / f"score-dev-{model}").items():
            values = ", ".join(f"{metric} {scores[metric]['value']:.2f}" for metric in scores)
            lines.append(f"model {name}, which made synthetic text, on dev: {values}")
    return lines


if __name__ == "__main__":
    command(methods)
