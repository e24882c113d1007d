"""docs/reference/variants.md from reports of real builds: a table per task, a row per class and recipe."""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.build.measured import coverage, memory, worst_class
from fleetctl.output import size
from modelfleet_build.report import BuildReport, ClassReport, VariantReport
from modelfleet_core.release.manifest import Measurements

MARK = "<!-- written by `python -m bench variants_table`; do not edit -->\n"
INTRO = """# Variants of three models

Every shipped device class, built from three small trained models: a classifier, a detector and a segmenter.
Each number was measured in the variant's real runtime against the float parent, on data that shares no sample
with the calibration data; *measured with* names what was run in its place where that runtime does not run on
a builder. Time is the ratio to the class's float variant, called in turn on the same inputs, with the 10th
and 90th percentile of the rounds; of a device of another kind than the builder it is a hint. Memory is the
peak of the process that ran it, or the arena of a microcontroller. Coverage is what the accelerator's
compiler says. `-` is not measured, never zero.
"""
_TITLES = (
    "class", "recipe", "verdict", "{metric}", "lost", "agreement", "size", "time / float", "memory",
    "on the accelerator", "measured with",
)  # fmt: skip


def page(reports: Sequence[BuildReport], skipped: Sequence[str] = ()) -> str:
    """The page; `skipped` says in plain sentences what could not be built at all."""
    parts = [MARK + INTRO, *(_section(report) for report in reports), *(f"{text}\n" for text in skipped)]
    return "\n".join(parts).rstrip() + "\n"


def _section(report: BuildReport) -> str:
    p = report.parent
    measured = [v.measurements for c in report.classes for v in c.variants if v.measurements is not None]
    metric = measured[0].metric if measured else "metric"
    worst = any(worst_class(m) for m in measured)
    titles = [title.format(metric=metric) for title in _TITLES]
    if worst:
        titles.insert(5, "worst class")
    one = p.points_per_sample
    worth = f" (one is {one:.3g} points)" if one is not None else ""
    lines = [
        f"## {report.task.value.capitalize()}: {_text(report.name)}\n",
        f"Float parent: {metric} {100 * p.value:.2f} % on {p.samples} validation samples"
        f"{worth}, {size(p.size_bytes)}. "
        f"At most {report.max_drop_points:g} points may be lost.\n",
        "| " + " | ".join(titles) + " |",
        "|" + "---|" * len(titles),
    ]
    reasons: list[str] = []
    for item in report.classes:
        lines += _rows(item, len(titles), worst=worst)
        reasons += _reasons(item)
    return "\n".join([*lines, "", *reasons, ""])


def _rows(item: ClassReport, width: int, *, worst: bool) -> list[str]:
    if not item.variants:
        cells = [_text(item.name), "-", f"not built ({item.code})", *["-"] * (width - 3)]
        return ["| " + " | ".join(cells) + " |"]
    return ["| " + " | ".join(_row(item, v, worst=worst)) + " |" for v in item.variants]


def _row(item: ClassReport, v: VariantReport, *, worst: bool) -> list[str]:
    verdict = "**chosen**" if v.chosen else "kept" if v.accepted else f"refused ({v.code})"
    m = v.measurements
    cells = [_text(item.name), _text(v.recipe), verdict]
    if m is None:
        return [*cells, *["-"] * (9 if worst else 8)]
    numbers = [
        f"{100 * m.value:.2f} %",
        f"{m.drop_points:.2f} pt",
        *([worst_class(m) or "-"] if worst else []),
        f"{100 * m.agreement:.2f} %",
        size(m.size_bytes),
        _time(v, m),
        memory(m) or "-",
        coverage(m) or "-",
        _text(m.measured_with) or "its own runtime",
    ]
    return [*cells, *numbers]


def _time(v: VariantReport, m: Measurements) -> str:
    if m.measured_with:
        return "-"
    if m.latency_ratio is None:
        return "reference"
    return f"{m.latency_ratio:.2f} [{m.latency_ratio_low or 0:.2f} to {m.latency_ratio_high or 0:.2f}]"


def _reasons(item: ClassReport) -> list[str]:
    """Why the choice, why each refusal, and what stays on the processor."""
    lines = [f"- **{_text(item.name)}**: {_text(item.why)}"]
    lines += [
        f"  - {_text(v.recipe)} was refused ({v.code}): {_text(v.reason)}"
        for v in item.variants
        if not v.accepted
    ]
    for v in item.variants:
        use = v.measurements.accelerator if v.measurements is not None else None
        lines += [
            f"  - {_text(v.recipe)} on the processor: {_text(f)}" for f in (use.fallbacks if use else ())
        ]
    return lines


def _text(text: str) -> str:
    """Safe in a cell and on one line."""
    plain = " ".join(text.split()).replace("|", "\\|")
    return plain.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
