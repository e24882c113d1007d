"""docs/reference/metrics.md: what `/metrics` of the controller and of serve tell."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from modelfleet_agent.serve.http import metrics as serve
from modelfleet_controller.metrics import Metrics

INTRO = """# Metrics

Prometheus text format. Names are stable; a metric that goes is announced in the changelog first.
"""

SUFFIXES = {"counter": "_total", "histogram": "", "gauge": ""}


def controller_rows() -> list[str]:
    """Return a table row for every metric of the controller."""
    rows = []
    for family in sorted(Metrics().registry.collect(), key=lambda family: family.name):
        name = f"{family.name}{SUFFIXES[family.type]}"
        rows.append(f"| `{name}` | {family.type} | {family.documentation}. |")
    return rows


def serve_rows() -> list[str]:
    """Return a table row for every metric of serve; without slots the families still tell their names."""
    empty: Any = SimpleNamespace(windows=())
    return [f"| `{name}` | {kind} | {text} |" for name, kind, text, _ in serve._families(empty, ())]


def page() -> str:
    """Return the page."""
    head = ["", "| metric | type | meaning |", "|---|---|---|"]
    return "\n".join(
        [
            INTRO,
            "## Controller",
            "",
            "`GET /metrics` of the controller.",
            *head,
            *controller_rows(),
            "",
            "## Serve, on the device",
            "",
            "`GET /metrics` beside the Open Inference Protocol, counted since serve started.",
            *head,
            *serve_rows(),
        ]
    )
