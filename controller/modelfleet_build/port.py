"""The port that every optimizer plug-in implements: one trained model -> one variant of a runtime.

Importing a plug-in's module imports no converter: that happens in `convert`, which runs in a child process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from modelfleet_build.facts import ModelFacts
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import AcceleratorUse, Precision

if TYPE_CHECKING:
    from modelfleet_build.isolated.tools import IsolatedTool

ENTRY_POINTS = "modelfleet.optimizers"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a variant is made; everything that changes its bytes besides model, data, options and tools.

    Attributes:
        name: What device classes call it, and the last part of the variant's name: `fp32`, `int8-dynamic`.
        precision: Arithmetic of the variant.
        parameters: Every setting, for people and for the lineage.
        needs_calibration: It cannot do without calibration samples.
        keep_float: Nodes of the ONNX model that stay in float though the rest is quantized, each by the name
            of its first output value (node names may be empty or repeat, value names may not). Set by
            accuracy control, sorted; empty in every recipe that a plug-in offers.
    """

    name: str
    precision: Precision
    parameters: dict[str, str] = field(default_factory=dict)
    needs_calibration: bool = False
    keep_float: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversionTask:
    """One conversion.

    Attributes:
        model: The single-file ONNX model.
        facts: What is known of it.
        recipe: How to convert.
        calibration: `.npz` with `inputs`, float32 logical values, where the recipe needs it.
        folder: Empty folder for the files of the variant.
        beside: Empty folder for files that are measured and not shipped, see `StandIn`.
        options: Of the device class.
        companion: The model in another form that was given beside the ONNX file (`.pt2`), None without.
        python: Interpreter of the plug-in's isolated environment, see `Isolated`; None without.
    """

    model: Path
    facts: ModelFacts
    recipe: Recipe
    calibration: Path | None
    folder: Path
    beside: Path
    options: Mapping[str, str] = field(default_factory=dict)
    companion: Path | None = None
    python: Path | None = None


@dataclass(frozen=True, slots=True)
class StandIn:
    """What is measured in place of a variant whose runtime does not run on a builder.

    Attributes:
        runtime: Runtime plug-in that opens it.
        entry: File in `ConversionTask.beside`, or, where `shipped`, in `ConversionTask.folder`.
        contract: Its binding; the logical side is that of the variant.
        why: One sentence for the report: what it is, and why it speaks for the variant.
        shipped: The entry is a file of the variant itself.
    """

    runtime: str
    entry: str
    contract: InputContract
    why: str
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion left in its folder.

    Attributes:
        entry: The file that the runtime opens.
        contract: How the logical tensors are bound to that file.
        notes: Plain sentences for the build report.
        stand_in: What is measured instead of the entry; None = the entry itself.
        arena_bytes: Working memory that a microcontroller's interpreter needs.
        accelerator: What the accelerator's compiler says.
    """

    entry: str
    contract: InputContract
    notes: tuple[str, ...] = ()
    stand_in: StandIn | None = None
    arena_bytes: int | None = None
    accelerator: AcceleratorUse | None = None


Tell = Callable[[str], None]
"""Takes a plain sentence of progress."""


class Optimizer(Protocol):
    """An optimizer plug-in."""

    @property
    def name(self) -> str:
        """Name of the plug-in, as device classes spell it."""
        ...

    @property
    def runtime(self) -> str:
        """Runtime plug-in that loads its variants."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions can change the variants' bytes."""
        ...

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Every recipe it offers, the most usual of each precision first."""
        ...

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the class options that it takes; the builder refuses every other."""
        ...

    @property
    def float_recipe(self) -> str | None:
        """Name of the float recipe that the others are timed against; None where time is not measured."""
        ...

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """What of the class options the runtime has to know (`RuntimeNeed.options`)."""
        ...

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """The same recipe with other settings, such as another method of calibration, the likeliest first.

        Accuracy control tries them when the recipe as offered loses too much. They keep the recipe's name.
        """
        ...

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """Make the variant. Runs in a child process that may be killed at any time.

        Raises:
            CallerError: MF-1431, an operator cannot be converted (it is named); MF-1425, an option has a
                value that is not possible.
            WorldError: MF-1432, the converter failed.
        """
        ...


@runtime_checkable
class Isolated(Protocol):
    """An optimizer whose tools, and whose runtime on the builder, live in an isolated environment.

    The builder makes the environment before the class is built, gives its interpreter to `convert`, and has
    the variants measured through it.
    """

    @property
    def isolated(self) -> IsolatedTool:
        """What has to be installed."""
        ...

    def check(self, companion: Path | None) -> None:
        """Refuse what cannot be made anyway, before minutes are spent on the environment.

        Raises:
            CallerError: MF-1472, `ConversionTask.companion` is needed, and there is none.
        """
        ...


@runtime_checkable
class Versioned(Protocol):
    """An optimizer with tools that are no distributions beside it."""

    def versions(self) -> dict[str, str]:
        """Tool -> version, of everything that can change the variants' bytes besides `packages`.

        Raises:
            WorldError: A tool does not answer.
        """
        ...
