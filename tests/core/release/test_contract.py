from __future__ import annotations

from typing import Any

import pytest

from modelfleet_core.release.contract import (
    DType,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)

IMAGE = LogicalTensor("image", (-1, 1, 32, 32), Layout.NCHW, minimum=0.0, maximum=1.0)
BOUND = TensorBinding(
    IMAGE, PhysicalTensor("serving_default", DType.INT8, Layout.NHWC, (1, 32, 32, 1), 0.5, -128)
)


def test_elements_of_a_sample_leave_the_batch_out() -> None:
    assert IMAGE.elements_per_sample() == 1024
    assert LogicalTensor("x", (8,)).elements_per_sample() == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 257},
        {"shape": ()},
        {"shape": (1,) * 7},
        {"shape": (-2, 3)},
        {"shape": (0, 3)},
        {"shape": (1, -1)},
        {"shape": (1, 0)},
        {"shape": (1, 3), "layout": Layout.NCHW},
    ],
)
def test_impossible_tensors_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        LogicalTensor(**({"name": "x", "shape": (-1, 3)} | fields))


@pytest.mark.parametrize(("scale", "zero"), [(None, 0), (0.1, None), (0.0, 0), (-1.0, 0), (float("nan"), 0)])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
def test_integers_need_a_scale(dtype: DType, scale: float | None, zero: int | None) -> None:
    with pytest.raises(ValueError):
        PhysicalTensor("x", dtype, scale=scale, zero_point=zero)
    PhysicalTensor("x", DType.FLOAT32, scale=scale, zero_point=zero)


def test_names_of_one_side_are_unique_and_there_are_some() -> None:
    contract = InputContract((BOUND,), (BOUND,))
    assert contract.logical() == ((IMAGE,), (IMAGE,))
    for sides in (((), (BOUND,)), ((BOUND,), ()), ((BOUND, BOUND), (BOUND,)), ((BOUND,), (BOUND,) * 33)):
        with pytest.raises(ValueError):
            InputContract(*sides)
