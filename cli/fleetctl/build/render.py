"""How people see a build report."""

from __future__ import annotations

from pathlib import Path

from fleetctl.output import Block, Cell, Table, size
from modelfleet_build.report import BuildReport, ClassReport, ParentReport, VariantReport

TITLES = ("VARIANT", "STATE", "METRIC", "DROP", "AGREE", "SIZE", "LATENCY", "SPREAD", "MEMORY", "PARETO")
RIGHT = TITLES[2:9]


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
        blocks += ["", f"class {c.name}: {c.why}"]
        if c.variants:
            blocks.append(Table(TITLES, [_row(v) for v in c.variants], right=RIGHT))
        blocks += _refusals(c)
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
        return f" (one sample is {p.points_per_sample:.2g}pt)"
    return f" (RMSE {p.raw_error:.4g})" if p.raw_error is not None else ""


def _row(v: VariantReport) -> list[Cell]:
    state: Cell = ("chosen", "green") if v.chosen else "kept" if v.accepted else ("refused", "red")
    m = v.measurements
    if m is None:
        return [v.name, state, *["-"] * 8]
    spread = (
        "-"
        if m.latency_ratio_low is None or m.latency_ratio_high is None
        else f"{m.latency_ratio_low:.2f}-{m.latency_ratio_high:.2f}"
    )
    return [
        v.name,
        state,
        f"{m.metric} {100 * m.value:.2f} %",
        f"{m.drop_points:.2f}pt",
        f"{100 * m.agreement:.2f} %",
        size(m.size_bytes),
        "-" if m.latency_ratio is None else f"x{m.latency_ratio:.2f}",
        spread,
        "-" if m.rss_bytes is None else size(m.rss_bytes),
        "front" if v.pareto else "-",
    ]


def _refusals(c: ClassReport) -> list[Block]:
    return [f"  {v.name} refused: {v.code}: {v.reason}" for v in c.variants if not v.accepted]
