"""Variants for ExecuTorch with XNNPACK: fp32, and int8 by torchao's static quantization.

The source is the torch.export program (`.pt2`) that was given beside the ONNX model. torch and executorch
live in an isolated environment; what it makes is held against the float parent like every variant, so a
`.pt2` of another model is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_build.isolated.call import call
from modelfleet_build.isolated.tools import TORCH, IsolatedTool
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import (
    DType,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)
from modelfleet_core.release.manifest import Precision

ENTRY = "model.pte"
_INT8 = {"activations": "int8 static", "weights": "int8 per channel", "calibration": "minmax"}


@dataclass(frozen=True, slots=True)
class _Settings:
    """What `scripts/pte.py` is told."""

    companion: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    int8: bool
    per_channel: bool
    calibration: str | None
    target: str


@dataclass(frozen=True, slots=True)
class _Lowered:
    """What it answers."""

    portable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecuTorchOptimizer:
    """The plug-in `executorch`."""

    name: str = "executorch"
    runtime: str = "executorch"
    # The calibration samples reach the other side through numpy; everything else is locked.
    packages: tuple[str, ...] = ("numpy",)
    recipes: tuple[Recipe, ...] = (
        Recipe("fp32", Precision.FP32, {"backend": "xnnpack"}),
        Recipe("int8", Precision.INT8, {"backend": "xnnpack", **_INT8}, needs_calibration=True),
    )
    float_recipe: str | None = "fp32"
    options: tuple[str, ...] = ()
    isolated: IsolatedTool = field(default=TORCH)

    def versions(self) -> dict[str, str]:
        """See `port.Versioned.versions`: what is locked for the isolated environment."""
        named = self.isolated.versions("torch", "executorch", "torchao")
        return {**named, "isolated lock": self.isolated.lock_sha256()[:16]}

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return ()

    def check(self, companion: Path | None) -> None:
        """See `port.Isolated.check`."""
        if companion is None:
            raise CallerError(
                Code.COMPANION_MISSING,
                "ExecuTorch variants are made from a torch.export program, and none was given",
                expected="the same model as .pt2 beside the ONNX file",
                todo="write it where the model was trained: torch.export.save(torch.export.export("
                "model.eval(), (example,)), 'model.pt2'), and give --companion model.pt2",
            )

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`.

        Raises:
            CallerError: MF-1472, no `.pt2` was given; MF-1473, it is none, or not of this model; MF-1474, a
                node shall stay in float: a `.pt2` does not know the ONNX model's names.
        """
        self.check(task.companion)
        if task.recipe.keep_float:
            raise CallerError(
                Code.KEEP_FLOAT_UNSUPPORTED,
                "ExecuTorch cannot keep single nodes of the ONNX model in float",
                expected="a recipe without nodes that stay in float",
                todo="build this class as fp32",
            )
        if task.python is None:
            raise ValueError("the builder gives this plug-in its isolated environment")
        facts = task.facts
        settings = _Settings(
            companion=str(task.companion),
            inputs=tuple(_one(item) for item in facts.inputs),
            outputs=tuple(_one(item) for item in facts.outputs),
            int8=task.recipe.precision is Precision.INT8,
            per_channel=task.recipe.parameters.get("weights", "").endswith("per channel"),
            calibration=str(task.calibration) if task.calibration is not None else None,
            target=str(task.folder / ENTRY),
        )
        scratch = task.folder.parent / "isolated"
        lowered = call(task.python, "pte.py", settings, scratch, _Lowered, tell)
        notes = ["times include the way to the isolated interpreter: ratios are nearer to 1 than on devices"]
        if lowered.portable:
            notes.append(f"XNNPACK leaves to portable kernels: {', '.join(lowered.portable)}")
        contract = InputContract(
            tuple(_bound(item, f"input{index}") for index, item in enumerate(facts.inputs)),
            tuple(_bound(item, f"output{index}") for index, item in enumerate(facts.outputs)),
        )
        return Converted(ENTRY, contract, tuple(notes))


def _one(logical: LogicalTensor) -> tuple[int, ...]:
    return (1, *logical.shape[1:])


def _bound(logical: LogicalTensor, name: str) -> TensorBinding:
    layout = Layout.NCHW if logical.layout is Layout.NCHW else Layout.ANY
    return TensorBinding(logical, PhysicalTensor(name, DType.FLOAT32, layout, _one(logical)))


plugin = ExecuTorchOptimizer()
