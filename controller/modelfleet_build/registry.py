"""Which optimizers are installed here, found through the entry points `modelfleet.optimizers`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata

from modelfleet_build.port import ENTRY_POINTS, Optimizer, Recipe
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.manifest import Precision


@dataclass(frozen=True, slots=True)
class OptimizerPoint:
    """A plug-in and where a child process finds it.

    Attributes:
        name: Name of the entry point.
        value: `module:attribute`.
    """

    name: str
    value: str

    def load(self) -> Optimizer:
        """The plug-in."""
        module, _, attribute = self.value.partition(":")
        optimizer: Optimizer = getattr(importlib.import_module(module), attribute)
        return optimizer


def installed() -> tuple[OptimizerPoint, ...]:
    """Every installed plug-in, sorted by name."""
    points = metadata.entry_points(group=ENTRY_POINTS)
    return tuple(sorted((OptimizerPoint(p.name, p.value) for p in points), key=lambda point: point.name))


def for_runtime(runtime: str, points: tuple[OptimizerPoint, ...]) -> OptimizerPoint:
    """The plug-in that makes variants for a runtime.

    Raises:
        WorldError: MF-1430, there is none, or one of its packages is not installed.
    """
    for point in points:
        optimizer = point.load()
        if optimizer.runtime == runtime:
            missing = [package for package in optimizer.packages if _version(package) is None]
            if missing:
                raise _absent(runtime, f"needs {', '.join(missing)}, which is not installed")
            return point
    raise _absent(runtime, "has no plug-in")


def recipe_for(optimizer: Optimizer, precision: Precision) -> Recipe:
    """How an optimizer makes a precision.

    Raises:
        CallerError: MF-1421, it cannot.
    """
    recipe = optimizer.recipe(precision)
    if recipe is None:
        offered = [item.value for item in Precision if optimizer.recipe(item) is not None]
        raise CallerError(
            Code.BUILD_PRECISION,
            f"the optimizer {optimizer.name} makes no {precision.value} variant",
            expected=f"one of {', '.join(offered)}",
            todo="correct the precisions of the class or of the build",
        )
    return recipe


def no_calibration(recipe: Recipe) -> CallerError:
    """The refusal of a recipe that needs calibration data where none was given."""
    return CallerError(
        Code.CALIBRATION_MISSING,
        f"the recipe {recipe.name} needs calibration data, none was given",
        expected="a calibration set",
        todo="give --calibration, or build without int8",
    )


def tools(optimizer: Optimizer) -> dict[str, str]:
    """Versions of everything that can change the bytes of its variants."""
    packages = ("modelfleet", *optimizer.packages)
    return {package: _version(package) or "unknown" for package in packages}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _absent(runtime: str, what: str) -> WorldError:
    return WorldError(
        Code.OPTIMIZER_MISSING,
        f"the optimizer for {runtime} {what}",
        expected="the tools of every class that is built",
        todo="pip install 'modelfleet[build]', or leave the class out",
    )
