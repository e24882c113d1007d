"""The Pareto view of a class in plain text: a line per variant on one time axis, the best metric first."""

from __future__ import annotations

import math
from typing import Final

from fleetctl.output import size
from modelfleet_build.report import ClassReport, VariantReport
from modelfleet_core.release.manifest import Measurements

WIDTH: Final = 44
"""Columns of the time axis; with metric, size and name a line stays under 100."""


def lines(item: ClassReport) -> list[str]:
    """The view; nothing where fewer than two variants were timed against one another."""
    found = [(v, m) for v in item.variants if (m := v.measurements) is not None and not m.measured_with]
    if len(found) < 2 or all(m.latency_ratio is None for _, m in found):
        return []
    controls = [v.control for v, _ in found if v.control is not None]
    ends = [end for _, m in found for end in _spread(m)] + [e for c in controls for e in (c.low, c.high)]
    low, high = min(0.8, *ends), max(1.25, *ends)
    rows = sorted(found, key=lambda pair: (-pair[1].value, pair[1].latency_ratio or 1.0))
    return [f"  {'':20}{_scale(low, high)}", *(_row(v, m, low, high) for v, m in rows)]


def _spread(m: Measurements) -> tuple[float, float]:
    ratio = m.latency_ratio if m.latency_ratio is not None else 1.0
    low = m.latency_ratio_low if m.latency_ratio_low is not None else ratio
    high = m.latency_ratio_high if m.latency_ratio_high is not None else ratio
    return low, high


def _place(value: float, low: float, high: float) -> int:
    share = math.log(value / low) / math.log(high / low)
    return min(WIDTH - 1, max(0, round(share * (WIDTH - 1))))


def _scale(low: float, high: float) -> str:
    """`x0.8         x1                    x6.9`, every label where it belongs."""
    cells = [" "] * (WIDTH + 4)
    for value, text in ((1.0, "x1"), (low, f"x{low:.2g}"), (high, f"x{high:.2g}")):
        at = _place(value, low, high)
        at = min(at, WIDTH - len(text)) if value == high else at
        if all(c == " " for c in cells[max(0, at - 1) : at + len(text) + 1]):
            cells[at : at + len(text)] = text
    return "".join(cells).rstrip()


def _row(v: VariantReport, m: Measurements, low: float, high: float) -> str:
    cells = ["·"] * WIDTH
    cells[_place(1.0, low, high)] = "│"
    begin, end = (_place(item, low, high) for item in _spread(m))
    for at in range(begin, end + 1):
        cells[at] = "─"
    ratio = m.latency_ratio if m.latency_ratio is not None else 1.0
    cells[_place(ratio, low, high)] = "●" if v.chosen else "○" if v.accepted else "×"
    words = [word for word, true in (("chosen", v.chosen), ("front", v.pareto)) if true]
    told = f" ({', '.join(words)})" if words else "" if v.accepted else " (refused)"
    name = v.name.partition(".")[2] or v.name
    return f"  {100 * m.value:6.2f} % {size(m.size_bytes):>9}  {''.join(cells)}  {name}{told}"
