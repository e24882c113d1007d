"""docs/reference/settings.md: every setting of agent and controller, from the settings classes."""

from __future__ import annotations

from dataclasses import MISSING, fields

from modelfleet_agent import settings as agent
from modelfleet_controller import settings as controller

from tools.docs.docstrings import attributes

INTRO = """# Settings

A TOML file, overruled by the environment, overruled by flags; read once at the start. A name that nobody
knows is refused with the nearest one that is known.
"""

# The agent's dotted names whose field has another name, or no explanation of its own.
AGENT_TEXTS = {
    "serve.listen": "HOST:PORT of the Open Inference Protocol; port 0 = any free one, see `status.json`.",
    "facts.override.architecture": "Say this processor architecture instead of the measured one.",
    "facts.override.memory_bytes": "Say this much memory, bytes.",
    "facts.override.free_disk_bytes": "Say this much free disk, bytes.",
    "facts.override.cpus": "Say this many processors.",
    "facts.override.accelerators": "Say these accelerators.",
    "facts.override.os": "Say this operating system.",
}


def agent_rows() -> list[str]:
    """Return a table row for every setting of the agent."""
    texts = attributes(agent.Settings) | {
        f"serve.{name}": text for name, text in attributes(agent.ServeSettings).items()
    }
    rows = []
    for name in agent.KNOWN:
        text = AGENT_TEXTS.get(name) or texts[name]
        rows.append(f"| `{name}` | `{agent.variable(name)}` | {text} |")
    return rows


def controller_rows() -> list[str]:
    """Return a table row for every setting of the controller."""
    texts = attributes(controller.Settings)
    rows = []
    for field in fields(controller.Settings):
        default = "" if field.default is MISSING or field.default is None else f"`{field.default}`"
        variable = f"{controller.PREFIX}{field.name.upper()}"
        rows.append(f"| `{field.name}` | `{variable}` | {default} | {texts[field.name]} |")
    return rows


def page() -> str:
    """Return the page."""
    return "\n".join(
        [
            INTRO,
            "## Agent",
            "",
            f"`modelfleet-agent ... --config FILE`, or `{agent.CONFIG_VARIABLE}`. A dotted name is a key in",
            "a table: `serve.listen` is `listen` in `[serve]`. In the environment lists are `a,b` and tables",
            "are `key=value,key=value`. A fact under `facts.override` is shown as `overridden` everywhere",
            "and needs an enrolment token made with `--allow-override`.",
            "",
            "| setting | environment | meaning |",
            "|---|---|---|",
            *agent_rows(),
            "",
            "## Applications",
            "",
            "The SDK finds the agent by `MODELFLEET_SOCKET`, the path of `serve.socket`; without it, at the",
            "default place. `fleetctl` reads the variables that `fleetctl --help` lists.",
            "",
            "## Controller",
            "",
            "Flags of `modelfleet-controller serve` have the same names with dashes.",
            "",
            "| setting | environment | default | meaning |",
            "|---|---|---|---|",
            *controller_rows(),
        ]
    )
