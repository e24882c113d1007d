"""docs/reference/errors.md from the registry of error codes."""

from __future__ import annotations

from modelfleet_core.error_codes import REGISTRY

# first two digits of the code -> what the range is about (modelfleet_core/error_codes.py, docstring)
RANGES: list[tuple[range, str]] = [
    (range(10, 14), "Plans, files and rollouts"),
    (range(14, 16), "Building variants"),
    (range(16, 18), "Releases, blobs, devices and tokens at the controller"),
    (range(20, 23), "Trust and signatures"),
    (range(30, 34), "The device's agent"),
    (range(40, 41), "Serving and runtimes"),
    (range(50, 51), "The world: disk, network, processes"),
    (range(60, 61), "Command line"),
]

INTRO = """# Error codes

Every error says what happened, what was expected and what to do, and carries one of these codes. A code is
never reused and never changes its meaning; `-o json`, problem+json bodies, device events and logs show the
same ones. The text beside a code is its title; the error itself names the file, field, device or digest.
"""


def page() -> str:
    """Return the page; every code must lie in a range."""
    parts = [INTRO]
    left = {code.value: info.title for code, info in REGISTRY.items()}
    for numbers, title in RANGES:
        rows = {code: text for code, text in left.items() if int(code[3:5]) in numbers}
        if rows:
            parts.append(f"## {title}\n\n| code | title |\n|---|---|")
            parts += [f"| `{code}` | {text} |" for code, text in sorted(rows.items())]
            parts.append("")
        left = {code: text for code, text in left.items() if code not in rows}
    if left:
        raise SystemExit(f"these codes lie in no range of tools/docs/error_pages.py: {sorted(left)}")
    return "\n".join(parts)
