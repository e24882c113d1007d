"""docs/reference/lifecycle.md: the device's state machine, drawn from its tables."""

from __future__ import annotations

from modelfleet_core.lifecycle.machine import BUSY, RESUME_AT, TRANSITIONS, State

from tools.docs.docstrings import members

INTRO = """# Lifecycle of an update on a device

Drawn from the tables of `modelfleet_core.lifecycle.machine`, by which the agent and the simulator both run.
Every state that does work answers `done` and `failed`. The journal records a state before anything is done
for it, so after a crash the last record says where the work goes on.
"""


def page() -> str:
    """Return the drawing and the table."""
    lines = [INTRO, "```mermaid", "stateDiagram-v2", "  [*] --> idle"]
    for state, row in TRANSITIONS.items():
        targets: dict[str, list[str]] = {}
        for event, target in row.items():
            targets.setdefault(target.value, []).append(event.value)
        for name, events in targets.items():
            lines.append(f"  {state.value} --> {name}: {', '.join(events)}")
    lines += ["```", "", "| state | what happens | after a crash goes on at |", "|---|---|---|"]
    texts = members(State)
    for state in State:
        work = "" if state in BUSY else " (no operation)"
        lines.append(f"| `{state.value}` | {texts[state.name]}{work} | `{RESUME_AT[state].value}` |")
    return "\n".join(lines)
