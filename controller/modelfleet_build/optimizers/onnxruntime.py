"""Variants for ONNX Runtime: the model as given, fp16, and int8, static in QDQ form or dynamic."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import read_calibration
from modelfleet_build.facts import float_contract, onnx_batch
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Precision

FloatArray = npt.NDArray[np.float32]

ENTRY = "model.onnx"
NO_EXTRA: Mapping[str, Any] = MappingProxyType({})
_STATIC = {"format": "QDQ", "activations": "uint8", "weights": "int8 per channel", "calibration": "minmax"}
_RECIPES = (
    Recipe("fp32", Precision.FP32),
    Recipe("fp16", Precision.FP16, {"inputs and outputs": "float32"}),
    # S8 activations are about three times slower on x86 without a gain in accuracy; hence U8S8 comes first.
    Recipe("int8", Precision.INT8, _STATIC, needs_calibration=True),
    Recipe("int8-s8s8", Precision.INT8, {**_STATIC, "activations": "int8"}, needs_calibration=True),
    Recipe("int8-tensor", Precision.INT8, {**_STATIC, "weights": "int8 per tensor"}, needs_calibration=True),
    Recipe("int8-dynamic", Precision.INT8, {"activations": "dynamic", "weights": "int8 per channel"}),
)
_CALIBRATIONS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True, slots=True)
class OnnxRuntimeOptimizer:
    """The plug-in `onnxruntime`."""

    name: str = "onnxruntime"
    runtime: str = "onnxruntime"
    packages: tuple[str, ...] = ("onnxruntime", "onnx")
    recipes: tuple[Recipe, ...] = _RECIPES
    float_recipe: str | None = "fp32"
    options: tuple[str, ...] = ()

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`: the other methods of calibration."""
        used = recipe.parameters.get("calibration")
        return tuple(
            replace(recipe, parameters={**recipe.parameters, "calibration": method})
            for method in _CALIBRATIONS
            if used is not None and method != used
        )

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        target = task.folder / ENTRY
        if task.recipe.name == "fp32":
            shutil.copyfile(task.model, target)
        else:
            quantise(task, target, tell)
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


def quantise(task: ConversionTask, target: Path, tell: Tell, extra: Mapping[str, Any] = NO_EXTRA) -> None:
    """Write the fp16 or int8 form of a task's model, as its recipe says.

    Args:
        task: `recipe.parameters` names activations, weights and calibration.
        target: File to write.
        tell: Takes progress.
        extra: Further `extra_options` of ONNX Runtime's quantizer.

    Raises:
        WorldError: MF-1432, the quantizer failed.
    """
    import onnx

    prepared = task.beside / "prepared.onnx"
    try:
        prepare(task.model, prepared)
        if task.recipe.precision is Precision.FP16:
            _halve(prepared, target, task.recipe.keep_float)
        elif task.recipe.needs_calibration:
            _quantise_static(task, prepared, target, tell, extra)
        else:
            _quantise_dynamic(task, prepared, target)
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


def prepare(source: Path, target: Path) -> None:
    """Infer shapes, fold the graph, and call every node by its first output, as `keep_float` names it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shape inference is for dynamic shapes, which the intake refuses, and needs sympy.
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    model = onnx.load(str(target))
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, str(target))


def _halve(source: Path, target: Path, keep_float: tuple[str, ...]) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    halved = OnnxModel(convert_float_to_float16(model, keep_io_types=True, node_block_list=list(keep_float)))
    # The library appends the casts of inputs and outputs at the end.
    halved.topological_sort()
    onnx.save(halved.model, str(target))


def _quantise_dynamic(task: ConversionTask, source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(target),
        weight_type=QuantType.QInt8,
        per_channel=True,
        nodes_to_exclude=list(task.recipe.keep_float),
    )


def _quantise_static(
    task: ConversionTask, source: Path, target: Path, tell: Tell, extra: Mapping[str, Any]
) -> None:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    samples = read_calibration(task.calibration)
    settings = task.recipe.parameters
    tell(f"calibrating on {len(samples)} samples ({settings['calibration']})")
    quantize_static(
        str(source),
        str(target),
        reader(source, samples),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8 if settings["activations"] == "int8" else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=settings["weights"].endswith("per channel"),
        nodes_to_exclude=list(task.recipe.keep_float),
        calibrate_method={
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }[settings["calibration"]],
        extra_options=dict(extra),
    )


def reader(model: Path, samples: FloatArray) -> Any:
    """A `CalibrationDataReader` that feeds samples [n, ...] to a model's only input, one at a time."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    graph = onnx.load(str(model)).graph
    constants = {item.name for item in graph.initializer}
    name = next(item.name for item in graph.input if item.name not in constants)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library ships without types
        """Feeds one sample at a time."""

        def __init__(self) -> None:
            self._rows = iter(range(len(samples)))

        def get_next(self) -> Any:
            row = next(self._rows, None)
            return None if row is None else {name: samples[row : row + 1]}

    return Reader()


plugin = OnnxRuntimeOptimizer()
