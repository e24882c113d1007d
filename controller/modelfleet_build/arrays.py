"""Hands arrays of samples to child processes, and their answers back.

Answers are written sample by sample, one `.npy` file per output, and read as maps of those files: those of a
segmenter take hundreds of megabytes, which neither process has to hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from modelfleet_build.datasets import MAX_DATASET_BYTES
from modelfleet_core.release.contract import LogicalTensor
from modelfleet_runtimes.npz import read_npz

FloatArray = npt.NDArray[np.float32]
Tensors = tuple[LogicalTensor, ...]

MAX_ANSWER_BYTES = 1024 * 1024 * 1024
"""Answers of one variant to one data set."""


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


def answer_bytes(outputs: Tensors) -> int:
    """Bytes of the answer to one sample."""
    return sum(4 * tensor.elements_per_sample() for tensor in outputs)


def samples_that_fit(outputs: Tensors) -> int:
    """How many samples may be answered within `MAX_ANSWER_BYTES`, at least one."""
    return max(1, MAX_ANSWER_BYTES // answer_bytes(outputs))


class AnswerWriter:
    """Writes the answers to one data set, sample by sample.

    Args:
        folder: Existing folder.
        name: Of the data set.
        outputs: Logical outputs of the variant.
        samples: How many answers will follow.
    """

    def __init__(self, folder: Path, name: str, outputs: Tensors, samples: int) -> None:
        self._outputs = outputs
        self._stack = ExitStack()
        self._files: list[BinaryIO] = []
        for index, tensor in enumerate(outputs):
            file = self._stack.enter_context(_file(folder, name, index).open("wb"))
            shape = (samples, *tensor.shape[1:])
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            self._files.append(file)

    def add(self, answer: Mapping[str, FloatArray] | None) -> None:
        """Append the answer [1, ...] to one sample; None where the runtime failed: it becomes NaN."""
        for tensor, file in zip(self._outputs, self._files, strict=True):
            shape = (1, *tensor.shape[1:])
            value = answer[tensor.name] if answer is not None else np.full(shape, np.nan, np.float32)
            file.write(np.ascontiguousarray(value.reshape(shape), "<f4").tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def read_answers(folder: Path, name: str, outputs: Tensors, samples: int) -> dict[str, FloatArray]:
    """The answers to one data set: [samples, ...] by output, mapped from the files.

    They stay readable when the files are removed afterwards.
    """
    answers: dict[str, FloatArray] = {}
    for index, tensor in enumerate(outputs):
        array = np.load(_file(folder, name, index), mmap_mode="r", allow_pickle=False)
        if array.dtype != np.float32 or array.shape != (samples, *tensor.shape[1:]):
            raise ValueError(f"the answers {tensor.name!r} are {array.dtype} of shape {array.shape}")
        answers[tensor.name] = array
    return answers


def _file(folder: Path, name: str, index: int) -> Path:
    return folder / f"{name}.{index}.npy"
