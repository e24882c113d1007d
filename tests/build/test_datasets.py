from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_build.datasets import (
    Dataset,
    check_disjoint,
    read_dataset,
    sample_digest,
    set_apart_golden,
)
from modelfleet_build.roles import Role
from modelfleet_build.truth import TruthRules
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, Layout, LogicalTensor
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.truth import NO_LABEL

from .conftest import write_images

TENSOR = LogicalTensor("x", (BATCH, 1, 8, 8), Layout.NCHW)
RULES = TruthRules(Task.CLASSIFICATION, 4)


def read(path: Path, role: Role = Role.VALIDATION) -> Dataset:
    return read_dataset(path, role, TENSOR, RULES)


def refused(path: Path, code: Code, role: Role = Role.VALIDATION) -> str:
    with pytest.raises(CallerError) as caught:
        read(path, role)
    assert caught.value.code is code
    assert role.value in caught.value.happened
    return caught.value.happened


def test_bytes_become_zero_to_one(tmp_path: Path) -> None:
    images = np.zeros((3, 1, 8, 8), np.uint8)
    images[0] = 255
    data = read(write_images(tmp_path / "v.npz", 3, 0, images=images))
    assert data.inputs.dtype == np.float32
    assert data.inputs[0].min() == data.inputs[0].max() == 1.0
    assert data.inputs[1].max() == 0.0


def test_a_single_channel_may_be_left_out(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8)).astype(np.uint8)
    assert read(write_images(tmp_path / "v.npz", 5, 0, images=images)).stored.shape == (5, 1, 8, 8)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("shape", [(5, 1, 8, 9), (5, 3, 8, 8), (5, 64), (5, 1, 1, 8, 8), ()])
def test_wrong_shape(tmp_path: Path, role: Role, shape: tuple[int, ...]) -> None:
    images = np.ones(shape, np.uint8)
    refused(write_images(tmp_path / "v.npz", 5, 0, images=images), Code.DATASET_SHAPE, role)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_, np.float16])
def test_wrong_dtype(tmp_path: Path, dtype: type[Any]) -> None:
    images = np.ones((5, 1, 8, 8), dtype)
    said = refused(
        write_images(tmp_path / "c.npz", 5, 0, images=images), Code.DATASET_DTYPE, Role.CALIBRATION
    )
    assert np.dtype(dtype).name in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_in_calibration(tmp_path: Path, value: float) -> None:
    images = np.ones((5, 1, 8, 8), np.float32)
    images[3, 0, 2, 2] = value
    path = write_images(tmp_path / "c.npz", 5, 0, images=images)
    assert "first: 3" in refused(path, Code.DATASET_NOT_FINITE, Role.CALIBRATION)


@pytest.mark.parametrize("role", list(Role))
def test_empty(tmp_path: Path, role: Role) -> None:
    refused(write_images(tmp_path / "v.npz", 0, 0), Code.DATASET_EMPTY, role)


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    refused(write_images(path, 5, 0, labelled=False), Code.DATASET_LABELS)
    for bad in (
        np.zeros(4, np.int64),
        np.zeros(5, np.float32),
        np.full(5, 4),
        np.full(5, NO_LABEL),
        np.zeros((5, 1), np.int64),
    ):
        refused(write_images(path, 5, 0, labels=bad), Code.DATASET_LABELS)
    unlabelled = write_images(path, 5, 0, labels=np.full(5, NO_LABEL))
    assert read(unlabelled, Role.GOLDEN).truth["labels"].tolist() == [NO_LABEL] * 5
    assert read(write_images(path, 5, 0, labelled=False), Role.CALIBRATION).truth == {}


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    refused(path, Code.DATASET_UNREADABLE)
    path.write_bytes(b"no archive")
    refused(path, Code.DATASET_UNREADABLE)
    write_images(path, 5, 0)
    path.write_bytes(path.read_bytes()[:200])
    refused(path, Code.DATASET_UNREADABLE)
    np.savez(path, pictures=np.ones(3))
    refused(path, Code.DATASET_UNREADABLE)
    np.savez(path, images=np.asarray([{"a": 1}], object))
    refused(path, Code.DATASET_UNREADABLE)


def test_sets_that_share_a_sample_are_refused(tmp_path: Path) -> None:
    validation = read(write_images(tmp_path / "v.npz", 20, 1))
    images = np.random.default_rng(9).integers(0, 256, (6, 1, 8, 8)).astype(np.uint8)
    images[4] = validation.stored[13]
    golden = read(write_images(tmp_path / "g.npz", 6, 2, images=images), Role.GOLDEN)
    with pytest.raises(CallerError) as caught:
        check_disjoint([validation, golden])
    assert caught.value.code is Code.DATASET_OVERLAP
    assert "1 of 6 golden samples are also in the validation set (sample 4 is its sample 13)" in (
        caught.value.happened
    )
    check_disjoint([validation, golden.part(slice(0, 4), Role.GOLDEN)])


def test_the_same_image_as_bytes_and_as_floats_is_the_same_sample(tmp_path: Path) -> None:
    data = read(write_images(tmp_path / "v.npz", 20, 1))
    floats = data.stored.astype(np.float32) / np.float32(255)
    other = read(write_images(tmp_path / "c.npz", 20, 1, images=floats), Role.CALIBRATION)
    with pytest.raises(CallerError, match="20 of 20"):
        check_disjoint([data, other])


@given(st.integers(0, 254), st.integers(0, 63))
def test_one_grey_level_makes_another_sample(level: int, place: int) -> None:
    one = np.full((1, 8, 8), level / 255, np.float32)
    other = one.copy()
    other.reshape(-1)[place] = (level + 1) / 255
    assert sample_digest(one) != sample_digest(other)


@pytest.mark.parametrize(("count", "left"), [(2, 1), (4, 3), (100, 75), (300, 236), (1000, 936)])
def test_a_golden_set_is_set_apart(tmp_path: Path, count: int, left: int) -> None:
    data = read(write_images(tmp_path / "v.npz", count, 1))
    validation, golden = set_apart_golden(data)
    assert (len(validation), len(golden)) == (left, count - left)
    assert golden.role is Role.GOLDEN
    check_disjoint([validation, golden])


def test_one_sample_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(CallerError) as caught:
        set_apart_golden(read(write_images(tmp_path / "v.npz", 1, 1)))
    assert caught.value.code is Code.DATASET_EMPTY
