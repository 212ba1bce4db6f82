"""Pictures for a page, as SVG that takes its colours from the page, light or dark."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, isfinite, log10

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE = 640, 280, 52, 40, 12


def curves(lines: Mapping[str, Points], across: str, up: str) -> str:
    """A plot with a line for each name; the page gives .line0, .line1 … their colours."""
    lines = {name: [(x, y) for x, y in line if isfinite(y)] for name, line in lines.items()}
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    right = max(x for x, _ in points) or 1.0
    low, high = min(y for _, y in points), max(y for _, y in points)
    step = _step((high - low) or 1.0)
    low = low // step * step
    high = max(ceil(high / step) * step, low + step)

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - 10, _HEIGHT - _BELOW - _ABOVE
        return _LEFT + x / right * width, _ABOVE + (high - y) / (high - low) * height

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(up)}">']
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        x, y = place(0, value)
        parts.append(
            f'<line class="grid" x1="{x:.0f}" x2="{_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{x - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    every = _step(right)
    for number in range(int(right / every) + 1):
        x, y = place(number * every, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.0f}" text-anchor="middle">'
                     f"{number * every:,g}</text>")  # fmt: skip
    middle = (_LEFT + _WIDTH) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>'
    )
    for number, (name, line) in enumerate(lines.items()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line)
        parts.append(f'<polyline class="line{number}" points="{path}"/>')
        parts.append(f'<text class="name{number}" x="{_WIDTH - 16}" y="{_ABOVE + 16 + 18 * number}"'
                     f' text-anchor="end">{escape(name)}</text>')  # fmt: skip
    return "".join([*parts, "</svg>"])


def _step(reach: float) -> float:
    """A round distance between marks, of which some four to eight are needed."""
    rough = reach / 5
    power: float = 10.0 ** int(log10(rough) // 1)
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
