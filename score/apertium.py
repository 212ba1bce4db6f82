"""Apertium's rule-based translation (Forcada et al. 2011), for a model to be compared with."""

import re
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from pipeline.command import command
from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.lines import read_lines, write_lines
from pipeline.manifest import note
from pipeline.progress import progress

# Lines that one run of the program translates.
_BLOCK_LINES = 1_000
# Characters that mean something in Apertium's own format. A backslash makes them text; but not @
# and ~, which its generator takes for marks, so that they travel as blanks, in brackets.
_SPECIAL = re.compile(r"[\[\]{}^$/\\<>@~]")
# Apertium's own reader of text, too, puts a full stop after a paragraph, which ends the sentence,
# and a blank, without which a full stop gets lost. So a line comes out as if it were alone.
_STOP = ".[]"
_BACK = re.compile(r"\\(.)|[\[\]]", re.DOTALL)


def apertium(source: Path, source_language: str, target_language: str, out: Path) -> None:
    """Translate a text with Apertium, one line for each line.

    Needs Debian's packages apertium and that of the pair, such as apertium-es-gl. Words that its
    dictionaries do not have stay as they are.

    Writes apertium.txt, to be scored beside a model.

    Example: python -m score.apertium --source exp/clean/test.es --source-language es
    --target-language gl --out exp/apertium

    Args:
        source: text, one sentence a line.
        source_language: its language, as an ISO 639, BCP 47 or FLORES code.
        target_language: language to translate into.
        out: directory for the translation.

    """
    mode = find_mode(source_language, target_language)
    lines = list(read_lines(source))
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / "apertium.txt", progress(translate(lines, mode), mode, "lines", len(lines)))
    note(out, mode=mode, version=version(), lines=len(lines))


def find_mode(source: str, target: str) -> str:
    """Apertium's name of a translation direction, such as es-gl or spa-cat.

    Raises RecipeError with the package to install if the program or the pair is missing.
    """
    one, other = find(source), find(target)
    names = [
        f"{a}-{b}" for a, b in product((one.moses, one.iso3), (other.moses, other.iso3)) if a and b
    ]
    installed = _run(["-l"]).split()
    for name in names:
        if name in installed:
            return name
    raise RecipeError(
        f"Apertium is here without {one.name} to {other.name}; apt-get install "
        f"apertium-{names[0]}, or what apt-cache search '^apertium-' has under "
        f"{one.iso3} and {other.iso3}, in either order"
    )


def version() -> str:
    """What Apertium says that it is."""
    return _run(["-V"]).strip()


def translate(lines: list[str], mode: str) -> Iterator[str]:
    """Yield a translation for each line; a blank one for a blank one."""
    for start in range(0, len(lines), _BLOCK_LINES):
        block = lines[start : start + _BLOCK_LINES]
        asked = [" ".join(line.split()) for line in block]
        sent = [_SPECIAL.sub(_escaped, line) for line in asked if line]
        if not sent:
            yield from asked
            continue
        found = _run(["-f", "none", "-z", "-u", mode], "".join(f"{line}{_STOP}\0" for line in sent))
        # After NUL, the whole chain translates what it has before it reads on; each program adds
        # one more when it ends.
        parts = found.rstrip("\n\0").split("\0")
        if len(parts) != len(sent):
            raise RecipeError(
                f"Apertium gave {len(parts):,} translations for the {len(sent):,} lines after line "
                f"{start:,} that are not blank; look what apertium -u {mode} says to them"
            )
        answers = iter(parts)
        for line in asked:
            answer = next(answers).removesuffix(_STOP) if line else ""
            yield " ".join(_BACK.sub(lambda match: match[1] or "", answer).split())


def _escaped(match: re.Match[str]) -> str:
    return f"[{match[0]}]" if match[0] in "@~" else f"\\{match[0]}"


def _run(options: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            ["apertium", *options], input=text.encode(), capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise RecipeError(
            "apertium is missing; apt-get install apertium and the package of the pair, "
            "such as apertium-es-gl"
        ) from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().split("\n")[-1]
        raise RecipeError(f"apertium {' '.join(options)} failed ({said}); run it by hand")
    return done.stdout.decode()


if __name__ == "__main__":
    command(apertium)
