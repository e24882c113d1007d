"""Which operators suffer from int8: each is left in float in turn, and what the outputs gain is measured.

The measure is label-free: how far the quantized model's outputs are from the float model's on samples that
took no part in calibration. It is taken on ONNX Runtime's static int8 form of the model, whatever the runtime
of the variant: what a value loses by 8 bits is a property of the value, and the ranking is confirmed in the
variant's own runtime afterwards.

What is left in float is never one operator but all that touch one value: a value is quantized as long as one
of its readers or its writer is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import read_inputs
from modelfleet_build.child.jobs import Sensitivities, Sensitivity, SensitivityJob
from modelfleet_build.optimizers.onnxruntime import prepare, write_qdq
from modelfleet_build.optimizers.onnxruntime_ranges import Range, ranges
from modelfleet_build.port import Tell
from modelfleet_build.quality import relative_error
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

FloatArray = npt.NDArray[np.float32]

# Operators that quantizers fold into the one before: value and folded value are one.
_FOLLOWERS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Sigmoid", "BatchNormalization"})
_TELL_EVERY_S = 5.0
_SETTINGS = {"activations": "uint8", "weights": "int8 per channel"}


def sensitivities(job: SensitivityJob, clock: Clock, tell: Tell) -> Sensitivities:
    """Measure every group of operators that touch one value, until all are measured or time is up.

    Raises:
        WorldError: MF-1432, the model cannot be quantized by ONNX Runtime at all.
    """
    import onnx

    folder = Path(job.folder)
    prepared = folder / "prepared.onnx"
    tuning = read_inputs(Path(job.tuning))
    deadline = clock.monotonic() + job.seconds
    try:
        prepare(Path(job.model), prepared)
        expected = _answers(prepared, tuning)
        found = ranges(prepared, read_inputs(Path(job.calibration)), "minmax", 100)
        baseline = _error(_answers(_quantised(prepared, found, ()), tuning), expected)
    except Exception as error:  # the quantizer raises whatever its parts raise
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"no sensitivity could be measured: {type(error).__name__}: {str(error)[:300]}",
            expected="a model that onnxruntime quantizes",
            todo="build without accuracy control (`--tuning 0s`), or report the model",
        ) from error
    groups = list(groups_of(onnx.load(str(prepared))))
    measured: list[Sensitivity] = []
    refused, reason = 0, ""
    told = clock.monotonic()
    for value, nodes in groups:
        now = clock.monotonic()
        if now >= deadline:
            break
        if now - told >= _TELL_EVERY_S:
            told = now
            tell(f"{len(measured)} of {len(groups)} values measured")
        try:
            answers = _answers(_quantised(prepared, found, nodes), tuning)
        except Exception as error:  # an exclusion that the quantizer cannot do is no candidate
            refused, reason = refused + 1, f"{value}: {' '.join(str(error).split())[:200]}"
            continue
        measured.append(Sensitivity(value, nodes, _error(answers, expected)))
    best_first = tuple(sorted(measured, key=lambda item: item.error))
    return Sensitivities(baseline, best_first, len(groups), refused, reason)


def groups_of(model: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For every value: its name, and the operators that must all stay in float for it to stay so.

    Args:
        model: `onnx.ModelProto` whose nodes are called by their first output.
    """
    initializers = {item.name for item in model.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    writers = {name: node for node in model.graph.node for name in node.output}
    seen: set[frozenset[str]] = set()
    values = [item.name for item in model.graph.input if item.name not in initializers]
    values += [name for node in model.graph.node for name in node.output]
    for value in values:
        nodes = {node.output[0] for node in readers.get(value, [])}
        writer = writers.get(value)
        while writer is not None:
            nodes.add(writer.output[0])
            before = writer.input[0] if writer.input else ""
            folded = writer.op_type in _FOLLOWERS and len(readers.get(before, [])) == 1
            writer = writers.get(before) if folded else None
        if nodes and frozenset(nodes) not in seen:
            seen.add(frozenset(nodes))
            yield value, tuple(sorted(nodes))


def _quantised(prepared: Path, found: Mapping[str, Range], keep: Sequence[str]) -> Path:
    """The int8 form with some operators left in float."""
    target = prepared.with_name("quantized.onnx")
    write_qdq(prepared, target, found, _SETTINGS, keep)
    return target


def _answers(model: Path, inputs: FloatArray) -> list[FloatArray]:
    """Every output for all samples, [n, ...] each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(model), sess_options=options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: inputs[row : row + 1]}) for row in range(len(inputs))]
    return [np.concatenate(values).astype(np.float32) for values in zip(*rows, strict=True)]


def _error(answers: list[FloatArray], expected: list[FloatArray]) -> float:
    return float(np.mean([relative_error(a, e) for a, e in zip(answers, expected, strict=True)]))
