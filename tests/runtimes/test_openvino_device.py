"""OpenVINO runs on the device that is named, in the arithmetic that is named, or not at all."""

from __future__ import annotations

from pathlib import Path

import openvino
import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_runtimes.openvino import plugin
from modelfleet_runtimes.port import Session

from . import variants


def opened(folder: Path, **options: str) -> Session:
    entry, contract = variants.openvino_variant(folder)
    return plugin.open(folder, entry, contract, options=options)


def test_a_device_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    absent = next(name for name in ("NPU.9", "GPU.9") if name not in openvino.Core().available_devices)
    with pytest.raises(WorldError, match=absent) as caught:
        opened(tmp_path, device=absent, inferencePrecision="f16")
    assert caught.value.code is Code.ACCELERATOR_ABSENT
    assert "CPU" in caught.value.expected


@pytest.mark.parametrize("device", ["AUTO", "MULTI:CPU", "HETERO:CPU", "cpu", "GPU.10", ""])
def test_devices_that_choose_for_themselves_are_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(CallerError) as caught:
        opened(tmp_path, device=device)
    assert caught.value.code is Code.RUNTIME_OPTION


def test_unknown_precisions_and_options_are_refused(tmp_path: Path) -> None:
    for options in ({"inferencePrecision": "f64"}, {"threads": "4"}):
        with pytest.raises(CallerError) as caught:
            opened(tmp_path, **options)
        assert caught.value.code is Code.RUNTIME_OPTION


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_the_arithmetic_is_what_was_named_or_the_variant_is_refused(tmp_path: Path, precision: str) -> None:
    core = openvino.Core()
    model = core.read_model(str(variants.MODEL))
    kept = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    actual = kept.get_property("INFERENCE_PRECISION_HINT").to_string()
    if actual == precision:
        opened(tmp_path, device="CPU", inferencePrecision=precision).close()
        return
    with pytest.raises(WorldError, match=f"{actual} arithmetic instead of {precision}") as caught:
        opened(tmp_path, device="CPU", inferencePrecision=precision)
    assert caught.value.code is Code.MODEL_LOAD_FAILED
