"""Variants for ONNX Runtime: the model as given, and static int8 in QDQ form (U8 activations, S8 weights)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfleet_build.arrays import read_calibration
from modelfleet_build.facts import float_contract, onnx_batch
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Precision

ENTRY = "model.onnx"
_RECIPES: Mapping[Precision, Recipe] = {
    Precision.FP32: Recipe("onnx-as-given", Precision.FP32),
    # S8 activations are about three times slower on x86 without a gain in accuracy; hence U8S8.
    Precision.INT8: Recipe(
        "qdq-u8s8-per-channel",
        Precision.INT8,
        {"format": "QDQ", "activations": "QUInt8", "weights": "QInt8 per channel", "calibration": "MinMax"},
        needs_calibration=True,
    ),
}


@dataclass(frozen=True, slots=True)
class OnnxRuntimeOptimizer:
    """The plug-in `onnxruntime`."""

    name: str = "onnxruntime"
    runtime: str = "onnxruntime"
    packages: tuple[str, ...] = ("onnxruntime", "onnx")

    def recipe(self, precision: Precision) -> Recipe | None:
        """See `port.Optimizer.recipe`."""
        return _RECIPES.get(precision)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        target = task.folder / ENTRY
        if task.recipe.precision is Precision.FP32:
            shutil.copyfile(task.model, target)
        else:
            _quantise(task, target, tell)
        return Converted(ENTRY, float_contract(task.facts, layout=Layout.NCHW, batch=onnx_batch(task.facts)))


def simplified(model: Any, scratch: Path) -> Any:
    """The same ONNX model with constants and batch normalisation folded, in standard operators.

    Args:
        model: An `onnx.ModelProto`.
        scratch: Folder for two files.
    """
    import onnx
    import onnxruntime

    source, target = scratch / "full.onnx", scratch / "folded.onnx"
    onnx.save(model, str(source))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), sess_options=options, providers=["CPUExecutionProvider"])
    return onnx.load(str(target))


def _quantise(task: ConversionTask, target: Path, tell: Tell) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    samples = read_calibration(task.calibration)
    name = task.facts.inputs[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library ships without types
        """Feeds one sample at a time."""

        def __init__(self) -> None:
            self._rows = iter(range(len(samples)))

        def get_next(self) -> Any:
            row = next(self._rows, None)
            return None if row is None else {name: samples[row : row + 1]}

    prepared = task.folder / "prepared.onnx"
    tell(f"calibrating on {len(samples)} samples")
    try:
        # Symbolic shape inference is for dynamic shapes, which the intake refuses, and needs sympy.
        quant_pre_process(str(task.model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        onnx.checker.check_model(str(target))
    except Exception as error:  # the quantizer raises whatever its parts raise
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"onnxruntime's quantizer failed: {type(error).__name__}: {str(error)[:300]}",
            expected="a quantized model",
            todo="build this class as fp32 (`--precision fp32`), or report the model",
        ) from error
    finally:
        prepared.unlink(missing_ok=True)


plugin = OnnxRuntimeOptimizer()
