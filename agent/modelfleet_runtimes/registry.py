"""Which runtimes are installed here, found through the entry points `modelfleet.runtimes`.

Light enough for the agent's supervisor: asking for versions imports neither numpy nor a runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

from .port import ENTRY_POINTS, Movable, Runtime


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at the installed plug-ins found.

    Attributes:
        available: Plug-in name -> version of its library, sorted by name.
        absent: Plug-in name -> extra that would install its library.
        broken: Plug-in name -> why the plug-in itself cannot be loaded.
    """

    available: dict[str, str]
    absent: dict[str, str]
    broken: dict[str, str]


def survey() -> Survey:
    """Look at every plug-in. A broken one never hides the others."""
    available: dict[str, str] = {}
    absent: dict[str, str] = {}
    broken: dict[str, str] = {}
    for name, entry in sorted(_entry_points().items()):
        try:
            runtime: Runtime = entry.load()
            version = runtime.version()
        except Exception as error:  # a foreign plug-in may raise anything
            broken[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        if version is None:
            absent[name] = runtime.extra
        else:
            available[name] = version
    return Survey(available, absent, broken)


def available() -> dict[str, str]:
    """Plug-in name -> version of its library, of every runtime that can be used here."""
    return survey().available


def load(name: str, python: Path | None = None) -> Runtime:
    """The plug-in of that name; its library is imported by `Runtime.open` only.

    Args:
        name: Of the plug-in.
        python: Drive the library in this interpreter, which has it, instead of importing it here. For
            builders only: what a release says never gets here.

    Raises:
        CallerError: MF-4001, no such plug-in; MF-4063, it cannot be driven in another interpreter.
        WorldError: MF-4002, the plug-in or its library is not usable.
    """
    points = _entry_points()
    entry = points.get(name)
    if entry is None:
        raise CallerError(
            Code.RUNTIME_UNKNOWN,
            f"there is no runtime plug-in {name!r}",
            expected=f"one of: {', '.join(sorted(points)) or 'none is installed'}",
            todo="correct the name, or install the distribution that brings the plug-in",
        )
    try:
        runtime: Runtime = entry.load()
    except Exception as error:  # a foreign plug-in may raise anything
        raise WorldError(
            Code.RUNTIME_MISSING,
            f"the runtime plug-in {name!r} cannot be loaded: {type(error).__name__}: {str(error)[:200]}",
            expected="a plug-in that imports without its library",
            todo="update or remove the distribution that brings it",
        ) from error
    if python is not None:
        if not isinstance(runtime, Movable):
            raise CallerError(
                Code.RUNTIME_ELSEWHERE,
                f"the runtime {name!r} cannot be driven in another interpreter",
                expected="a plug-in that says how (`port.Movable`)",
                todo="install its library beside Modelfleet",
            )
        return runtime.elsewhere(python)
    if runtime.version() is None:
        raise missing(runtime)
    return runtime


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, read from its metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def missing(runtime: Runtime) -> WorldError:
    """The error of a plug-in whose library is not installed."""
    return WorldError(
        Code.RUNTIME_MISSING,
        f"the runtime {runtime.name!r} needs the package {runtime.package!r}, which is not installed",
        expected=f"{runtime.package} beside Modelfleet",
        todo=f"pip install 'modelfleet[{runtime.extra}]'",
    )


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
