"""What each value of a network gains by staying in float, measured in ONNX Runtime on the real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfleet_build.arrays import write_inputs
from modelfleet_build.child.jobs import SensitivityJob
from modelfleet_build.optimizers import onnxruntime_sensitivity
from modelfleet_build.optimizers.onnxruntime_sensitivity import groups_of, sensitivities
from modelfleet_core.clock import ManualClock

from .conftest import DIGITS
from .spiked import NODES, spike


@pytest.fixture
def job(tmp_path: Path) -> SensitivityJob:
    """The spiked digits network, and few samples."""
    model = spike(DIGITS / "digits-1.1.onnx", tmp_path / "spiked.onnx")
    for file in ("calibration", "validation"):
        with np.load(DIGITS / f"{file}.npz", allow_pickle=False) as arrays:
            write_inputs(tmp_path / f"{file}-few.npz", arrays["images"][:24].astype(np.float32))
    return SensitivityJob(
        model=str(model),
        calibration=str(tmp_path / "calibration-few.npz"),
        tuning=str(tmp_path / "validation-few.npz"),
        folder=str(tmp_path),
        seconds=60.0,
    )


def test_the_spiked_value_gains_most(job: SensitivityJob) -> None:
    found = sensitivities(job, ManualClock(), lambda text: None)
    assert (found.refused, found.reason) == (0, "")
    assert len(found.found) == found.groups
    assert set(found.found[0].nodes) == set(NODES)
    assert found.found[0].error < 0.5 * found.baseline


def test_what_the_quantizer_cannot_leave_in_float_is_counted_with_its_reason(
    job: SensitivityJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    real = onnxruntime_sensitivity._quantised
    value, nodes = next(groups_of(onnx.load(job.model)))

    def stubborn(prepared: Path, found: Any, kept: tuple[str, ...]) -> Any:
        if kept == nodes:
            raise RuntimeError("no such\nexclusion")
        return real(prepared, found, kept)

    monkeypatch.setattr(onnxruntime_sensitivity, "_quantised", stubborn)
    found = sensitivities(job, ManualClock(), lambda text: None)
    assert (found.refused, found.reason) == (1, f"{value}: no such exclusion")
    assert len(found.found) == found.groups - 1


def test_no_measurement_is_begun_when_the_time_is_up(job: SensitivityJob) -> None:
    found = sensitivities(replace(job, seconds=0.0), ManualClock(), lambda text: None)
    assert (found.found, found.refused) == ((), 0)
    assert found.groups > 0
