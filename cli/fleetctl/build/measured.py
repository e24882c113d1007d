"""How single measurements are spelled, the same in terminal, HTML and docs. Empty text = not measured."""

from __future__ import annotations

from fleetctl.output import size
from modelfleet_core.release.manifest import Measurements


def memory(m: Measurements) -> str:
    """`29.4 kB arena` of a microcontroller, else the resident memory."""
    if m.arena_bytes is not None:
        return f"{size(m.arena_bytes)} arena"
    return size(m.rss_bytes) if m.rss_bytes is not None else ""


def coverage(m: Measurements) -> str:
    """`94 % of operators, 99 % of MACs` on the accelerator."""
    if m.accelerator is None:
        return ""
    told = f"{share(m.accelerator.coverage())} of operators"
    macs = m.accelerator.mac_coverage()
    return told if macs is None else f"{told}, {share(macs)} of MACs"


def share(value: float) -> str:
    """`94 %`, `99.8 %`; never `100 %` of what is not all."""
    return f"{100 * value:.0f} %" if value <= 0.99 or value == 1 else f"{min(100 * value, 99.9):.1f} %"


def worst_class(m: Measurements) -> str:
    """`3: 1.67pt`, the class that lost most; empty where none has enough samples or none lost anything."""
    if m.worst_class is None or m.class_drop_points is None or m.class_drop_points <= 0:
        return ""
    return f"{m.worst_class}: {m.class_drop_points:.2f}pt"


def ratio(m: Measurements) -> str:
    """`x0.61`, empty where time was not compared."""
    return "" if m.latency_ratio is None else f"x{m.latency_ratio:.2f}"


def spread(m: Measurements) -> str:
    """`0.58-0.70`, the 10th and 90th percentile of the rounds."""
    if m.latency_ratio_low is None or m.latency_ratio_high is None:
        return ""
    return f"{m.latency_ratio_low:.2f}-{m.latency_ratio_high:.2f}"
