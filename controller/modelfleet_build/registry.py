"""Which optimizers are installed here, found through the entry points `modelfleet.optimizers`."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from importlib import metadata

from modelfleet_build.isolated.tools import SHIPPED, IsolatedTool
from modelfleet_build.port import ENTRY_POINTS, Isolated, Optimizer, Recipe, Versioned
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import FLOATS, Precision


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
        """The plug-in.

        Raises:
            WorldError: MF-1430, its module cannot be imported or has no such attribute.
        """
        module, _, attribute = self.value.partition(":")
        try:
            optimizer: Optimizer = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a foreign module raises whatever it likes while it is imported
            raise _absent(
                self.name, f"cannot be loaded: {type(error).__name__}: {str(error)[:200]}"
            ) from error
        return optimizer


def installed() -> tuple[OptimizerPoint, ...]:
    """Every installed plug-in, sorted by name."""
    points = metadata.entry_points(group=ENTRY_POINTS)
    return tuple(sorted((OptimizerPoint(p.name, p.value) for p in points), key=lambda point: point.name))


def for_class(device_class: DeviceClass, points: tuple[OptimizerPoint, ...]) -> OptimizerPoint:
    """The plug-in that makes the variants of a class: the one it names, else the one of its runtime.

    Raises:
        CallerError: MF-1425, the class sets an option that the plug-in does not take.
        WorldError: MF-1430, there is none, or one of its packages is not installed.
    """
    wanted = device_class.optimizer or device_class.runtime
    for point in points:
        try:
            optimizer = point.load()
        except WorldError:
            if point.name == wanted:
                raise
            continue  # what is broken there is no matter of this class
        found = optimizer.name if device_class.optimizer else optimizer.runtime
        if found != wanted:
            continue
        missing = [package for package in optimizer.packages if _version(package) is None]
        if missing:
            raise _absent(wanted, f"needs {', '.join(missing)}, which is not installed")
        _check_options(device_class, optimizer)
        return point
    raise _absent(wanted, "has no plug-in")


def isolated_tools() -> tuple[IsolatedTool, ...]:
    """Every isolated tool: those that are shipped and those of plug-ins, sorted by name."""
    tools = {tool.name: tool for tool in SHIPPED}
    for point in installed():
        try:
            optimizer = point.load()
        except WorldError:
            continue  # it is told where a class needs it
        if isinstance(optimizer, Isolated):
            tools.setdefault(optimizer.isolated.name, optimizer.isolated)
    return tuple(tools[name] for name in sorted(tools))


def recipe_of(optimizer: Optimizer, name: str) -> Recipe:
    """The recipe that a class names.

    Raises:
        CallerError: MF-1424, the optimizer has none of that name.
    """
    found = next((recipe for recipe in optimizer.recipes if recipe.name == name), None)
    if found is None:
        offered = [recipe.name for recipe in optimizer.recipes]
        nearest = difflib.get_close_matches(name, offered, n=1)
        raise CallerError(
            Code.BUILD_RECIPE,
            f"the optimizer {optimizer.name} has no recipe {name!r}",
            expected=f"one of {', '.join(offered)}",
            todo=(f"did you mean {nearest[0]}? " if nearest else "") + "correct `recipes` of the class",
        )
    return found


def recipes_for(
    device_class: DeviceClass, optimizer: Optimizer, precisions: tuple[Precision, ...] | None
) -> tuple[Recipe, ...]:
    """Recipes to try for a class, float first.

    Args:
        device_class: Names recipes.
        optimizer: Has them.
        precisions: Instead of the class's recipes: those of them that have one of these precisions, and the
            optimizer's usual recipe of a precision that the class has none of; see also `not_made`.

    Returns:
        A float recipe is always among them where the optimizer compares with one: it is what the others are
        timed against, and stays available.

    Raises:
        CallerError: MF-1424, a recipe does not exist.
    """
    chosen = [recipe_of(optimizer, name) for name in dict.fromkeys(device_class.recipes)]
    if precisions is not None:
        chosen = [
            recipe for precision in dict.fromkeys(precisions) for recipe in _of(precision, chosen, optimizer)
        ]
    if optimizer.float_recipe is not None and not any(recipe.precision in FLOATS for recipe in chosen):
        chosen.append(recipe_of(optimizer, optimizer.float_recipe))
    # The usual float recipe first: it is the reference of every other, of float ones too.
    return tuple(sorted(chosen, key=lambda r: (r.precision not in FLOATS, r.name != optimizer.float_recipe)))


def count(
    device_class: DeviceClass, points: tuple[OptimizerPoint, ...], precisions: tuple[Precision, ...] | None
) -> int:
    """How many variants of a class will be tried; as many as it names where its plug-in is missing.

    Raises:
        CallerError: MF-1424 or MF-1425, the class asks its plug-in for what that does not have.
    """
    try:
        optimizer = for_class(device_class, points).load()
    except WorldError:
        return len(device_class.recipes)
    return len(recipes_for(device_class, optimizer, precisions)) + len(not_made(optimizer, precisions))


def _of(precision: Precision, listed: list[Recipe], optimizer: Optimizer) -> list[Recipe]:
    own = [recipe for recipe in listed if recipe.precision is precision]
    return own or [recipe for recipe in optimizer.recipes if recipe.precision is precision][:1]


def not_made(optimizer: Optimizer, precisions: tuple[Precision, ...] | None) -> dict[Precision, CallerError]:
    """The refusal (MF-1421) of every wanted precision that an optimizer does not make."""
    offered = dict.fromkeys(recipe.precision for recipe in optimizer.recipes)
    return {
        precision: CallerError(
            Code.BUILD_PRECISION,
            f"the optimizer {optimizer.name} makes no {precision.value} variant",
            expected=f"one of {', '.join(item.value for item in offered)}",
            todo="correct the precisions of the build",
        )
        for precision in precisions or ()
        if precision not in offered
    }


def _check_options(device_class: DeviceClass, optimizer: Optimizer) -> None:
    strange = sorted(set(device_class.options) - set(optimizer.options))
    if strange:
        known = ", ".join(optimizer.options)
        raise CallerError(
            Code.BUILD_OPTION,
            f"class {device_class.name} sets the options {', '.join(strange)}",
            expected=f"of the options of {optimizer.name} only {known}"
            if known
            else f"no options: {optimizer.name} has none",
            todo="correct `options` of the class",
        )


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
    found = versions(optimizer.packages)
    return {**found, **optimizer.versions()} if isinstance(optimizer, Versioned) else found


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Our own version and those of the packages."""
    return {package: _version(package) or "unknown" for package in ("modelfleet", *packages)}


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
