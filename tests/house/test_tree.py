"""The tree as a whole: nothing large, nothing private, nothing of one machine, no dead link."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.house.sources import PACKAGES, ROOT, SOURCE_FOLDERS

LARGEST_BYTES = 1_500_000
LONGEST_MODULE = 500  # lines; one idea per module
ADR_SECTIONS = ["## Context", "## Decision", "## Alternatives", "## Consequences", "**Negative:**"]
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40}")
# Printed in a standard for everyone to test with: RFC 9421, appendix B.1.4.
PUBLISHED = b"MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF"
# Homes and registries of whoever wrote a line; examples use /var/lib/modelfleet and the like.
OF_ONE_MACHINE = re.compile(
    rb"/(?:root|Users/\w+|home/(?!user\b|me\b)\w+)/|pypi" + rb"\.org|(?:pythonhosted|npmjs)" + rb"\.org"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files of the repository, whether committed yet or not, that git does not ignore."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = (
            subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        )
        return tuple(sorted(ROOT / name for name in listed if name and (ROOT / name).is_file()))
    raise AssertionError("the checks of the tree need a git checkout")


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def test_no_large_file() -> None:
    large = {p.relative_to(ROOT): p.stat().st_size for p in tracked() if p.stat().st_size > LARGEST_BYTES}
    assert large == {}


def test_no_private_key() -> None:
    assert [p for p in tracked() if PRIVATE_KEY.search(p.read_bytes().replace(PUBLISHED, b""))] == []


def test_nothing_of_one_machine() -> None:
    found = []
    for path in tracked():
        if path.suffix in {".onnx", ".npz", ".png"}:
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if OF_ONE_MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line[:120]!r}")
    assert found == []


def test_every_package_is_typed_and_every_module_says_what_it_is() -> None:
    assert {p.parent.name for folder in SOURCE_FOLDERS for p in (ROOT / folder).glob("*/py.typed")} == set(
        PACKAGES
    )
    silent = []
    for path in tracked():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in SOURCE_FOLDERS:
            text = path.read_text(encoding="utf-8")
            if text.strip() and ast.get_docstring(ast.parse(text)) is None:
                silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_no_module_grows_beyond_one_idea() -> None:
    long = {}
    for path in tracked():
        inside = path.suffix == ".py" and path.relative_to(ROOT).parts[0] in SOURCE_FOLDERS
        if inside and not path.name.endswith("_generated.py"):
            lines = path.read_text(encoding="utf-8").count("\n")
            if lines > LONGEST_MODULE:
                long[str(path.relative_to(ROOT))] = lines
    assert long == {}


def test_relative_links_lead_somewhere() -> None:
    dead = []
    for path in documents():
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            if not (path.parent / target.partition("#")[0]).exists():
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert dead == []


def records() -> list[Path]:
    return sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))


@pytest.mark.parametrize("record", records(), ids=lambda record: record.stem)
def test_decision_has_its_sections_and_fits_a_page(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert [section for section in ADR_SECTIONS if section not in text] == []
    assert re.search(r"^Status: ", text, re.MULTILINE)
    assert text.startswith(f"# {record.name[:4]} ")
    assert len(text.split()) <= 700, "a decision fits one page"


def test_every_decision_is_listed_once() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    numbers = [record.name[:4] for record in records()]
    assert len(set(numbers)) == len(numbers), "two records share a number"
    for record in records():
        assert f"({record.name})" in index, record.name


def test_scripts_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_every_test_file_is_collected() -> None:
    """A folder that pytest leaves out by its name is green for ever."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240).stdout
    seen = {line.partition("::")[0] for line in told.splitlines() if "::" in line}
    there = {
        str(path.relative_to(ROOT))
        for folder in ("tests", "e2e")
        for path in (ROOT / folder).rglob("test_*.py")
        if re.search(r"^\s*(async )?def test_", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert sorted(there - seen) == []
