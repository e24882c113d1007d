"""The table of a class's variants, and the reasons below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from fleetctl.build.html.plot import mini
from fleetctl.build.measured import coverage, memory, worst_class
from fleetctl.output import size
from modelfleet_build.report import ClassReport, VariantReport
from modelfleet_core.release.manifest import Measurements


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    right: bool
    cells: list[str]


def variants(item: ClassReport) -> str:
    """The table, with the columns that any variant has something in, and why the others are not there."""
    if not item.variants:
        return f'<p class="verdict refused">not built: {escape(item.code)}</p>'
    columns = [c for c in _columns(item) if any(cell for cell in c.cells)]
    head = "".join(f'<th{_class("r") if c.right else ""} scope="col">{escape(c.title)}</th>' for c in columns)
    rows = []
    for row in range(len(item.variants)):
        cells = [_cell(c, c.cells[row], index == 0) for index, c in enumerate(columns)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table class="cards"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{_reasons(item)}"
    )


def _class(name: str) -> str:
    return f' class="{name}"'


def _cell(column: _Column, text: str, first: bool) -> str:
    names = ["variant"] if first else ["r"] if column.right else []
    names += ["none"] if not text else []
    css = _class(" ".join(names)) if names else ""
    return f'<td{css} data-label="{escape(column.title)}">{text or "–"}</td>'


def _columns(item: ClassReport) -> list[_Column]:
    rows = item.variants
    metric = next((v.measurements.metric for v in rows if v.measurements is not None), "metric")
    return [
        _Column("variant", False, [escape(v.name.partition(".")[2] or v.name) for v in rows]),
        _Column("verdict", False, [_verdict(v) for v in rows]),
        _Column(metric, True, [_of(v, lambda m: f"{100 * m.value:.2f} %") for v in rows]),
        _Column("lost", True, [_of(v, lambda m: f"{m.drop_points:.2f} pt") for v in rows]),
        _Column("worst class", True, [_of(v, worst_class) for v in rows]),
        _Column("agreement", True, [_of(v, lambda m: f"{100 * m.agreement:.2f} %") for v in rows]),
        _Column("size", True, [_of(v, lambda m: size(m.size_bytes)) for v in rows]),
        _Column("time / float", False, _times(item)),
        _Column("memory", True, [_of(v, memory) for v in rows]),
        _Column("on the accelerator", True, [_of(v, coverage) for v in rows]),
        _Column("measured with", False, [_of(v, lambda m: m.measured_with) for v in rows]),
    ]


def _of(v: VariantReport, spell: Callable[[Measurements], str]) -> str:
    return escape(spell(v.measurements)) if v.measurements is not None else ""


def _verdict(v: VariantReport) -> str:
    word = "chosen" if v.chosen else "kept" if v.accepted else "refused"
    sub = f'<span class="sub">{escape(v.code)}</span>' if v.code else ""
    front = '<span class="sub">Pareto front</span>' if v.pareto else ""
    return f'<span><span class="verdict {word}">{word}</span>{sub}{front}</span>'


def _times(item: ClassReport) -> list[str]:
    """Ratio, spread and a picture of both, all on one axis."""
    spreads = [
        (m.latency_ratio_low, m.latency_ratio_high)
        for v in item.variants
        if (m := v.measurements) is not None and m.latency_ratio is not None
    ]
    ends = [end for pair in spreads for end in pair if end is not None]
    if not ends:
        return ["" for _ in item.variants]
    controls = [v.control for v in item.variants if v.control is not None]
    band = (min(c.low for c in controls), max(c.high for c in controls)) if controls else None
    low, high = min([0.95, *ends, *(band or ())]), max([1.05, *ends, *(band or ())])
    cells = []
    for v in item.variants:
        m = v.measurements
        if m is None or m.latency_ratio is None:
            cells.append("" if m is None or m.measured_with else '<span class="soft">reference</span>')
            continue
        control = f"; control {v.control.low:.2f} to {v.control.high:.2f}" if v.control is not None else ""
        spread = f"{m.latency_ratio_low or 0:.2f} to {m.latency_ratio_high or 0:.2f}{control}"
        picture = mini(m, low, high, band, v.precision.value)
        cells.append(f'<span>×{m.latency_ratio:.2f} {picture}<span class="sub">{spread}</span></span>')
    return cells


def _reasons(item: ClassReport) -> str:
    lines = [
        f"<b>{escape(v.name)}</b> was refused: {escape(v.reason)} <code>{escape(v.code)}</code>"
        for v in item.variants
        if not v.accepted
    ]
    for v in item.variants:
        use = v.measurements.accelerator if v.measurements is not None else None
        for fallback in use.fallbacks if use is not None else ():
            lines.append(f"<b>{escape(v.name)}</b> on the processor: {escape(fallback)}")
        lines += [f"<b>{escape(v.name)}</b>: {escape(note)}" for note in v.notes]
    if not lines:
        return ""
    return f'<ul class="reasons">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'
