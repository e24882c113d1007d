"""What is built is what is here: every tracked file of the six packages, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.sources import PACKAGES, ROOT, SOURCE_FOLDERS
from tests.house.test_tree import tracked


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def inside() -> set[str]:
    """Return the files of the packages, named as they lie in a wheel."""
    below = [
        path.relative_to(ROOT) for path in tracked() if path.relative_to(ROOT).parts[0] in SOURCE_FOLDERS
    ]
    return {str(Path(*path.parts[1:])) for path in below if path.parts[1] in PACKAGES}


def test_wheel_holds_the_six_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    assert sorted(inside() - set(wheel.namelist())) == []


def test_wheel_names_the_programs_and_the_plug_ins(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(name).decode()
    for section in ("[console_scripts]", "[modelfleet.runtimes]", "[modelfleet.optimizers]"):
        assert section in text


def test_every_entry_point_leads_somewhere() -> None:
    from importlib.metadata import entry_points

    found = [
        point
        for group in ("console_scripts", "modelfleet.runtimes", "modelfleet.optimizers")
        for point in entry_points(group=group)
        if point.dist is not None and point.dist.name == "modelfleet"
    ]
    assert len(found) == 11
    for point in found:
        assert point.load() is not None, point
