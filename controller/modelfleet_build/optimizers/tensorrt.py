"""Variants for TensorRT: an ONNX model in the form that it takes, and the spec of the engine to build of it.

The engine itself is built on the device (`modelfleet_runtimes.tensorrt`): it fits one GPU and one version.
What is shipped is what is measured here, in ONNX Runtime on the processor: fp16 as an ONNX model in half
precision, not as a permission to round an fp32 one, and int8 as explicit quantization. Since TensorRT 10 the
types in the model say what computes in what; TensorRT 11 knows no other way.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.cache import file_digest
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.optimizers.onnxruntime import other_calibrations, quantise
from modelfleet_build.port import ConversionTask, Converted, Recipe, StandIn, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.engine_spec import ENGINE_SPEC_NAME, MIB, EngineSpec, ShapeProfile
from modelfleet_core.release.manifest import Precision
from modelfleet_core.wire import codec

ENTRY = "model.onnx"
# Only their inputs are quantized, by one scale for values and one per channel for weights. Their outputs stay
# float, so that bias, activation and residual sum melt into the same kernel; a value that is quantized for
# one reader is so for all, which puts the one pair into the residual branch where TensorRT wants it.
# Transposed convolutions stay float: which of them TensorRT takes in int8 differs from version to version.
WEIGHTED = ("Conv", "Gemm", "MatMul")
_EXPLICIT = {
    "ActivationSymmetric": True,  # TensorRT has no zero points but 0
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,  # weights float in the file, quantized by TensorRT while it builds
    "QuantizeBias": False,  # TensorRT has no int32 bias
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
}
_RECIPES = (
    Recipe("fp32", Precision.FP32, {"arithmetic": "fp32 without tf32"}),
    Recipe("fp16", Precision.FP16, {"inputs and outputs": "float32", "elsewhere": "fp16"}),
    Recipe(
        "int8",
        Precision.INT8,
        {
            "format": "explicit QDQ, zero points 0",
            "activations": "int8 symmetric",
            "weights": "int8 per channel, symmetric",
            "calibration": "minmax",
            "elsewhere": "fp32",
        },
        needs_calibration=True,
    ),
)
# Newest operator set that the parser of a version reads (release notes of onnx-tensorrt).
_OPSETS = ((17, "8.5"), (20, "10.0"), (25, "11.0"))
_BELOW = "12"
_WORKSPACE_MIB = 1024


@dataclass(frozen=True, slots=True)
class TensorRtOptimizer:
    """The plug-in `tensorrt`.

    Options: `workspaceMiB`, memory that a layer may use for itself, and `optimizationLevel`, 0 to 5.
    """

    name: str = "tensorrt"
    runtime: str = "tensorrt"
    packages: tuple[str, ...] = ("onnxruntime", "onnx")
    recipes: tuple[Recipe, ...] = _RECIPES
    float_recipe: str | None = None
    options: tuple[str, ...] = ("workspaceMiB", "optimizationLevel")

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`: none, the spec carries them."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`: the other methods of calibration."""
        return other_calibrations(recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        workspace = _whole(task.options, "workspaceMiB", _WORKSPACE_MIB, (1, 65_536)) * MIB
        level = _whole(task.options, "optimizationLevel", 3, (0, 5))
        minimum = _minimum(task.facts)
        target = task.folder / ENTRY
        notes: tuple[str, ...] = ()
        if task.recipe.precision is Precision.FP32:
            shutil.copyfile(task.model, target)
        elif task.recipe.precision is Precision.FP16:
            notes = quantise(task, target, tell)
        else:
            notes = quantise(task, target, tell, WEIGHTED, _EXPLICIT)
        spec = EngineSpec(
            model=ENTRY,
            model_sha256=file_digest(target),
            precision=task.recipe.precision,
            inputs=_profiles(task.facts),
            workspace_bytes=workspace,
            minimum=minimum,
            below=_BELOW,
            fp16=task.recipe.precision is Precision.FP16,
            int8=task.recipe.precision is Precision.INT8,
            optimization_level=level,
        )
        _write(task.folder / ENGINE_SPEC_NAME, spec)
        return Converted(
            ENTRY,
            float_contract(task.facts, layout=Layout.NCHW, batch=1),
            (*notes, f"the engine is built on the device by TensorRT {minimum} or newer, below {_BELOW}"),
            StandIn(
                "onnxruntime",
                ENTRY,
                float_contract(task.facts, layout=Layout.NCHW, batch=onnx_batch(task.facts)),
                "the very model that TensorRT is given, in ONNX Runtime on the processor: the same weights, "
                "types and quantization, other kernels",
                shipped=True,
            ),
        )


def _profiles(facts: ModelFacts) -> dict[str, ShapeProfile]:
    """One sample at a time: what a device serves, and the least memory."""
    shapes = {tensor.name: (1, *tensor.shape[1:]) for tensor in facts.inputs}
    return {name: ShapeProfile(shape, shape, shape) for name, shape in shapes.items()}


def _minimum(facts: ModelFacts) -> str:
    for newest, version in _OPSETS:
        if facts.opset <= newest:
            return version
    raise CallerError(
        Code.OPERATOR_UNSUPPORTED,
        f"the model uses operator set {facts.opset}",
        expected=f"at most {_OPSETS[-1][0]}, which TensorRT reads",
        todo="export the model with an older operator set, or leave this class out",
    )


def _whole(options: Mapping[str, str], name: str, default: int, bounds: tuple[int, int]) -> int:
    text = options.get(name, str(default))
    low, high = bounds
    if not text.isascii() or not text.isdecimal() or not low <= int(text[:9]) <= high:
        raise CallerError(
            Code.BUILD_OPTION,
            f"the class sets {name} to {text!r}",
            expected=f"a whole number from {low} to {high}",
            todo="correct `options` of the class",
        )
    return int(text)


def _write(path: Path, spec: EngineSpec) -> None:
    path.write_bytes(codec.pretty(spec))


plugin = TensorRtOptimizer()
