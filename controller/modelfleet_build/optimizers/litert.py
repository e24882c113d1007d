"""Variants for LiteRT: TFLite in fp32, fp16, full int8 and int8 weights with dynamic activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelfleet_build.optimizers import tflite_quantising as tflite
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell


@dataclass(frozen=True, slots=True)
class LiteRtOptimizer:
    """The plug-in `litert`."""

    name: str = "litert"
    runtime: str = "litert"
    packages: tuple[str, ...] = tflite.PACKAGES
    recipes: tuple[Recipe, ...] = (tflite.FP32, tflite.FP16, tflite.INT8, tflite.INT8_DYNAMIC)
    float_recipe: str | None = tflite.FP32.name
    options: tuple[str, ...] = ()

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return tflite.alternatives(recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        made = tflite.make_tflite(task, tell)
        (task.folder / tflite.ENTRY).write_bytes(made.data)
        return Converted(tflite.ENTRY, made.contract)


plugin = LiteRtOptimizer()
