"""The product's sources as the rules of the house see them: modules, their imports, the calls they make."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_FOLDERS = ("core", "controller", "agent", "cli")
PACKAGES = (
    "modelfleet_core",
    "modelfleet_runtimes",
    "modelfleet_build",
    "modelfleet_controller",
    "modelfleet_agent",
    "fleetctl",
)


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its dotted name, its path below the repository and its syntax tree."""

    name: str
    path: str
    tree: ast.Module

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) of every import, also of those inside functions and `TYPE_CHECKING`."""
        package = self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*parents, *([base] if base else [])])
                yield node.lineno, base
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"

    def uses(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) of every imported name that the code reads, aliases resolved."""
        bound: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        bound[alias.asname] = alias.name
                    else:
                        bound[alias.name.partition(".")[0]] = alias.name.partition(".")[0]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(self.tree):
            name = _dotted(node)
            if name is None:
                continue
            first, dot, rest = name.partition(".")
            if first in bound and isinstance(node, ast.Name | ast.Attribute):
                yield node.lineno, f"{bound[first]}{dot}{rest}"


def _dotted(node: ast.AST) -> str | None:
    """Return `a.b.c` for a chain of attributes that starts at a name, else None."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def parse(path: Path, below: Path) -> Module:
    """Read one file; its dotted name is taken relative to `below`."""
    parts = list(path.relative_to(below).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return Module(
        ".".join(parts), path.relative_to(ROOT).as_posix() if ROOT in path.parents else path.name, tree
    )


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the product."""
    found = [
        parse(path, ROOT / folder)
        for folder in SOURCE_FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert len(found) > 50, "the sources were not found; a rule that sees nothing proves nothing"
    return tuple(found)


@cache
def other_modules() -> tuple[Module, ...]:
    """Return every module of tests, e2e, bench and tools."""
    return tuple(
        parse(path, ROOT)
        for folder in ("tests", "e2e", "bench", "tools", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
    )
