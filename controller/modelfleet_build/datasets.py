"""Calibration, validation and golden data: read within limits, checked, told apart by their samples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import LogicalTensor
from modelfleet_runtimes.golden import NO_LABEL, scaled
from modelfleet_runtimes.npz import NpzError, read_npz

FloatArray = npt.NDArray[np.float32]

MAX_DATASET_BYTES = 1024 * 1024 * 1024
BYTE_SCALE = 1.0 / 255.0
GOLDEN_SAMPLES = 64
# Two ways to divide bytes by 255 differ in the last bit; steps of 2^-16 do not see that.
_DIGEST_STEPS = 65536.0


class Role(StrEnum):
    """What a data set is for."""

    CALIBRATION = "calibration"
    VALIDATION = "validation"
    GOLDEN = "golden"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked data set.

    Attributes:
        role: What it is for.
        stored: [n, ...] uint8 or float32 as given, in the shape of the input.
        scale: Logical value = stored * scale.
        labels: [n] int64, `NO_LABEL` where there is none.
        sha256: Digest of the file it came from.
        samples: Digest of every sample's logical values.
    """

    role: Role
    stored: npt.NDArray[Any]
    scale: float
    labels: npt.NDArray[np.int64]
    sha256: str
    samples: tuple[bytes, ...]

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    @property
    def inputs(self) -> FloatArray:
        """[n, ...] float32 logical values."""
        return scaled(self.stored, self.scale)

    def part(self, rows: slice, role: Role) -> Dataset:
        """Some of the rows, for another purpose."""
        return Dataset(
            role, self.stored[rows], self.scale, self.labels[rows], self.sha256, self.samples[rows]
        )


def read_dataset(path: Path, role: Role, tensor: LogicalTensor, classes: int) -> Dataset:
    """Read `images` (or `inputs`) and `labels` of an `.npz` file.

    Args:
        path: The file.
        role: Labels may be absent in calibration data only; validation labels must all be given.
        tensor: The model's input: images must have its shape, or lack its single channel.
        classes: Number of classes; labels are 0 to `classes` - 1.

    Raises:
        CallerError: MF-1410 to MF-1415.
    """
    arrays = _read(path, role)
    images = arrays.get("images", arrays.get("inputs"))
    if images is None:
        raise _refused(Code.DATASET_UNREADABLE, role, path, "has no array named images", "images and labels")
    if images.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise _refused(
            Code.DATASET_DTYPE,
            role,
            path,
            f"holds images of {images.dtype}",
            "uint8 (0 to 255, used as 0 to 1) or float32 as the model takes it",
        )
    if images.ndim > 0 and len(images) == 0:
        raise _refused(Code.DATASET_EMPTY, role, path, "is empty", "at least one sample")
    stored = _shaped(images, role, path, tensor)
    if stored.dtype == np.float32 and not np.isfinite(stored).all():
        rows = np.flatnonzero(~np.isfinite(stored.reshape(len(stored), -1)).all(axis=1))
        raise _refused(
            Code.DATASET_NOT_FINITE,
            role,
            path,
            f"holds NaN or infinite values in {len(rows)} of {len(stored)} samples (first: {rows[0]})",
            "finite values",
        )
    labels = _labels(arrays.get("labels"), role, path, len(stored), classes)
    scale = BYTE_SCALE if stored.dtype == np.uint8 else 1.0
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    samples = tuple(sample_digest(row) for row in scaled(stored, scale))
    return Dataset(role, stored, scale, labels, digest, samples)


def sample_digest(values: FloatArray) -> bytes:
    """Identity of one sample by its logical values, blind to the last bits of float32."""
    steps = np.rint(values.astype(np.float64) * _DIGEST_STEPS).astype(np.int64)
    return hashlib.sha256(steps.tobytes()).digest()


def set_digest(data: Dataset) -> str:
    """Identity of a data set by its samples in order, whatever file they came from."""
    return hashlib.sha256(b"".join(data.samples)).hexdigest()


def set_apart_golden(validation: Dataset) -> tuple[Dataset, Dataset]:
    """Split a validation set into (validation, golden) where no golden set was given.

    The golden part is the last quarter, at most `GOLDEN_SAMPLES`, at least one sample.

    Raises:
        CallerError: MF-1414, there are fewer than two samples.
    """
    count = len(validation)
    if count < 2:
        raise CallerError(
            Code.DATASET_EMPTY,
            "one validation sample cannot be split into validation and golden data",
            expected="two or more samples, or a golden set of its own",
            todo="give more validation data or --golden",
        )
    cut = count - max(1, min(GOLDEN_SAMPLES, count // 4))
    return validation.part(slice(0, cut), Role.VALIDATION), validation.part(slice(cut, count), Role.GOLDEN)


def check_disjoint(sets: list[Dataset]) -> None:
    """Refuse data sets that share samples: their numbers would flatter the model.

    Raises:
        CallerError: MF-1416, with the two sets, how many samples and one pair of rows.
    """
    for index, one in enumerate(sets):
        rows = {digest: row for row, digest in enumerate(one.samples)}
        for other in sets[index + 1 :]:
            shared = [(rows[digest], row) for row, digest in enumerate(other.samples) if digest in rows]
            if shared:
                first = shared[0]
                raise CallerError(
                    Code.DATASET_OVERLAP,
                    f"{len(shared)} of {len(other)} {other.role} samples are also in the {one.role} set "
                    f"(sample {first[1]} is its sample {first[0]})",
                    expected="calibration, validation and golden data without a common sample",
                    todo="split the data anew; a gate that saw its data before proves nothing",
                )


def _read(path: Path, role: Role) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise _refused(Code.DATASET_UNREADABLE, role, path, "is not there", "an .npz file")
    try:
        return read_npz(path, names=("images", "inputs", "labels"), limit=MAX_DATASET_BYTES)
    except NpzError as error:
        raise _refused(
            Code.DATASET_UNREADABLE, role, path, f"is unusable: {error}", "an .npz file of plain arrays"
        ) from error


def _shaped(images: npt.NDArray[Any], role: Role, path: Path, tensor: LogicalTensor) -> npt.NDArray[Any]:
    wanted = tensor.shape[1:]
    if images.shape[1:] == wanted:
        return images
    if len(wanted) == 3 and wanted[0] == 1 and images.shape[1:] == wanted[1:]:
        return images[:, None]
    raise _refused(
        Code.DATASET_SHAPE,
        role,
        path,
        f"holds images of shape {list(images.shape[1:])}",
        f"{list(wanted)} as the model's input {tensor.name!r}",
    )


def _labels(
    labels: npt.NDArray[Any] | None, role: Role, path: Path, count: int, classes: int
) -> npt.NDArray[np.int64]:
    if labels is None:
        if role is Role.CALIBRATION:
            return np.full(count, NO_LABEL, np.int64)
        raise _refused(Code.DATASET_LABELS, role, path, "has no labels", "an array labels")
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise _refused(
            Code.DATASET_LABELS,
            role,
            path,
            f"has labels of {labels.dtype} and shape {list(labels.shape)}",
            f"{count} whole numbers",
        )
    values = labels.astype(np.int64)
    least = 0 if role is Role.VALIDATION else NO_LABEL
    if values.min() < least or values.max() >= classes:
        raise _refused(
            Code.DATASET_LABELS,
            role,
            path,
            f"has labels from {values.min()} to {values.max()}",
            f"{least} to {classes - 1}, the classes of the model",
        )
    return values


def _refused(code: Code, role: Role, path: Path, what: str, expected: str) -> CallerError:
    return CallerError(
        code, f"the {role} set {path.name} {what}", expected=expected, todo=f"correct the {role} data"
    )
