from __future__ import annotations

from importlib import metadata

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_runtimes import registry
from modelfleet_runtimes.onnxruntime import OnnxRuntime


def test_bundled_runtimes_come_by_entry_points() -> None:
    found = registry.available()
    assert {"onnxruntime", "litert", "openvino"} <= set(found)
    assert found["onnxruntime"] == metadata.version("onnxruntime")


def test_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(CallerError) as caught:
        registry.load("onnxruntim")
    assert caught.value.code is Code.RUNTIME_UNKNOWN
    assert "onnxruntime" in caught.value.expected


def _point(name: str, value: str) -> metadata.EntryPoint:
    return metadata.EntryPoint(name, value, "modelfleet.runtimes")


ABSENT = OnnxRuntime(name="absent", package="modelfleet-no-such-distribution", extra="absent")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "absent": _point("absent", f"{__name__}:ABSENT"),
        "broken": _point("broken", "modelfleet_no_such_module:plugin"),
        "onnxruntime": _point("onnxruntime", "modelfleet_runtimes.onnxruntime:plugin"),
    }
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    found = registry.survey()
    assert set(found.available) == {"onnxruntime"}
    assert found.absent == {"absent": "absent"}
    assert "ModuleNotFoundError" in found.broken["broken"]
    for name in ("absent", "broken"):
        with pytest.raises(WorldError) as caught:
            registry.load(name)
        assert caught.value.code is Code.RUNTIME_MISSING
    with pytest.raises(WorldError, match=r"modelfleet\[absent\]"):
        registry.load("absent")
