"""Variants for LiteRT: TFLite fp32 by our own converter, and full int8 from it by ai-edge-quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelfleet_build.arrays import read_calibration
from modelfleet_build.facts import ModelFacts, float_contract, physical_tensor
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import DType, InputContract, Layout, LogicalTensor, TensorBinding
from modelfleet_core.release.manifest import Precision

ENTRY = "model.tflite"
_CONVERTER = {"converter": "onnx-to-tflite 2"}
_RECIPES = (
    Recipe("fp32", Precision.FP32, _CONVERTER),
    # Weights and activations: dynamic int8 is slower than fp32 and wrong on old interpreters.
    Recipe(
        "int8",
        Precision.INT8,
        {**_CONVERTER, "quantizer": "static_wi8_ai8"},
        needs_calibration=True,
    ),
)
_DTYPES = {"float32": DType.FLOAT32, "int8": DType.INT8, "uint8": DType.UINT8}


@dataclass(frozen=True, slots=True)
class LiteRtOptimizer:
    """The plug-in `litert`."""

    name: str = "litert"
    runtime: str = "litert"
    packages: tuple[str, ...] = ("ai-edge-litert", "ai-edge-quantizer", "flatbuffers", "onnx")
    recipes: tuple[Recipe, ...] = _RECIPES
    float_recipe: str | None = "fp32"
    options: tuple[str, ...] = ()

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return ()

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        data = _float_model(task)
        target = task.folder / ENTRY
        if task.recipe.precision is Precision.FP32:
            target.write_bytes(data)
            return Converted(ENTRY, float_contract(task.facts, layout=Layout.NHWC, batch=1))
        samples = read_calibration(task.calibration)
        tell(f"calibrating on {len(samples)} samples")
        target.write_bytes(_quantised(data, samples, task.facts))
        return Converted(ENTRY, _bound(target, task.facts))


def _float_model(task: ConversionTask) -> bytes:
    import onnx

    from modelfleet_build.tflite import Refused, convert

    try:
        return convert(onnx.load(str(task.model))).data
    except Refused as refused:
        raise CallerError(
            Code.OPERATOR_UNSUPPORTED,
            f"{refused} (ONNX to TFLite)",
            expected="operators that our ONNX to TFLite converter can express exactly",
            todo="leave this class out, or replace the operator in the model",
        ) from refused


def _quantised(data: bytes, samples: Any, facts: ModelFacts) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    from modelfleet_build.tflite import with_inline_constants

    tensor = facts.inputs[0]
    images = samples.transpose(0, 2, 3, 1) if tensor.layout is Layout.NCHW else samples
    images = np.ascontiguousarray(images)
    rows = [{tensor.name: images[row : row + 1]} for row in range(len(images))]
    try:
        tool = quantizer.Quantizer(bytearray(data))
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        result = tool.quantize(tool.calibrate({"serving_default": rows}))
        if result.quantized_model is None:
            raise ValueError("it returned no model")
        return with_inline_constants(bytes(result.quantized_model))
    except Exception as error:  # the library raises whatever its parts raise
        raise _failed(f"{type(error).__name__}: {str(error)[:300]}") from error


def _failed(why: str) -> WorldError:
    return WorldError(
        Code.CONVERSION_FAILED,
        f"ai-edge-quantizer failed: {why}",
        expected="a quantized model",
        todo="build this class as fp32 (`--precision fp32`), or report the model",
    )


def _bound(path: Path, facts: ModelFacts) -> InputContract:
    """The contract as the quantized file has it: element types, scales and zero points."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner()
    inputs = [_binding(item, runner.get_input_details()[item.name]) for item in facts.inputs]
    outputs = [_binding(item, runner.get_output_details()[item.name]) for item in facts.outputs]
    return InputContract(tuple(inputs), tuple(outputs))


def _binding(logical: LogicalTensor, details: Mapping[str, Any]) -> TensorBinding:
    dtype = _DTYPES[np.dtype(details["dtype"]).name]
    scale, zero_point = details["quantization"]
    integer = dtype is not DType.FLOAT32
    if integer and not scale > 0:
        raise _failed(f"it gave the tensor {logical.name!r} no scale; calibration saw NaN or nothing there")
    return TensorBinding(
        logical,
        physical_tensor(
            logical,
            layout=Layout.NHWC,
            batch=1,
            dtype=dtype,
            scale=float(scale) if integer else None,
            zero_point=int(zero_point) if integer else None,
        ),
    )


plugin = LiteRtOptimizer()
