"""docs/reference/device-classes.md: the shipped classes as the YAML that `fleetctl class apply` takes."""

from __future__ import annotations

import yaml

from modelfleet_core.files.resource import write_device_class
from modelfleet_core.release.shipped_classes import SHIPPED

INTRO = """# Device classes

Every installation knows these. A class of your own starts from one of them: save it under another name, change
what differs, and give it to `fleetctl build --class-file` and `fleetctl class apply -f`. What each field means:
[DeviceClass](rollout.md#deviceclass). A device belongs to the class with the highest priority whose needs its
facts meet.
"""


def page() -> str:
    """Return the page: a table, then every class in full."""
    rows = [
        f"| [`{item.name}`](#{item.name}) | {', '.join(item.architectures)} | `{item.runtime}` | "
        f"{', '.join(f'`{recipe}`' for recipe in item.recipes)} | {item.priority} |"
        for item in SHIPPED
    ]
    parts = [
        INTRO,
        "| class | architecture | runtime | recipes | priority |\n|---|---|---|---|---|",
        *rows,
        "",
    ]
    for item in SHIPPED:
        text = yaml.safe_dump(write_device_class(item), sort_keys=False, default_flow_style=None, width=100)
        parts.append(f"## {item.name}\n\n```yaml\n{text}```\n")
    return "\n".join(parts)
