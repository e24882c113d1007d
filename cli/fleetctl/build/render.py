"""How people see a build report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetctl.build import pareto
from fleetctl.build.measured import coverage, memory, ratio, spread, worst_class
from fleetctl.output import Block, Cell, Table, size
from modelfleet_build.report import BuildReport, ClassReport, ParentReport, VariantReport
from modelfleet_core.release.manifest import Measurements

Spell = Callable[[Measurements], str]

_ALWAYS: tuple[tuple[str, Spell], ...] = (
    ("METRIC", lambda m: f"{100 * m.value:.2f} %"),
    ("DROP", lambda m: f"{m.drop_points:.2f}pt"),
    ("AGREE", lambda m: f"{100 * m.agreement:.2f} %"),
    ("SIZE", lambda m: size(m.size_bytes)),
)
# Shown where any variant of the class has something to say.
_WHERE_KNOWN: tuple[tuple[str, Spell], ...] = (
    ("WORST CLASS", worst_class),
    ("LATENCY", ratio),
    ("SPREAD", spread),
    ("MEMORY", memory),
    ("ON ACCELERATOR", coverage),
    ("MEASURED WITH", lambda m: m.measured_with),
)


def report(view: BuildReport, folder: Path | None) -> list[Block]:
    """The whole report: parent, every class with every variant, refusals, warnings, what comes next."""
    p = view.parent
    blocks: list[Block] = [
        f"{view.name}:{view.version}  {view.task.value}  built in {view.seconds:.0f} s  "
        f"budget {view.max_drop_points:g}pt",
        f"float parent: {p.metric} {100 * p.value:.2f} % on {p.samples} validation samples"
        f"{_worth(p)}, {size(p.size_bytes)}, {p.latency_us:.0f} us a sample",
    ]
    for c in view.classes:
        blocks += [
            "",
            f"class {c.name}: {c.why}" if c.built else f"class {c.name} not built: {c.code}: {c.why}",
        ]
        if c.variants:
            blocks.append(_table(c))
        blocks += _below(c)
        if drawn := pareto.lines(c):
            blocks += ["", *drawn]
    blocks += _deltas(view)
    blocks += [f"warning: {w}" for w in view.warnings]
    if view.release is not None and folder is not None:
        blocks += [
            "",
            f"release {view.release[:16]} in {folder}",
            f"next: fleetctl release sign {folder} --key FILE",
        ]
    elif view.release is None:
        blocks += ["", "no release was written: no class could be built"]
    return blocks


def _worth(p: ParentReport) -> str:
    if p.points_per_sample is not None:
        return f" (one sample is {p.points_per_sample:.3g}pt)"
    return f" (RMSE {p.raw_error:.4g})" if p.raw_error is not None else ""


def _deltas(view: BuildReport) -> list[Block]:
    if not view.deltas:
        return []
    titles = ("DELTA (ESTIMATE)", "FROM", "SIZE", "OF", "SHARE", "BYTES EQUAL", "SCALES CHANGED")
    rows = [
        [
            item.variant,
            item.previous,
            size(item.delta_bytes),
            size(item.full_bytes),
            f"{100 * item.share:.0f} %",
            f"{100 * item.equal_share:.1f} %",
            f"{item.changed_scales} of {item.scales}" if item.scales else "-",
        ]
        for item in view.deltas
    ]
    return ["", Table(titles, rows, right=titles[2:])]


def _table(c: ClassReport) -> Table:
    measured = [v.measurements for v in c.variants if v.measurements is not None]
    shown = [*_ALWAYS, *((t, spell) for t, spell in _WHERE_KNOWN if any(spell(m) for m in measured))]
    metric = measured[0].metric.upper() if measured else "METRIC"
    titles = ("VARIANT", "STATE", *(metric if t == "METRIC" else t for t, _ in shown), "PARETO")
    rows = [_row(v, [spell for _, spell in shown]) for v in c.variants]
    return Table(titles, rows, right=tuple(t for t in titles[2:-1] if t != "MEASURED WITH"))


def _row(v: VariantReport, shown: list[Spell]) -> list[Cell]:
    state: Cell = ("chosen", "green") if v.chosen else "kept" if v.accepted else ("refused", "red")
    m = v.measurements
    if m is None:
        return [v.name, state, *["-"] * (len(shown) + 1)]
    return [v.name, state, *(spell(m) or "-" for spell in shown), "front" if v.pareto else "-"]


def _below(c: ClassReport) -> list[Block]:
    """Refusals, and what the processor has to do for an accelerator."""
    lines: list[Block] = [f"  {v.name} refused: {v.code}: {v.reason}" for v in c.variants if not v.accepted]
    for v in c.variants:
        use = v.measurements.accelerator if v.measurements is not None else None
        lines += [f"  {v.name} on the processor: {text}" for text in (use.fallbacks if use else ())]
    return lines
