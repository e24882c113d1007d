"""Variants for OpenVINO: its intermediate representation in fp32 or fp16 weights, and int8 by NNCF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelfleet_build.arrays import read_calibration
from modelfleet_build.facts import float_contract
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes.openvino import silence_telemetry

ENTRY = "model.xml"
_RECIPES = (
    Recipe("fp32", Precision.FP32),
    Recipe("fp16", Precision.FP16),
    Recipe(
        "int8",
        Precision.INT8,
        {"preset": "mixed", "other_weights": "fp16"},
        needs_calibration=True,
    ),
)


@dataclass(frozen=True, slots=True)
class OpenVinoOptimizer:
    """The plug-in `openvino`."""

    name: str = "openvino"
    runtime: str = "openvino"
    packages: tuple[str, ...] = ("openvino", "nncf")
    recipes: tuple[Recipe, ...] = _RECIPES
    float_recipe: str | None = "fp32"
    options: tuple[str, ...] = ("device",)

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {name: options[name] for name in self.options if name in options}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return ()

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        silence_telemetry()
        import openvino

        try:
            # `Core.read_model` and not `convert_model`: the same frontend without its usage telemetry.
            model = openvino.Core().read_model(str(task.model))
            tensor = task.facts.inputs[0]
            model.reshape({tensor.name: [1, *tensor.shape[1:]]})
        except Exception as error:  # the library raises RuntimeError and its own classes
            raise CallerError(
                Code.OPERATOR_UNSUPPORTED,
                f"OpenVINO cannot read the model: {str(error).strip()[:300]}",
                expected="operators that OpenVINO's ONNX frontend knows",
                todo="leave this class out, or replace the operator in the model",
            ) from error
        compress = task.recipe.precision is not Precision.FP32
        if task.recipe.precision is Precision.INT8:
            model = _quantised(model, task, tell)
        openvino.save_model(model, str(task.folder / ENTRY), compress_to_fp16=compress)
        return Converted(ENTRY, float_contract(task.facts, layout=Layout.NCHW, batch=1))


def _quantised(model: Any, task: ConversionTask, tell: Tell) -> Any:
    import nncf

    samples = read_calibration(task.calibration)
    name = task.facts.inputs[0].name
    tell(f"calibrating on {len(samples)} samples")
    rows = nncf.Dataset(range(len(samples)), lambda row: {name: samples[row : row + 1]})
    try:
        return nncf.quantize(model, rows, preset=nncf.QuantizationPreset.MIXED, subset_size=len(samples))
    except Exception as error:  # the library raises whatever its parts raise
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"NNCF failed: {type(error).__name__}: {str(error)[:300]}",
            expected="a quantized model",
            todo="build this class without int8 (`--precision fp16`), or report the model",
        ) from error


plugin = OpenVinoOptimizer()
