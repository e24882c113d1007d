"""Variants for OpenVINO: its intermediate representation in fp32 or fp16 weights, and int8 by NNCF."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelfleet_build.facts import float_contract
from modelfleet_build.optimizers.openvino_nncf import quantised
from modelfleet_build.port import ConversionTask, Converted, Recipe, StandIn, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes.openvino import DEVICE, PRECISIONS, silence_telemetry

ENTRY = "model.xml"
_MIXED = {"preset": "mixed", "ranges": "default", "other_weights": "fp16"}
_RECIPES = (
    Recipe("fp32", Precision.FP32, {"arithmetic": "fp32"}),
    Recipe("fp16", Precision.FP16, {"weights": "fp16", "arithmetic": "fp32"}),
    Recipe("int8", Precision.INT8, _MIXED, needs_calibration=True),
    Recipe(
        "int8-accuracy",
        Precision.INT8,
        # Counts and not seconds bound the search, so that a slow machine makes the same bytes.
        {**_MIXED, "max_drop": "0.01", "most_operators_in_float": "20", "held_out": "1/3"},
        needs_calibration=True,
    ),
)
_OTHERWISE = (
    {"preset": "mixed", "ranges": "minmax"},
    {"preset": "mixed", "ranges": "mean-quantile"},
    {"preset": "performance", "ranges": "default"},
)
_CPU = "CPU"


@dataclass(frozen=True, slots=True)
class OpenVinoOptimizer:
    """The plug-in `openvino`.

    Options: `device`, which OpenVINO device runs the variant (CPU, GPU, GPU.1, NPU; CPU where absent), and
    `inferencePrecision`, the arithmetic that it is pinned to (f32, f16, bf16; f32 where absent).
    """

    name: str = "openvino"
    runtime: str = "openvino"
    packages: tuple[str, ...] = ("openvino", "nncf", "onnx")
    recipes: tuple[Recipe, ...] = _RECIPES
    float_recipe: str | None = "fp32"
    options: tuple[str, ...] = ("device", "inferencePrecision")

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {name: options[name] for name in self.options if name in options}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`: other statistics and another preset."""
        if recipe.name != "int8":
            return ()
        others = (replace(recipe, parameters={**recipe.parameters, **item}) for item in _OTHERWISE)
        return tuple(item for item in others if item != recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        _check(task.options)
        model = _read(task)
        notes: tuple[str, ...] = ()
        if task.recipe.precision is Precision.INT8:
            model, notes = quantised(model, task, tell)
        _write(model, task)
        contract = float_contract(task.facts, layout=Layout.NCHW, batch=1)
        device = task.options.get("device", _CPU)
        if device == _CPU and task.options.get("inferencePrecision", "f32") == "f32":
            return Converted(ENTRY, contract, notes)
        why = f"the same file on the builder's CPU in f32, because it has no {device} of the class to measure"
        return Converted(ENTRY, contract, notes, StandIn(self.runtime, ENTRY, contract, why, shipped=True))


def _check(options: Mapping[str, str]) -> None:
    device, precision = options.get("device", _CPU), options.get("inferencePrecision", "f32")
    if re.fullmatch(DEVICE, device) is None:
        raise CallerError(
            Code.BUILD_OPTION,
            f"the class wants the OpenVINO device {device!r}",
            expected="CPU, GPU, NPU, or one of several such as GPU.1; devices that choose for themselves "
            "(AUTO, MULTI, HETERO) would compute otherwise from device to device",
            todo="name one device, and make a class for each kind",
        )
    if precision not in PRECISIONS:
        raise CallerError(
            Code.BUILD_OPTION,
            f"the class wants the inference precision {precision!r}",
            expected=f"one of {', '.join(PRECISIONS)}",
            todo="correct `inferencePrecision` of the class",
        )
    if device.startswith("NPU") and precision != "f16":
        raise CallerError(
            Code.BUILD_OPTION,
            f"the class wants an NPU to compute in {precision}",
            expected="f16, the only arithmetic that NPUs have beside int8",
            todo="set `inferencePrecision: f16` in `options` of the class",
        )


def _read(task: ConversionTask) -> Any:
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
    return model


def _write(model: Any, task: ConversionTask) -> None:
    import openvino

    compress = task.recipe.precision is not Precision.FP32
    openvino.save_model(model, str(task.folder / ENTRY), compress_to_fp16=compress)


plugin = OpenVinoOptimizer()
