"""Calibration, validation and golden data: read within limits, checked, told apart by their samples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_build.roles import Role, refused
from modelfleet_build.truth import TruthRules, read_truth
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import LogicalTensor
from modelfleet_runtimes.golden import scaled
from modelfleet_runtimes.npz import NpzError, read_npz
from modelfleet_runtimes.truth import FIELDS, Truth, rows

FloatArray = npt.NDArray[np.float32]

MAX_DATASET_BYTES = 1024 * 1024 * 1024
BYTE_SCALE = 1.0 / 255.0
GOLDEN_SAMPLES = 64
# Two ways to divide bytes by 255 differ in the last bit; steps of 2^-16 do not see that.
_DIGEST_STEPS = 65536.0


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked data set.

    Attributes:
        role: What it is for.
        stored: [n, ...] uint8 or float32 as given, in the shape of the input.
        scale: Logical value = stored * scale.
        truth: What is true of the samples, by name (`modelfleet_runtimes.truth`); empty for calibration.
        sha256: Digest of the file it came from.
        samples: Digest of every sample's logical values.
    """

    role: Role
    stored: npt.NDArray[Any]
    scale: float
    truth: Truth
    sha256: str
    samples: tuple[bytes, ...]

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    @property
    def inputs(self) -> FloatArray:
        """[n, ...] float32 logical values."""
        return scaled(self.stored, self.scale)

    def part(self, chosen: slice, role: Role) -> Dataset:
        """Some of the rows, for another purpose."""
        truth = rows(self.truth, chosen)
        return replace(self, role=role, stored=self.stored[chosen], truth=truth, samples=self.samples[chosen])


def read_dataset(path: Path, role: Role, tensor: LogicalTensor, rules: TruthRules) -> Dataset:
    """Read `images` (or `inputs`) and the truth of an `.npz` file.

    Args:
        path: The file.
        role: The truth may be absent in calibration data only.
        tensor: The model's input: images must have its shape, or lack its single channel.
        rules: What the truth has to look like.

    Raises:
        CallerError: MF-1410 to MF-1415, MF-1419.
    """
    arrays = _read(path, role, FIELDS[rules.task])
    images = arrays.get("images", arrays.get("inputs"))
    if images is None:
        raise refused(Code.DATASET_UNREADABLE, role, path, "has no array named images", "images and truth")
    if images.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise refused(
            Code.DATASET_DTYPE,
            role,
            path,
            f"holds images of {images.dtype}",
            "uint8 (0 to 255, used as 0 to 1) or float32 as the model takes it",
        )
    if images.ndim > 0 and len(images) == 0:
        raise refused(Code.DATASET_EMPTY, role, path, "is empty", "at least one sample")
    stored = _shaped(images, role, path, tensor)
    if stored.dtype == np.float32 and not np.isfinite(stored).all():
        rows = np.flatnonzero(~np.isfinite(stored.reshape(len(stored), -1)).all(axis=1))
        raise refused(
            Code.DATASET_NOT_FINITE,
            role,
            path,
            f"holds NaN or infinite values in {len(rows)} of {len(stored)} samples (first: {rows[0]})",
            "finite values",
        )
    truth = read_truth(arrays, role, path, len(stored), rules)
    scale = BYTE_SCALE if stored.dtype == np.uint8 else 1.0
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    samples = tuple(sample_digest(row) for row in scaled(stored, scale))
    return Dataset(role, stored, scale, truth, digest, samples)


def sample_digest(values: FloatArray) -> bytes:
    """Identity of one sample by its logical values, blind to the last bits of float32."""
    steps = np.rint(values.astype(np.float64) * _DIGEST_STEPS).astype(np.int64)
    return hashlib.sha256(steps.tobytes()).digest()


def set_digest(data: Dataset) -> str:
    """Identity of a data set by its samples in order, whatever file they came from."""
    return hashlib.sha256(b"".join(data.samples)).hexdigest()


def data_digest(data: Dataset) -> str:
    """Identity of samples and truth together."""
    digest = hashlib.sha256(set_digest(data).encode())
    for name, values in sorted(data.truth.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def set_apart_tuning(calibration: Dataset, most: int) -> tuple[Dataset, Dataset | None]:
    """Split calibration data into (calibration, tuning).

    The tuning part is the last fifth, at most `most` samples; None where that is not one. It needs no labels:
    settings are chosen by how near the float parent's answers stay.
    """
    count = len(calibration)
    cut = count - min(most, count // 5)
    if cut == count:
        return calibration, None
    return (
        calibration.part(slice(0, cut), Role.CALIBRATION),
        calibration.part(slice(cut, count), Role.TUNING),
    )


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


def _read(path: Path, role: Role, truth: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise refused(Code.DATASET_UNREADABLE, role, path, "is not there", "an .npz file")
    try:
        return read_npz(path, names=("images", "inputs", *truth), limit=MAX_DATASET_BYTES)
    except NpzError as error:
        raise refused(
            Code.DATASET_UNREADABLE, role, path, f"is unusable: {error}", "an .npz file of plain arrays"
        ) from error


def _shaped(images: npt.NDArray[Any], role: Role, path: Path, tensor: LogicalTensor) -> npt.NDArray[Any]:
    wanted = tensor.shape[1:]
    if images.shape[1:] == wanted:
        return images
    if len(wanted) == 3 and wanted[0] == 1 and images.shape[1:] == wanted[1:]:
        return images[:, None]
    raise refused(
        Code.DATASET_SHAPE,
        role,
        path,
        f"holds images of shape {list(images.shape[1:])}",
        f"{list(wanted)} as the model's input {tensor.name!r}",
    )
