"""The Ethos-U plug-in up to the hardware: what it refuses, and that it says what is missing."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import InputContract
from modelfleet_runtimes.ethos_u import DELEGATE, plugin

from .variants import tflite_variant


@pytest.fixture
def variant(tmp_path: Path) -> tuple[Path, str, InputContract]:
    entry, contract = tflite_variant(tmp_path)
    return tmp_path, entry, contract


def test_a_device_without_the_delegate_is_told(variant: tuple[Path, str, InputContract]) -> None:
    with pytest.raises(WorldError, match=DELEGATE) as caught:
        plugin.open(*variant)
    assert caught.value.code is Code.DELEGATE_MISSING
    assert "board's system image" in caught.value.expected


@pytest.mark.parametrize(
    "library", ["/usr/lib/nowhere.so", "nowhere.so.1", ctypes.util.find_library("m") or "libm.so.6"]
)
def test_a_library_that_is_absent_or_no_delegate(
    variant: tuple[Path, str, InputContract], library: str
) -> None:
    with pytest.raises(WorldError, match="cannot load the delegate") as caught:
        plugin.open(*variant, options={"delegate": library})
    assert caught.value.code is Code.DELEGATE_MISSING
    assert library in caught.value.happened


@pytest.mark.parametrize(
    "library", ["", "lib.py", "/tmp/lib.so", "/usr/lib/../../tmp/lib.so", "./lib.so", "lib.so;x"]
)
def test_a_release_chooses_only_among_the_libraries_of_the_system(
    variant: tuple[Path, str, InputContract], library: str
) -> None:
    with pytest.raises(CallerError) as caught:
        plugin.open(*variant, options={"delegate": library})
    assert caught.value.code is Code.RUNTIME_OPTION


def test_other_options_are_refused(variant: tuple[Path, str, InputContract]) -> None:
    with pytest.raises(CallerError) as caught:
        plugin.open(*variant, options={"device": "0"})
    assert caught.value.code is Code.RUNTIME_OPTION


def test_a_damaged_file_is_refused_before_the_delegate(variant: tuple[Path, str, InputContract]) -> None:
    folder, entry, contract = variant
    (folder / entry).write_bytes((folder / entry).read_bytes()[:-1000])
    with pytest.raises(WorldError) as caught:
        plugin.open(folder, entry, contract)
    assert caught.value.code is Code.MODEL_LOAD_FAILED
