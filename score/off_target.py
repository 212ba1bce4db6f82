"""How many lines came out in another language than asked for, as zero-shot translation does."""

from collections import Counter
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines
from pipeline.manifest import note, write_json
from preprocess.filters import identifiable, identifier, told_as


def likeliest(line: str, among: list[str]) -> str | None:
    """The language of these that py3langid (Lui & Baldwin 2012) holds a line for.

    None where two are as likely, as for "OK" or "123".
    """
    found = identifier(line)
    shares = {code: found.get(told_as(code), 0.0) for code in among}
    first, second = sorted(shares.values(), reverse=True)[:2]
    return None if first == second else max(among, key=shares.__getitem__)


def off_target(
    systems: dict[str, Path], references: Path, target_language: str, among: list[str], out: Path
) -> None:
    """Count the lines of each system in another language than the target (Zhang et al. 2020).

    The references are counted as well, as a system of their own: close relatives are mistaken for
    each other, and no system can be told to be better than that. Lines without a word that tells
    are in no language, and count neither way; blank ones are given by number.

    Example: python -m score.off_target --systems.zero exp/zero/hypotheses.txt
    --references test.gl --target-language gl --among '[gl, ca, es]' --out exp/off-target

    Args:
        systems: file of hypotheses for each system, by name.
        references: what the lines should have become.
        target_language: code of the language asked for.
        among: codes of the languages that the model knows, the target's among them (Norwegian as
            nb: YAML takes no for false). Nothing is counted if py3langid does not know one.
        out: directory for off-target.json.

    """
    if len({told_as(code) for code in among}) < len(among):
        raise RecipeError(f"among {among} names a language twice")
    if target_language not in among or len(among) < 2:
        raise RecipeError(f"among {among} should be {target_language} and another language")
    wanted = sum(1 for _ in read_lines(references))
    if "references" in systems:
        raise RecipeError("a system cannot be called references; give it another name")
    result = {}
    files = {**systems, "references": references}
    for code in among:
        if not identifiable(code):  # at the end of a recipe no reason to fail
            print(f"py3langid does not know {find(code).name}: no language is told")
            files = {}
    for name, path in files.items():
        lines = list(read_lines(path))
        if len(lines) != wanted:
            raise RecipeError(
                f"{path} has {len(lines):,} lines, but {references} {wanted:,}; translate it again"
            )
        blank = sum(not line.strip() for line in lines)
        found = Counter(told for line in lines if (told := likeliest(line, among)))
        off = 100 * (1 - found[target_language] / found.total()) if found else None
        result[name] = {"lines": len(lines), "blank": blank, "told": found.total(),
                        "off_target": off, "languages": dict(found)}  # fmt: skip
        counts = [f"{count:,} {code}" for code, count in found.most_common()]
        counts += [f"{blank:,} blank"] if blank else []
        share = "    -" if off is None else f"{off:5.1f}"
        print(f"{name:<24} {share} % off target ({', '.join(counts)})")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "off-target.json", result)
    note(out, off_target={name: row["off_target"] for name, row in result.items()})


if __name__ == "__main__":
    command(off_target)
