from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.release.contract import (
    BATCH,
    DType,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)
from modelfleet_runtimes.binding import to_logical, to_physical

LOGICAL = LogicalTensor("x", (BATCH, 3, 2, 5), Layout.NCHW)


def _binding(
    dtype: DType, layout: Layout, scale: float | None = None, zero: int | None = None
) -> TensorBinding:
    return TensorBinding(LOGICAL, PhysicalTensor("x", dtype, layout, (1, 2, 5, 3), scale, zero))


def _values() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(7).uniform(-3, 3, (2, 3, 2, 5)).astype(np.float32)


def test_nhwc_puts_each_element_where_it_belongs() -> None:
    values = _values()
    stored = to_physical(_binding(DType.FLOAT32, Layout.NHWC), values)
    assert stored.shape == (2, 2, 5, 3)
    assert stored.flags.c_contiguous
    assert stored[1, 0, 4, 2] == values[1, 2, 0, 4]
    np.testing.assert_array_equal(to_logical(_binding(DType.FLOAT32, Layout.NHWC), stored), values)


def test_nchw_is_left_as_it_is() -> None:
    values = _values()
    np.testing.assert_array_equal(to_physical(_binding(DType.FLOAT32, Layout.NCHW), values), values)


@given(
    st.sampled_from([DType.INT8, DType.UINT8]),
    st.floats(1e-4, 1.0),
    st.integers(0, 100),
)
def test_quantising_and_back_is_within_half_a_step(dtype: DType, scale: float, zero: int) -> None:
    binding = _binding(dtype, Layout.NHWC, scale, zero)
    limits = np.iinfo(dtype.value)
    low, high = (limits.min - zero) * scale, (limits.max - zero) * scale
    values = np.clip(_values(), low, high).astype(np.float32)
    back = to_logical(binding, to_physical(binding, values))
    assert np.abs(back - values).max() <= scale / 2 * 1.001 + 1e-5


def test_quantising_saturates() -> None:
    binding = _binding(DType.INT8, Layout.NHWC, 0.01, 5)
    values = np.full((1, 3, 2, 5), 1e9, np.float32)
    assert to_physical(binding, values).max() == 127
    assert to_physical(binding, -values).min() == -128


def test_quantising_rounds_half_to_even() -> None:
    binding = _binding(DType.UINT8, Layout.NHWC, 1.0, 0)
    values = np.zeros((1, 3, 2, 5), np.float32)
    values[0, 0, 0, :4] = [0.5, 1.5, 2.5, 3.5]
    assert to_physical(binding, values)[0, 0, :4, 0].tolist() == [0, 2, 2, 4]
