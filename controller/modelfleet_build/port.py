"""The port that every optimizer plug-in implements: one trained model -> one variant of a runtime.

Importing a plug-in's module imports no converter: that happens in `convert`, which runs in a child process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelfleet_build.facts import ModelFacts
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import Precision

ENTRY_POINTS = "modelfleet.optimizers"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a variant is made; everything that changes its bytes besides model, data and tools."""

    name: str
    precision: Precision
    parameters: dict[str, str] = field(default_factory=dict)
    needs_calibration: bool = False


@dataclass(frozen=True, slots=True)
class ConversionTask:
    """One conversion.

    Attributes:
        model: The single-file ONNX model.
        facts: What is known of it.
        recipe: How to convert.
        calibration: `.npz` with `inputs`, float32 logical values, where the recipe needs it.
        folder: Empty folder for the files of the variant.
    """

    model: Path
    facts: ModelFacts
    recipe: Recipe
    calibration: Path | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion left in its folder.

    Attributes:
        entry: The file that the runtime opens.
        contract: How the logical tensors are bound to that file.
        notes: Plain sentences for the build report.
    """

    entry: str
    contract: InputContract
    notes: tuple[str, ...] = ()


Tell = Callable[[str], None]
"""Takes a plain sentence of progress."""


class Optimizer(Protocol):
    """An optimizer plug-in."""

    @property
    def name(self) -> str:
        """Name of the plug-in."""
        ...

    @property
    def runtime(self) -> str:
        """Runtime plug-in that loads its variants."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions can change the variants' bytes."""
        ...

    def recipe(self, precision: Precision) -> Recipe | None:
        """How it makes a variant of that precision; None where it cannot."""
        ...

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """Make the variant. Runs in a child process that may be killed at any time.

        Raises:
            CallerError: MF-1431, an operator cannot be converted (it is named).
            WorldError: MF-1432, the converter failed.
        """
        ...
