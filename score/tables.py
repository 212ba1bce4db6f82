"""Tables from the same rows for a terminal, Markdown, a spreadsheet and LaTeX."""

import csv
import io
import re
from collections.abc import Sequence

Row = dict[str, str]

_LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
          "±": r"$\pm$", "<": "$<$", ">": "$>$", "–": "--"}  # fmt: skip


def columns(rows: Sequence[Row]) -> list[str]:
    """Titles of all columns, in the order in which they first come."""
    return list(dict.fromkeys(title for row in rows for title in row))


def aligned(rows: Sequence[Row]) -> list[str]:
    """Lines for a terminal: the first column to the left, the others to the right."""
    titles = columns(rows)
    cells = [titles, *([row.get(title, "") for title in titles] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def markdown(rows: Sequence[Row]) -> list[str]:
    """A pipe table."""
    titles = columns(rows)
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    lines += [[row.get(title, "") for title in titles] for row in rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def comma_separated(rows: Sequence[Row]) -> list[str]:
    """RFC 4180, without its carriage returns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n").split("\n")


def latex(rows: Sequence[Row]) -> list[str]:
    """A tabular with the rules of booktabs, to be pasted into a table."""
    titles = columns(rows)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(_escaped, cells)) + r" \\"

    return [
        rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}",
        r"\toprule",
        line(titles),
        r"\midrule",
        *(line([row.get(title, "") for title in titles]) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _escaped(cell: str) -> str:
    return re.sub(r"[&%#_${}~^\\±<>–]", lambda match: _LATEX[match[0]], cell)


FORMS = {"table": aligned, "markdown": markdown, "csv": comma_separated, "latex": latex}
