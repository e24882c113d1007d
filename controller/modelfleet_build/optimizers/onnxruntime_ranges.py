"""Ranges of every float value of an ONNX model over calibration samples, in bounded memory.

ONNX Runtime's own histogram calibrators keep every intermediate value of every sample until the end, and
their entropy method, as `quantize_static` sets it up, knows one candidate: minimum and maximum.
Here two passes over the samples hold one sample's values and a histogram of fixed size: the first finds least
and greatest value, the second counts, and the method reads the range off the histogram.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Range = tuple[float, float]

METHODS = ("minmax", "percentile", "entropy")
BINS = 2048
# Levels on each side of zero that int8 distinguishes.
_LEVELS = 128
# The search looks at every 8th of the 1920 candidates: a step is 0.4 % of the range.
_STRIDE = 8
_SMOOTHING = 1e-3


def ranges(model: Path, samples: FloatArray, method: str, percentile: float) -> dict[str, Range]:
    """Least and greatest value that quantization shall represent, for each float value by name.

    Args:
        model: ONNX model with shapes inferred and one input.
        samples: [n, ...] float32, logical values of that input.
        method: One of `METHODS`.
        percentile: Share of the values, in percent (50 to 100), that the range keeps; for `percentile`.
    """
    widened, names, answers = _widened(model)
    seen: dict[str, Range] = {}
    for name, value in _values(widened, names, samples):
        finite = value[np.isfinite(value)]
        if finite.size:
            low, high = seen.get(name, (np.inf, -np.inf))
            seen[name] = (min(low, float(finite.min())), max(high, float(finite.max())))
    if method == "minmax":
        return seen
    # The model's answers are never clipped: their rare large values, such as a peak, are what is asked for.
    clipped = [name for name in seen if name not in answers]
    counts = {name: np.zeros(BINS, np.int64) for name in clipped}
    spans = {name: _span(seen[name], method) for name in clipped}
    for name, value in _values(widened, [name for name in names if name in spans], samples):
        if name in spans:
            finite = value[np.isfinite(value)]
            values = np.abs(finite) if method == "entropy" else finite
            counts[name] += np.histogram(values, BINS, range=spans[name])[0]
    if method == "percentile":
        narrow = {name: percentile_range(counts[name], spans[name], percentile) for name in clipped}
    else:
        narrow = {
            name: _within(seen[name], entropy_threshold(counts[name], spans[name][1])) for name in clipped
        }
    return seen | narrow


def percentile_range(counts: Counts, span: Range, percentile: float) -> Range:
    """The bins between which `percentile` % of the values lie, half of the rest on either side.

    Args:
        counts: [bins] of equal width over `span`.
        span: Least and greatest value.
        percentile: 50 to 100.
    """
    total = int(counts.sum())
    spare = total * (1.0 - percentile / 100.0) / 2.0
    cumulated = np.cumsum(counts)
    edges = np.linspace(span[0], span[1], len(counts) + 1)
    first = int(np.searchsorted(cumulated, spare, side="right"))
    last = int(np.searchsorted(cumulated, total - spare, side="left"))
    return float(edges[min(first, len(counts) - 1)]), float(edges[min(last, len(counts) - 1) + 1])


def entropy_threshold(counts: Counts, top: float) -> float:
    """The absolute value at which to clip, so that int8 loses least information.

    Minimises the Kullback-Leibler divergence of the clipped distribution from its 128 levels (S. Migacz,
    8-bit inference with TensorRT, GTC 2017).

    Args:
        counts: [bins] of absolute values, of equal width from 0 to `top`.
        top: Greatest absolute value.
    """
    # Zeros quantize well at any threshold; where most values are zero (ReLU), they would drown the rest.
    counts = np.concatenate((counts[1:2], counts[1:]))
    candidates = [*range(_LEVELS, len(counts), _STRIDE), len(counts)]
    divergences = [_divergence(counts, bins) for bins in candidates]
    # On a tie the widest range: nothing is clipped without a gain.
    _, best = min(zip(divergences, [-bins for bins in candidates], strict=True))
    return float(top * -best / len(counts))


def _divergence(counts: Counts, bins: int) -> float:
    kept = counts[:bins].astype(np.float64)
    clipped = kept.copy()
    clipped[-1] += counts[bins:].sum()
    level = np.arange(bins) * _LEVELS // bins
    full = kept > 0
    sums = np.bincount(level, kept, _LEVELS)
    filled = np.bincount(level, full.astype(np.float64), _LEVELS)
    spread = np.where(full, sums[level] / np.maximum(filled[level], 1.0), 0.0)
    total, coarse = clipped.sum(), spread.sum()
    if total == 0 or coarse == 0:
        return np.inf
    # Clipped values land where nothing else may be; without smoothing one of them would weigh infinitely.
    p, q = clipped / total, (1.0 - _SMOOTHING) * spread / coarse + _SMOOTHING / bins
    wanted = p > 0
    return float((p[wanted] * np.log(p[wanted] / q[wanted])).sum())


def _span(bounds: Range, method: str) -> Range:
    low, high = (0.0, max(abs(bounds[0]), abs(bounds[1]))) if method == "entropy" else bounds
    # A value that never changes has a span of 0, which no histogram can be made over.
    return (low, high) if high > low else (low, low + max(1.0, abs(low)))


def _within(bounds: Range, threshold: float) -> Range:
    return max(bounds[0], -threshold), min(bounds[1], threshold)


def _values(widened: bytes, names: list[str], samples: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """The named values of every sample, and the sample itself; one sample is in memory at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: the order of additions, and with it the last bit, must not hang on the number of processors.
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(widened, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    for row in range(len(samples)):
        sample = samples[row : row + 1]
        yield source, sample
        values: list[Any] = list(session.run(names, {source: sample}))
        yield from zip(names, values, strict=True)


def _widened(model: Path) -> tuple[bytes, list[str], set[str]]:
    """The model with every float value among its outputs, their names, and the outputs it had."""
    import onnx

    proto = onnx.load(str(model))
    graph = proto.graph
    declared = {item.name: item for item in (*graph.value_info, *graph.output)}
    given = {item.name for item in graph.output}
    names: list[str] = []
    for node in graph.node:
        for name in node.output:
            info = declared.get(name)
            if info is None or info.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                continue
            names.append(name)
            if name not in given:
                graph.output.append(info)
    return proto.SerializeToString(), names, given
