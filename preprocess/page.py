"""The report of preprocess.inspect as one page that needs nothing else: no script, no network."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from preprocess.measure import LONGEST, STEPS
from preprocess.shifts import AGREE

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --faint: #667; --line: #d5d9df; --page: #fff;
  --first: #2f6db5; --second: #d9822b; --bad: #c62f2f; --warn: #b7791f; --note: #57606a; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e6ea; --faint: #99a; --line: #3a4048;
  --page: #16191d; --first: #6aa7ee; --second: #f0a85a; --bad: #f27878; --warn: #e0b04f;
  --note: #9aa4b0; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin-top: 2.2rem;
  border-top: 1px solid var(--line); padding-top: 1rem } h3 { font-size: 1rem; margin: 0 0 .3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 }
td, th { padding: .1rem .9rem .1rem 0; text-align: right; border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left }
.examples td, .examples th { text-align: left; vertical-align: top }
ul { padding-left: 0; list-style: none } li { margin: .35rem 0 }
.error b { color: var(--bad) } .warning b { color: var(--warn) } .note b { color: var(--note) }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: start } figure { margin: 0 }
figcaption { color: var(--faint); font-size: .85rem; max-width: 26rem }
.first { fill: var(--first) } .second { fill: var(--second) }
.mark { fill: var(--bad); opacity: .25 }
svg text { fill: var(--faint); font-size: 11px } .axis { stroke: var(--line) }
.curve { fill: none; stroke: var(--first); stroke-width: 1.5 }
.key { font-size: .85rem } .key span { display: inline-block; width: .8em; height: .8em }
"""
_WIDTH, _HEIGHT, _EDGE = 420, 150, 20


def page(report: dict[str, Any]) -> str:
    """The whole page."""
    codes = report["languages"]
    title = f"Inspection of {' and '.join(codes)}"
    items = "".join(
        f'<li class="{f["severity"]}"><b>{f["severity"]}</b> {escape(f["text"])}'
        f"<br>{escape(f['advice'])}</li>"
        for f in report["findings"]
    )
    sets = "".join(_set(name, entry, codes) for name, entry in report["sets"].items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<ul>{items or '<li>Nothing found that is wrong.</li>'}</ul>{sets}</body></html>\n"
    )


def _set(name: str, entry: dict[str, Any], codes: Sequence[str]) -> str:
    sides = [entry["sides"][code] for code in codes]
    colours = ("first", "second")
    key = " ".join(
        f'<span style="background:var(--{colour})"></span> {escape(code)}'
        for code, colour in zip(codes, colours, strict=False)
    )
    plots = [
        _figure(
            _bars([side["lengths"] for side in sides], ["0", f"{LONGEST // 2}", f"{LONGEST}+"]),
            "Words a line",
            f'<span class="key">{key}</span>',
        )
    ]
    extra = ""
    if "pairs" in entry:
        plots += [
            _figure(
                _bars([entry["pairs"]["ratios"]], ["1/16", "1/4", "1", "4", "16"]),
                "Length ratio",
                f"Characters of {escape(codes[1])} over those of {escape(codes[0])}, in "
                f"steps of 1/{STEPS} of a doubling; usual is {entry['pairs']['median_ratio']}.",
            ),
            _agreement(entry),
        ]
        extra = "".join(_examples(shift, codes) for shift in entry["shifts"])
    plots.append(_figure(_table(_languages(sides, codes)), "Languages seen by py3langid", ""))
    files = ", ".join(f"<code>{escape(file)}</code>" for file in entry["files"])
    rows = [["", *codes]] + [
        [key.replace("_", " "), *(f"{side[key]:,}" for side in sides)]
        for key, value in sides[0].items()
        if isinstance(value, int)
    ]
    rows.append(["scripts", *(_shares(side["scripts"]) for side in sides)])
    if "unknown_words" in entry:
        shares = [f"{100 * entry['unknown_words'][code]:.1f} %" for code in codes]
        rows.append(["words not in train", *shares])
    if "in_train" in entry:
        rows.append(["lines in train", *(f"{entry['in_train'][c]['nearly']:,}" for c in codes)])
    pairs = [
        [key.replace("_", " "), f"{value:,}"]
        for key, value in entry.get("pairs", {}).items()
        if isinstance(value, int | float)
    ]
    return (
        f"<h2>{escape(name)}: {entry['lines']:,} lines</h2><p>{files}</p>{extra}"
        f'<div class="plots">{"".join(plots)}</div>'
        f'<div class="plots">{_table(rows)}{_table([["pairs", ""], *pairs]) if pairs else ""}</div>'
    )


def _shares(scripts: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in list(scripts.items())[:3])


def _languages(sides: Sequence[dict[str, Any]], codes: Sequence[str]) -> list[list[str]]:
    rows = [["side", "seen as", "lines", "certainty"]]
    for code, side in zip(codes, sides, strict=True):
        for seen, values in side["identified"]["languages"].items():
            certainty = f"{values['certainty']:.2f}"
            rows.append([code, seen, f"{100 * values['share']:.1f} %", certainty])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return f"<table><tr>{cells}</tr>{lines}</table>"


def _examples(shift: dict[str, Any], codes: Sequence[str]) -> str:
    head = ["line", codes[0], f"{codes[1]} beside it", f"{codes[1]} that fits"]
    rows = [[f"{row[0]:,}", *(text[:200] for text in row[1:])] for row in shift["examples"]]
    title = f"Shift at line {shift['first']:,}"
    return f'<div class="examples"><h3>{title}</h3>{_table([head, *rows])}</div>'


def _figure(drawing: str, title: str, caption: str) -> str:
    return f"<figure><h3>{title}</h3>{drawing}<figcaption>{caption}</figcaption></figure>"


def _frame(inner: str, below: Iterable[tuple[float, str]], left: str = "") -> str:
    labels = "".join(
        f'<text x="{x:.0f}" y="{_HEIGHT + 14}" text-anchor="middle">{escape(text)}</text>'
        for x, text in below
    )
    return (
        f'<svg role="img" width="{_WIDTH}" height="{_HEIGHT + _EDGE}" '
        f'viewBox="-{_EDGE} 0 {_WIDTH + 2 * _EDGE} {_HEIGHT + _EDGE}">{inner}'
        f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>{labels}'
        f'<text x="0" y="11">{escape(left)}</text></svg>'
    )


def _bars(histograms: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """Histograms side by side in one frame, on the same scale."""
    highest = max(1, *(max(histogram) for histogram in histograms))
    bins = len(histograms[0])
    width = _WIDTH / bins / len(histograms)
    bars = []
    for number, (histogram, colour) in enumerate(
        zip(histograms, ("first", "second"), strict=False)
    ):
        for place, count in enumerate(histogram):
            if count:
                height = max(0.5, count / highest * (_HEIGHT - 14))
                x = (place + number / len(histograms)) * _WIDTH / bins
                bars.append(
                    f'<rect class="{colour}" x="{x:.1f}" y="{_HEIGHT - height:.1f}" '
                    f'width="{max(width, 0.8):.2f}" height="{height:.1f}"/>'
                )
    step = _WIDTH / (len(labels) - 1)
    return _frame(
        "".join(bars),
        [(place * step, label) for place, label in enumerate(labels)],
        f"{highest:,} lines",
    )


def _agreement(entry: dict[str, Any]) -> str:
    scores = [max(0.0, score) for score in entry["agreement"]["scores"]]
    if not scores:
        return _figure("", "Do the sides agree?", "Too few lines to tell.")
    top = max(10.0, *scores)
    x = [(place + 0.5) * _WIDTH / len(scores) for place in range(len(scores))]
    y = [_HEIGHT - score / top * (_HEIGHT - 14) for score in scores]
    curve = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    chance = _HEIGHT - AGREE / top * (_HEIGHT - 14)
    marks = "".join(
        f'<rect class="mark" y="0" height="{_HEIGHT}" '
        f'x="{(shift["first"] - 1) / entry["lines"] * _WIDTH:.1f}" '
        f'width="{max(1, (shift["last"] - shift["first"]) / entry["lines"] * _WIDTH):.1f}"/>'
        for shift in entry["shifts"]
    )
    drawing = _frame(
        f'{marks}<line class="axis" x1="0" x2="{_WIDTH}" y1="{chance:.1f}" y2="{chance:.1f}"/>'
        f'<polyline class="curve" points="{curve}"/>',
        [(0, "1"), (_WIDTH, f"{entry['lines']:,}")],
        f"{math.ceil(top)} standard deviations above chance",
    )
    return _figure(
        drawing,
        "Do the sides agree?",
        "Length, numbers and last character, along the file; below the line, no better than "
        "by chance. Red: the sides are shifted.",
    )
