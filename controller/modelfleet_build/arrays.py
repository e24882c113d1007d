"""Hands arrays of samples to child processes and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelfleet_build.datasets import MAX_DATASET_BYTES
from modelfleet_runtimes.npz import read_npz


def write_inputs(path: Path, inputs: npt.NDArray[np.float32]) -> None:
    """Write logical inputs [n, ...] for a child process."""
    with path.open("wb") as file:
        np.savez(file, inputs=inputs)


def read_inputs(path: Path) -> npt.NDArray[np.float32]:
    """Read what `write_inputs` wrote. float32 may take four times the room of the bytes it came from."""
    return np.asarray(read_npz(path, names=("inputs",), limit=8 * MAX_DATASET_BYTES)["inputs"], np.float32)


def read_calibration(path: Path | None) -> npt.NDArray[np.float32]:
    """Samples of a recipe that needs them; the pipeline sees to it that they are there."""
    if path is None:
        raise ValueError("this recipe needs calibration data")
    return read_inputs(path)


def read_answers(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Validation and golden answers that a measuring child wrote."""
    arrays = read_npz(path, names=("validation", "golden"), limit=8 * MAX_DATASET_BYTES)
    return np.asarray(arrays["validation"], np.float32), np.asarray(arrays["golden"], np.float32)
