"""ONNX -> TFLite in fp32, fp16 or int8, for every optimizer whose runtime reads TFLite.

The only importer of `ai_edge_quantizer`. Recipes, all with per-channel weights (per-tensor depthwise weights
answer with garbage, ADR 0004):

- fp32: our own converter, exact;
- fp16: weights of half precision, arithmetic in float32;
- int8: weights and activations, ranges of activations from calibration samples; what firmware and
  accelerators run;
- int8-dynamic: int8 weights, activations quantized while running. Slower than fp32 on many processors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import read_calibration
from modelfleet_build.facts import ModelFacts, physical_tensor
from modelfleet_build.optimizers.tflite_keep_float import check_kept, kept_tensors
from modelfleet_build.port import ConversionTask, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.release.contract import DType, InputContract, Layout, LogicalTensor, TensorBinding
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes import tflite_file
from modelfleet_runtimes.tflite_file import FileTensor, TfliteFile, read_tflite

ENTRY = "model.tflite"
PACKAGES = ("ai-edge-litert", "ai-edge-quantizer", "flatbuffers", "onnx")

_CONVERTER = {"converter": "onnx-to-tflite 2"}
_STATIC = {**_CONVERTER, "quantizer": "static_wi8_ai8", "weights": "minmax", "ranges": "minmax"}
FP32 = Recipe("fp32", Precision.FP32, _CONVERTER)
FP16 = Recipe("fp16", Precision.FP16, {**_CONVERTER, "quantizer": "float_casting"})
INT8 = Recipe("int8", Precision.INT8, _STATIC, needs_calibration=True)
INT8_DYNAMIC = Recipe(
    "int8-dynamic",
    Precision.INT8,
    {**_CONVERTER, "quantizer": "dynamic_wi8_afp32", "weights": "minmax"},
)

# The extremes of all samples first: on the bundled detector and segmenter the moving average, which forgets
# rare large values, gave five to eight times the largest error.
_RANGES = ("minmax", "moving average")
_WEIGHTS = ("minmax", "octav")
_SIGNATURE = "serving_default"
_DTYPES = {
    tflite_file.FLOAT32: DType.FLOAT32,
    tflite_file.INT8: DType.INT8,
}


@dataclass(frozen=True, slots=True)
class TfliteVariant:
    """A converted model.

    Attributes:
        data: The file.
        file: What it says of itself.
        contract: How the logical tensors are bound to it.
    """

    data: bytes
    file: TfliteFile
    contract: InputContract


def alternatives(recipe: Recipe) -> tuple[Recipe, ...]:
    """The same recipe with other ranges of activations or other clipping of weights, the mildest first.

    `ranges`: the extremes of all samples, or the quantizer's moving average of each sample's extremes.
    `weights`: extremes of each channel, or clipped by OCTAV (arXiv 2206.06501, equation 6).
    """
    used = recipe.parameters
    every = [
        {**used, **({"ranges": ranges} if "ranges" in used else {}), "weights": weights}
        for weights in _WEIGHTS
        for ranges in (_RANGES if "ranges" in used else _RANGES[:1])
        if "weights" in used
    ]
    return tuple(replace(recipe, parameters=settings) for settings in every if settings != used)


def make_tflite(task: ConversionTask, tell: Tell) -> TfliteVariant:
    """Convert and quantize as the recipe says.

    Raises:
        CallerError: MF-1431, an operator cannot be converted; MF-1461, `keep_float` names what is not there.
        WorldError: MF-1432, the quantizer failed.
    """
    data = _float_model(task)
    if task.recipe.name != FP32.name:
        data = _quantised(data, task, tell)
    file = read_tflite(data)
    return TfliteVariant(data, file, bound_contract(file, task.facts))


def bound_contract(file: TfliteFile, facts: ModelFacts) -> InputContract:
    """The contract as a file has it: element types, scales and zero points.

    Raises:
        WorldError: MF-1432, the file has other tensors than the model, or integers without a scale.
    """
    inputs = _by_name(file, file.input_names, file.inputs)
    outputs = _by_name(file, file.output_names, file.outputs)
    return InputContract(
        tuple(_binding(item, inputs.get(item.name)) for item in facts.inputs),
        tuple(_binding(item, outputs.get(item.name)) for item in facts.outputs),
    )


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


def _quantised(data: bytes, task: ConversionTask, tell: Tell) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer

    from modelfleet_build.tflite import with_inline_constants

    kept = kept_tensors(task.model, task.recipe.keep_float, read_tflite(data))
    try:
        tool = quantizer.Quantizer(bytearray(data))
        tool.load_quantization_recipe(_settings(task.recipe))
        for name in kept:
            tool.update_quantization_recipe(
                _scope(name), qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize"
            )
        ranges = _calibrated(data, tool, task, tell) if task.recipe.needs_calibration else None
        result = tool.quantize(ranges, enable_progress_report=False).quantized_model
        if result is None:
            raise ValueError("it returned no model")
        made = with_inline_constants(bytes(result))
    except ModelfleetError:
        raise
    except Exception as error:  # the library raises whatever its parts raise
        raise failed(f"{type(error).__name__}: {str(error)[:300]}") from error
    check_kept(read_tflite(made), kept)
    return made


def _settings(recipe: Recipe) -> Any:
    """The quantizer's own recipe."""
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager
    from ai_edge_quantizer import recipe as recipes

    algorithms = algorithm_manager.AlgorithmName
    settings = recipe.parameters
    if settings["quantizer"] == FP16.parameters["quantizer"]:
        manager = recipe_manager.RecipeManager()
        manager.add_weight_only_config(
            ".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=algorithms.FLOAT_CASTING
        )
        return manager.get_quantization_recipe()
    chosen = {"minmax": algorithms.MIN_MAX_UNIFORM_QUANT, "octav": algorithms.OCTAV}[settings["weights"]]
    make = {"static_wi8_ai8": recipes.static_wi8_ai8, "dynamic_wi8_afp32": recipes.dynamic_wi8_afp32}
    return make[settings["quantizer"]](algorithm_key=chosen)


def _calibrated(data: bytes, tool: Any, task: ConversionTask, tell: Tell) -> Any:
    """Ranges of every activation, by the recipe's way of putting samples together."""
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    samples = stored_images(read_calibration(task.calibration), task.facts)
    method = task.recipe.parameters["ranges"]
    tell(f"calibrating on {len(samples)} samples ({method})")
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(tool.get_quantization_recipe())
    update = {"moving average": qsv_utils.moving_average_update, "minmax": qsv_utils.min_max_update}[method]
    # One thread: sums in another order would be other bytes.
    observer = calibrator.Calibrator(data, num_threads=1, qsv_update_func=update)
    name = task.facts.inputs[0].name
    rows = [{name: samples[row : row + 1]} for row in range(len(samples))]
    observer.calibrate({_SIGNATURE: rows}, manager)
    return observer.get_model_qsvs()


def stored_images(samples: npt.NDArray[np.float32], facts: ModelFacts) -> npt.NDArray[np.float32]:
    """Logical samples [n, ...] in the order of axes that the file stores, C-contiguous."""
    if facts.inputs[0].layout is Layout.NCHW:
        samples = samples.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(samples)


def _scope(name: str) -> str:
    """Pattern for the operator that writes a tensor: the quantizer joins output names, each with a `;`."""
    return f"(^|;){re.escape(name)};"


def failed(why: str) -> WorldError:
    """The error of a quantizer that does not do what it is there for."""
    return WorldError(
        Code.CONVERSION_FAILED,
        f"ai-edge-quantizer failed: {why}",
        expected="a quantized model",
        todo="build this class as fp32 (`--precision fp32`), or report the model",
    )


def _by_name(file: TfliteFile, names: tuple[str, ...], indices: tuple[int, ...]) -> dict[str, FileTensor]:
    return {name: file.tensors[index] for name, index in zip(names, indices, strict=True)}


def _binding(logical: LogicalTensor, tensor: FileTensor | None) -> TensorBinding:
    if tensor is None or tensor.kind not in _DTYPES:
        raise failed(f"the file has no tensor {logical.name!r} of float32 or int8")
    dtype = _DTYPES[tensor.kind]
    scale: float | None = None
    zero_point: int | None = None
    if dtype is not DType.FLOAT32:
        if len(tensor.scales) != 1 or not tensor.scales[0] > 0:
            raise failed(
                f"it gave the tensor {logical.name!r} no scale; calibration saw NaN or nothing there"
            )
        scale, zero_point = tensor.scales[0], tensor.zero_points[0]
    physical = physical_tensor(
        logical, layout=Layout.NHWC, batch=1, dtype=dtype, scale=scale, zero_point=zero_point
    )
    if physical.shape != tensor.shape:
        raise failed(f"{logical.name!r} has shape {list(tensor.shape)}, expected {list(physical.shape)}")
    return TensorBinding(logical, physical)
