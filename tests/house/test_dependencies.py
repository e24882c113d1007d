"""What an extra pulls in: a device carries nothing of the controller, and nobody a training framework."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.sources import PACKAGES, modules

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

# `pip install 'modelfleet[agent]'` on Linux with CPython. Grow it only with an entry in docs/adr/0007.
AGENT_CLOSURE = {"cffi", "cryptography", "h11", "modelfleet", "msgspec", "pycparser", "urllib3"}


def closure(name: str, extra: str) -> set[str]:
    """Return the distributions that `name[extra]` installs here, `name` included."""
    seen: set[tuple[str, str]] = set()
    open_ends = [(canonicalize_name(name), extra)]
    while open_ends:
        item = open_ends.pop()
        if item in seen:
            continue
        seen.add(item)
        for text in importlib.metadata.requires(item[0]) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": item[1]}):
                child = canonicalize_name(requirement.name)
                open_ends += [(child, one) for one in ["", *sorted(requirement.extras)]]
    return {name for name, _ in seen}


def pins(lock: Path) -> dict[str, set[str]]:
    """Return {name: versions} of a lock file."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", lock.read_text(), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def test_closure_of_the_agent() -> None:
    assert closure("modelfleet", "agent") == AGENT_CLOSURE


def test_lock_of_the_agent_is_its_closure() -> None:
    assert set(pins(ROOT / "requirements" / "agent.txt")) == AGENT_CLOSURE - {"modelfleet"}


# package -> extras of which each names, directly, what the package imports
PARTS = {
    "modelfleet_core": ["agent"],  # cryptography, in trust/keys.py, comes with every part that has keys
    "modelfleet_agent": ["agent", "onnxruntime"],  # the worker's and the SDK's arrays come with the runtime
    "modelfleet_runtimes": [
        "onnxruntime",
        "litert",
        "openvino",
        "tensorrt",
        "tflite-legacy",
        "tflm",
        "executorch",
    ],
    "modelfleet_build": ["build", "search"],
    "modelfleet_controller": ["controller", "postgres", "s3", "operator"],
    "fleetctl": ["cli"],
}


@pytest.mark.parametrize("package", PARTS)
def test_what_a_part_imports_its_extra_names(package: str) -> None:
    project = _project()
    texts = list(project["dependencies"])
    for extra in PARTS[package]:
        texts += project["optional-dependencies"][extra]
    named = {canonicalize_name(Requirement(text).name) for text in texts}
    if "fastapi" in named:
        named.add(canonicalize_name("starlette"))  # part of FastAPI's own interface
    if package == "modelfleet_runtimes":
        named.add(canonicalize_name("tensorrt"))  # part of the GPU's installation (JetPack), of no extra
    if "executorch" in named:
        named.add(canonicalize_name("torch"))  # which executorch needs and does not declare
    providers = importlib.metadata.packages_distributions()
    missing = set()
    for module in modules():
        if module.name.partition(".")[0] != package or ".testing" in module.name:
            continue
        if ".isolated.scripts" in module.name:
            continue  # they run in environments of their own, which have locks of their own
        for _, name in module.imports():
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in PACKAGES:
                continue
            if not {canonicalize_name(one) for one in providers.get(top, [top])} & named:
                missing.add(f"{module.path}: {top}")
    assert sorted(missing) == []


@pytest.mark.parametrize("extra", ["agent", "all", "build", "cli", "controller", "operator"])
def test_no_extra_pulls_a_training_framework(extra: str) -> None:
    heavy = {"jax", "keras", "tensorflow", "tensorflow-cpu", "torch"}
    assert closure("modelfleet", extra) & heavy == set()


# Extras that cannot stand beside the others: numpy 1, and torch.
APART = ("tflite-legacy", "executorch")


def test_all_is_every_extra_but_those_apart() -> None:
    project = _project()
    extras = set(project["optional-dependencies"]) - {"all", *APART}
    (combined,) = project["optional-dependencies"]["all"]
    assert Requirement(combined).extras == extras


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_names_no_address_and_no_option(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert not re.search(r"://|^-|@|\bfile:", line), line


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_is_hashed(lock: Path) -> None:
    text = lock.read_text()
    entries = re.findall(r"^[a-z0-9].*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 0


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_agree_with_each_other(lock: Path) -> None:
    everything = pins(ROOT / "requirements" / "dev.txt")
    for name, versions in pins(lock).items():
        assert versions <= everything[name], name


def test_locks_satisfy_the_project_file() -> None:
    """A requirement that was changed without `make relock` shows here."""
    project = _project()
    everything = pins(ROOT / "requirements" / "dev.txt")
    extras = [group for name, group in project["optional-dependencies"].items() if name not in APART]
    for text in (text for group in [project["dependencies"], *extras, _groups()["dev"]] for text in group):
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == "modelfleet":
            continue
        assert name in everything, f"{text} is not locked: make relock"
        for version in everything[name]:
            assert requirement.specifier.contains(version), f"{text} is locked at {version}: make relock"


def _document() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _project() -> dict[str, Any]:
    project: dict[str, Any] = _document()["project"]
    return project


def _groups() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = _document()["dependency-groups"]
    return groups
