"""The Pareto plots of a class as inline SVG: metric against time, and metric against size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Final

from fleetctl.build.html.scale import Axis, linear, logarithmic
from fleetctl.output import size
from modelfleet_build.report import BuildReport, ClassReport, VariantReport
from modelfleet_core.release.manifest import Measurements

WIDTH: Final = 520
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 18, 14, 44
_LABEL_HEIGHT: Final = 14
_LETTER: Final = 6.7


@dataclass(frozen=True, slots=True)
class Point:
    """One variant in a plot; `low` and `high` are the ends of its spread."""

    name: str
    kind: str
    x: float
    low: float
    high: float
    y: float
    chosen: bool
    accepted: bool
    front: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that a plot shows besides its points.

    Attributes:
        title: What it is called for those who cannot see it.
        x_title: Under the axis.
        band: Where the float variant lies against itself (the median over the variants' controls, each of
            which is in the table), None where that was not measured.
        budget: Least metric in percent, None where it lies outside.
    """

    title: str
    x_title: str
    band: tuple[float, float] | None
    budget: float


def plots(report: BuildReport, item: ClassReport) -> list[tuple[str, str]]:
    """(caption, svg) of the plots that a class's numbers allow."""
    made: list[tuple[str, str]] = []
    measured = [v for v in item.variants if v.measurements is not None]
    if not measured:
        return made
    metric = measured[0].measurements.metric if measured[0].measurements is not None else ""
    budget = 100 * report.parent.value - report.max_drop_points
    least = max(2 * report.max_drop_points, 6 * (report.parent.points_per_sample or 0.0), 1e-6)
    timed = [point for v in measured if (point := _timed(v)) is not None]
    if any(point.low < point.high for point in timed):
        controls = [v.control for v in measured if v.control is not None]
        band = (median(c.low for c in controls), median(c.high for c in controls)) if controls else None
        values = [x for p in timed for x in (p.low, p.high)] + list(band or ())
        axis = logarithmic(values, _LEFT, WIDTH - _RIGHT, lambda t: f"×{t:.10g}", least=1.5)
        frame = Frame(f"{metric} against time, {item.name}", "time / time of the float variant", band, budget)
        made.append((f"{metric} % against latency ratio", _svg(frame, timed, axis, least)))
    sized = [point for v in measured if (point := _sized(v)) is not None]
    axis = logarithmic([p.x for p in sized], _LEFT, WIDTH - _RIGHT, _round_size, least=2.0)
    frame = Frame(f"{metric} against size, {item.name}", "size of the runtime's files", None, budget)
    made.append((f"{metric} % against size", _svg(frame, sized, axis, least)))
    return made


def mini(m: Measurements, low: float, high: float, band: tuple[float, float] | None, kind: str) -> str:
    """A ratio with its spread on a common axis from `low` to `high`, for a cell of a table."""
    axis = Axis(low, high, 4, 116, True, (), str)
    ratio, begin, end = m.latency_ratio, m.latency_ratio_low, m.latency_ratio_high
    if ratio is None or begin is None or end is None:
        return ""
    parts = [f'<svg class="mini" viewBox="0 0 120 16" aria-hidden="true"><g class="{escape(kind)}">']
    if band is not None:
        x, width = axis.at(band[0]), axis.at(band[1]) - axis.at(band[0])
        parts.append(f'<rect class="band" x="{x:.1f}" y="1" width="{max(width, 1):.1f}" height="14"/>')
    parts.append(f'<line class="grid" x1="{axis.at(1):.1f}" x2="{axis.at(1):.1f}" y1="1" y2="15"/>')
    parts.append(f'<line class="whisker" x1="{axis.at(begin):.1f}" x2="{axis.at(end):.1f}" y1="8" y2="8"/>')
    parts.append(_shape(kind, axis.at(ratio), 8, 4, "mark"))
    return "".join([*parts, "</g></svg>"])


def shape_icon(kind: str) -> str:
    """The mark of a precision, for the legend."""
    mark = _shape(kind, 7, 7, 5, "mark")
    return f'<svg viewBox="0 0 14 14" aria-hidden="true"><g class="{kind}">{mark}</g></svg>'


def _round_size(count: float) -> str:
    return size(count).replace(".0 ", " ")


def _timed(v: VariantReport) -> Point | None:
    m = v.measurements
    if m is None or m.measured_with:
        return None
    ratio = m.latency_ratio if m.latency_ratio is not None else 1.0
    low = m.latency_ratio_low if m.latency_ratio_low is not None else ratio
    high = m.latency_ratio_high if m.latency_ratio_high is not None else ratio
    return _point(v, m, ratio, low, high)


def _sized(v: VariantReport) -> Point | None:
    m = v.measurements
    return None if m is None else _point(v, m, float(m.size_bytes), float(m.size_bytes), float(m.size_bytes))


def _point(v: VariantReport, m: Measurements, x: float, low: float, high: float) -> Point:
    name = v.name.partition(".")[2] or v.name
    return Point(name, v.precision.value, x, low, high, 100 * m.value, v.chosen, v.accepted, v.pareto)


def _svg(frame: Frame, points: list[Point], x: Axis, least: float) -> str:
    values = [p.y for p in points]
    if frame.budget >= min(values) - 3 * least:
        values.append(frame.budget)
    y = linear(values, HEIGHT - _BOTTOM, _TOP, lambda t: f"{t:.10g}", least=least, top=100.0)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(frame.title)}">',
        *_axes(frame, x, y),
        *_front(points, x, y),
    ]
    # The chosen one is drawn last, above whatever lies at the same place.
    for p in sorted(points, key=lambda p: (p.chosen, p.accepted)):
        parts += _mark(p, x, y)
    parts += _labels(points, _steps(points), x, y)
    return "".join([*parts, "</svg>"])


def _axes(frame: Frame, x: Axis, y: Axis) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts: list[str] = []
    if frame.band is not None:
        left, width = x.at(frame.band[0]), x.at(frame.band[1]) - x.at(frame.band[0])
        parts.append(
            f'<rect class="band" x="{left:.1f}" y="{_TOP}" width="{max(width, 1.5):.1f}" '
            f'height="{bottom - _TOP}"><title>float against itself</title></rect>'
        )
    for tick in y.ticks:
        at = y.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{y.spell(tick)}</text>')
    for tick in x.ticks:
        at = x.at(tick)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{x.spell(tick)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(frame.x_title)}</text>')
    if y.low <= frame.budget <= y.high:
        at = y.at(frame.budget)
        parts.append(f'<line class="budget" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text class="budget-name" x="{right}" y="{at - 5:.1f}" text-anchor="end">budget</text>'
        )
    return parts


def _steps(points: list[Point]) -> list[Point]:
    """What nothing in this plot beats, from left to right."""
    best = -math.inf
    steps: list[Point] = []
    for p in sorted((p for p in points if p.accepted), key=lambda p: (p.x, -p.y)):
        if p.y > best:
            steps.append(p)
            best = p.y
    return steps


def _front(points: list[Point], x: Axis, y: Axis) -> list[str]:
    steps = _steps(points)
    if len(steps) < 2:
        return []
    path = f"M{x.at(steps[0].x):.1f} {y.at(steps[0].y):.1f}"
    for p in steps[1:]:
        path += f"H{x.at(p.x):.1f}V{y.at(p.y):.1f}"
    return [f'<path class="front" d="{path}"/>']


def _mark(p: Point, x: Axis, y: Axis) -> list[str]:
    cx, cy = x.at(p.x), y.at(p.y)
    kind = escape(p.kind)
    parts = [f'<g class="{kind}">']
    if p.high > p.low:
        low, high = x.at(p.low), x.at(p.high)
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{cy:.1f}" y2="{cy:.1f}"/>')
        parts += [
            f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{cy - 4:.1f}" y2="{cy + 4:.1f}"/>'
            for at in (low, high)
        ]
    parts.append(_shape(p.kind, cx, cy, 6, "mark" if p.accepted else "mark refused"))
    if p.chosen:
        parts.append(f'<circle class="ring" cx="{cx:.1f}" cy="{cy:.1f}" r="10.5"/>')
    return [*parts, "</g>"]


def _shape(kind: str, cx: float, cy: float, r: float, css: str) -> str:
    if kind == "int8":
        d = r * 1.25
        return (
            f'<path class="{css}" d="M{cx:.1f} {cy - d:.1f}L{cx + d:.1f} {cy:.1f}'
            f'L{cx:.1f} {cy + d:.1f}L{cx - d:.1f} {cy:.1f}Z"/>'
        )
    if kind == "fp16":
        d = r * 0.9
        x, y, side = cx - d, cy - d, 2 * d
        return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}"/>'
    return f'<circle class="{css}" cx="{cx:.1f}" cy="{cy:.1f}" r="{r}"/>'


@dataclass(slots=True)
class _Box:
    """Room that something takes."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def _labels(points: list[Point], steps: list[Point], x: Axis, y: Axis) -> list[str]:
    """Names beside the marks, where they cover neither one another nor a mark."""
    taken = [_Box(x.at(p.x) - 9, y.at(p.y) - 9, x.at(p.x) + 9, y.at(p.y) + 9) for p in points]
    taken += [_Box(x.at(p.low), y.at(p.y) - 3, x.at(p.high), y.at(p.y) + 3) for p in points]
    for a, b in zip(steps, steps[1:], strict=False):
        taken.append(_Box(x.at(a.x), y.at(a.y) - 2, x.at(b.x), y.at(a.y) + 2))
        taken.append(_Box(x.at(b.x) - 2, y.at(b.y), x.at(b.x) + 2, y.at(a.y)))
    parts: list[str] = []
    for p in sorted(points, key=lambda p: (not p.chosen, p.x)):
        cx, cy = x.at(p.x), y.at(p.y)
        width = _LETTER * len(p.name) * (1.08 if p.chosen else 1.0)
        box = _free(cx, cy, width, taken)
        taken.append(box)
        baseline = box.bottom - 3
        if abs(baseline - 4 - cy) > 24:
            edge = box.bottom if box.bottom < cy else box.top
            parts.append(
                f'<line class="leader" x1="{cx:.1f}" y1="{cy:.1f}" '
                f'x2="{(box.left + box.right) / 2:.1f}" y2="{edge:.1f}"/>'
            )
        style = "name chosen" if p.chosen else "name"
        parts.append(f'<text class="{style}" x="{box.left:.1f}" y="{baseline:.1f}">{escape(p.name)}</text>')
    return parts


def _free(cx: float, cy: float, width: float, taken: list[_Box]) -> _Box:
    """The nearest place for a label: right, left, above, below, then further up and down."""
    half = _LABEL_HEIGHT / 2
    tries = [(cx + 15, cy - half), (cx - 15 - width, cy - half)]
    for distance in range(1, 9):
        gap = 10 + (distance - 1) * _LABEL_HEIGHT
        for top in (cy - gap - _LABEL_HEIGHT, cy + gap):
            tries += [(cx - width / 2, top), (cx + 6, top), (cx - 6 - width, top)]
    for left, top in tries:
        box = _Box(left, top, left + width, top + _LABEL_HEIGHT)
        inside = left > _LEFT and left + width < WIDTH and top > 0 and top + _LABEL_HEIGHT < HEIGHT - _BOTTOM
        if inside and not any(box.meets(other) for other in taken):
            return box
    left, top = tries[0]
    return _Box(left, top, left + width, top + _LABEL_HEIGHT)
