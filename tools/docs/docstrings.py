"""Reading the `Attributes:` section of a class docstring, where the house explains fields."""

from __future__ import annotations

import inspect
import re


def attributes(kind: type) -> dict[str, str]:
    """Return {field: explanation}; `a, b: text` explains both."""
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in (inspect.getdoc(kind) or "").splitlines():
        if line.strip() == "Attributes:":
            inside = True
        elif inside and (match := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)):
            names = match[1].split(", ")
            found.update(dict.fromkeys(names, match[2]))
        elif inside and line.startswith("     ") and names:
            for name in names:
                found[name] += " " + line.strip()
        elif line.strip():
            inside = False
    return found


def members(kind: type) -> dict[str, str]:
    """Return {MEMBER: explanation} from lines `MEMBER: text.` of an enum's docstring."""
    pairs = re.findall(r"^([A-Z_]+): (.*)$", inspect.getdoc(kind) or "", re.MULTILINE)
    return dict(pairs)
