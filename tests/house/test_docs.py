"""The docs are complete, true and current: generated pages, shown commands, metrics, extension points."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.sources import PACKAGES, ROOT, modules
from tests.house.test_tree import documents
from tools.docs.commands import complaint, examples, programs, words_of
from tools.docs.pages import stale

# What else a page may tell the reader to type.
FOREIGN = {
    *(
        "cat",
        "cd",
        "chmod",
        "cp",
        "install",
        "jq",
        "ls",
        "mkdir",
        "rm",
        "scp",
        "ssh",
        "sudo",
        "tail",
        "useradd",
    ),
    *(
        "cosign",
        "curl",
        "docker",
        "git",
        "journalctl",
        "model_signing",
        "pip",
        "pre-commit",
        "python",
        "python3",
    ),
    "systemctl",
}
METRIC = re.compile(r"modelfleet_[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Shown:
    """One command in a fenced `console` block."""

    page: Path
    line: str
    runnable: bool  # the fence says `console runnable`

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.line}"


def shown() -> Iterator[Shown]:
    """Yield every command that a page shows: lines `$ ...` of console blocks, continued lines joined."""
    for page in documents():
        text = page.read_text(encoding="utf-8")
        for fence, body in re.findall(r"^```(console[^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in re.findall(r"^\$ (.*)$", body.replace("\\\n", " "), re.MULTILINE):
                yield Shown(page, line.strip(), "runnable" in fence.split())


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_generated_pages_are_current() -> None:
    assert [path.name for path in stale()] == [], "make docs-write"


def test_every_shown_command_exists() -> None:
    known, targets = programs(), make_targets()
    wrong = []
    for command in shown():
        words = words_of(command.line)
        if not words:
            continue
        program = words[0].rpartition("/")[2]
        if program == "make":
            wanted = [word for word in words[1:] if "=" not in word]
            wrong += [f"{command}: no target {word}" for word in wanted if word not in targets]
        elif program in known:
            if fault := complaint(command.line, known):
                wrong.append(f"{command}: {fault}")
        elif program not in FOREIGN:
            wrong.append(f"{command}: {program} is not a command that the docs may show")
    assert wrong == []


def test_examples_in_help_exist() -> None:
    known = programs()
    lines = [
        line for program in known.values() for command in program.walk() for line in examples(command, known)
    ]
    assert len(lines) > 10, "no examples were found; this test would prove nothing"
    assert [f"{line}: {fault}" for line in lines if (fault := complaint(line, known))] == []


def test_every_command_has_an_example_and_every_option_a_meaning() -> None:
    known = programs()
    missing = []
    for command in known["fleetctl"].walk():
        if not command.children and not examples(command, known):
            missing.append(f"{command.path}: no example")
    for program in known.values():
        for command in program.walk():
            missing += [f"{command.path} {o.spellings[0]}: no meaning" for o in command.options if not o.text]
    assert missing == []


@pytest.mark.parametrize("command", [command for command in shown() if command.runnable], ids=str)
def test_runnable_commands_run(command: Shown, tmp_path: Path) -> None:
    """Blocks marked `console runnable` need no server and no input: they are run, in an empty folder."""
    environment = {**_environment(), "HOME": str(tmp_path)}
    done = subprocess.run(
        shlex.split(command.line, comments=True),
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "LANG": "C.UTF-8"}


def metrics() -> set[str]:
    """Return the metric names that modules called `metrics` spell out."""
    found = set()
    for module in modules():
        if module.name.rpartition(".")[2] != "metrics":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                # the client library adds `_total` to counters
                found |= {name.removesuffix("_total") for name in METRIC.findall(node.value)}
    return found - set(PACKAGES)


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert metrics(), "no metric was found in the sources; this test would prove nothing"
    assert sorted(name for name in metrics() if f"`{name}" not in text) == []


def test_every_documented_metric_exists() -> None:
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    told = {name.removesuffix("_total") for name in re.findall(r"`(modelfleet_[a-z0-9_]+)", text)}
    assert sorted(told - metrics()) == []


def test_every_variable_of_the_environment_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in documents())
    found = {
        node.value
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"MODELFLEET_[A-Z0-9_]+[A-Z0-9]", node.value)
    }
    assert "MODELFLEET_SOCKET" in found
    assert sorted(name for name in found if name not in text) == []


def test_every_extension_point_is_documented() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in documents())
    assert sorted(group for group in groups if f"`{group}`" not in text) == []


def test_every_make_target_is_documented() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (ROOT / "README.md").read_text()
    told = make_targets() - {"help", "setup", "clean"}
    assert sorted(target for target in told if f"make {target}" not in text) == []
