"""Variants for ONNX Runtime: the model as given, fp16, and int8, static in QDQ form or dynamic."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from modelfleet_build.arrays import read_calibration
from modelfleet_build.facts import float_contract, onnx_batch
from modelfleet_build.optimizers.keep_float import followed
from modelfleet_build.optimizers.onnxruntime_ranges import Range, ranges
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError, WorldError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Precision

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
    # On x86 without VNNI, U8S8 sums of 8-bit weights saturate; with 7 bits they cannot.
    Recipe("int8-reduced", Precision.INT8, {**_STATIC, "weights": "int8 per channel, 7 bits"}, True),
    Recipe("int8-dynamic", Precision.INT8, {"activations": "dynamic", "weights": "int8 per channel"}),
)
CALIBRATIONS = ("minmax", "percentile 99.999", "percentile 99.99", "entropy")


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
        return other_calibrations(recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        target = task.folder / ENTRY
        notes: tuple[str, ...] = ()
        if task.recipe.name == "fp32":
            shutil.copyfile(task.model, target)
        else:
            notes = quantise(task, target, tell)
        contract = float_contract(task.facts, layout=Layout.NCHW, batch=onnx_batch(task.facts))
        return Converted(ENTRY, contract, notes)


def other_calibrations(recipe: Recipe) -> tuple[Recipe, ...]:
    """A recipe with each method of calibration that it does not use; none where it uses none."""
    used = recipe.parameters.get("calibration")
    return tuple(
        replace(recipe, parameters={**recipe.parameters, "calibration": method})
        for method in CALIBRATIONS
        if used is not None and method != used
    )


def quantise(
    task: ConversionTask,
    target: Path,
    tell: Tell,
    operators: Collection[str] = (),
    extra: Mapping[str, Any] = NO_EXTRA,
) -> tuple[str, ...]:
    """Write the fp16 or int8 form of a task's model, as its recipe says.

    Args:
        task: `recipe.parameters` names activations, weights and calibration.
        target: File to write.
        tell: Takes progress.
        operators: Operator types to quantize; empty = all that ONNX Runtime's quantizer knows.
        extra: Further `extra_options` of ONNX Runtime's quantizer.

    Returns:
        Notes for the report.

    Raises:
        CallerError: MF-1461, `keep_float` names an operator that the model has not.
        WorldError: MF-1432, the quantizer failed.
    """
    import onnx

    prepared = task.beside / "prepared.onnx"
    try:
        prepare(task.model, prepared)
        kept = followed(onnx.load(str(task.model)), onnx.load(str(prepared)), task.recipe.keep_float)
        if task.recipe.precision is Precision.FP16:
            _halve(prepared, target, kept.outputs)
        elif task.recipe.needs_calibration:
            _quantise_static(task, prepared, target, tell, (kept.outputs, operators, extra))
        else:
            _quantise_dynamic(prepared, target, kept.outputs)
        onnx.checker.check_model(str(target), full_check=True)
    except ModelfleetError:
        raise
    except Exception as error:  # the quantizer raises whatever its parts raise
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"onnxruntime's quantizer failed: {type(error).__name__}: {str(error)[:300]}",
            expected="a quantized model",
            todo="build this class as fp32 (`--precision fp32`), or report the model",
        ) from error
    finally:
        prepared.unlink(missing_ok=True)
    return kept.notes


def prepare(source: Path, target: Path) -> None:
    """Infer shapes, fold the graph, and call every node by its first output, as `keep_float` names it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shape inference is for dynamic shapes, which the intake refuses, and needs sympy.
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    model = onnx.load(str(target))
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), str(target))


def _halve(source: Path, target: Path, keep_float: Sequence[str]) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halved = OnnxModel(
        convert_float_to_float16(
            onnx.load(str(source)),
            keep_io_types=True,
            node_block_list=list(keep_float),
        )
    )
    # The library appends the casts of inputs and outputs at the end.
    halved.topological_sort()
    onnx.save(halved.model, str(target))


def _quantise_dynamic(source: Path, target: Path, keep_float: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantizer splits a Gemm into MatMul and Add first and names the former after it.
    split = [f"{name}_MatMul" for name in keep_float]
    quantize_dynamic(
        str(source),
        str(target),
        weight_type=QuantType.QInt8,
        per_channel=True,
        nodes_to_exclude=[*keep_float, *split],
    )


def _quantise_static(
    task: ConversionTask,
    source: Path,
    target: Path,
    tell: Tell,
    how: tuple[Sequence[str], Collection[str], Mapping[str, Any]],
) -> None:
    keep_float, operators, extra = how
    samples = read_calibration(task.calibration)
    settings = task.recipe.parameters
    method, _, percentile = settings["calibration"].partition(" ")
    tell(f"calibrating on {len(samples)} samples ({settings['calibration']})")
    found = ranges(source, samples, method, float(percentile or 100))
    write_qdq(source, target, found, settings, keep_float, operators, extra)


def write_qdq(
    source: Path,
    target: Path,
    found: Mapping[str, Range],
    settings: Mapping[str, str],
    keep_float: Sequence[str] = (),
    operators: Collection[str] = (),
    extra: Mapping[str, Any] = NO_EXTRA,
) -> None:
    """Write the QDQ form of a prepared model.

    Args:
        source, target: Files; `source` is from `prepare`.
        found: Ranges of its values.
        settings: Of a static recipe.
        keep_float: Nodes of `source` to leave alone.
        operators, extra: See `quantise`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    activations = QuantType.QInt8 if settings["activations"].startswith("int8") else QuantType.QUInt8
    quantizer = QDQQuantizer(
        onnx.load(str(source)),
        per_channel="per channel" in settings["weights"],
        reduce_range="7 bits" in settings["weights"],
        weight_qType=QuantType.QInt8,
        activation_qType=activations,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (np.float32(low), np.float32(high)) for name, (low, high) in found.items()},
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=list(keep_float),
        # Sorted: the library walks sets of them, whose order changes from process to process.
        op_types_to_quantize=sorted(operators or {*QDQRegistry, *QLinearOpsRegistry}),
        extra_options=dict(extra),
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target), False)


plugin = OnnxRuntimeOptimizer()
