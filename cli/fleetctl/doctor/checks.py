"""What doctor looks at. Each check answers ok, warn or fail, and says what to do."""

from __future__ import annotations

import importlib.util
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fleetctl.app import App
from fleetctl.client.api import Api
from fleetctl.server import programs
from fleetctl.trust.memory import TrustMemory, status
from modelfleet_core.errors import ModelfleetError

EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "build": ("onnx", "onnxruntime", "numpy"),
    "controller": programs.CONTROLLER_MODULES,
    "agent": programs.AGENT_MODULES,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `state` is ok, warn or fail."""

    name: str
    state: str
    detail: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class DoctorView:
    """View of `doctor`."""

    ok: bool
    checks: tuple[Check, ...]
    schema: int = 1


def examine(app: App) -> DoctorView:
    """All checks, from this machine outwards; those behind a failed one are left out."""
    checks = tuple(_checks(app))
    return DoctorView(all(c.state != "fail" for c in checks), checks)


def _checks(app: App) -> Iterator[Check]:
    yield Check("python", "ok", sys.version.split()[0])
    yield from (_extra(name, modules) for name, modules in EXTRAS.items())
    yield from (_program(name) for name in (programs.CONTROLLER, programs.AGENT))
    yield _config(app)
    try:
        context = app.context()
    except ModelfleetError as error:
        yield Check("context", "warn", error.happened, error.todo)
        return
    yield Check("context", "ok", f"{context.name} ({context.url})")
    try:
        api = app.api()
    except ModelfleetError as error:
        yield _failed("controller", error)
        return
    yield from _controller(app, api)


def _controller(app: App, api: Api) -> Iterator[Check]:
    alive = _ask("controller", api.is_alive, "answers", "says that it is not alive")
    yield alive
    if alive.state != "ok":
        return
    yield _ask("ready", api.is_ready, "can do its work", "cannot do its work yet")
    try:
        told = api.trust()
    except ModelfleetError as error:
        yield _failed("token", error)
        return
    yield Check("token", "ok", f"accepted by controller {told.audience}")
    try:
        view = status(api.url, told, TrustMemory(app.trust_dir).read(told.audience))
    except ModelfleetError as error:
        yield _failed("trust", error)
        return
    if not view.warnings:
        yield Check("trust", "ok", f"{len(view.keys)} keys, the same on both sides")
    yield from (Check("trust", "warn", warning, "see `fleetctl trust status`") for warning in view.warnings)


def _ask(name: str, question: Callable[[], bool], good: str, bad: str) -> Check:
    try:
        return (
            Check(name, "ok", good) if question() else Check(name, "fail", bad, "read the controller's log")
        )
    except ModelfleetError as error:
        return _failed(name, error)


def _failed(name: str, error: ModelfleetError) -> Check:
    return Check(name, "fail", f"{error.code.value}: {error.happened}", error.todo)


def _extra(name: str, modules: tuple[str, ...]) -> Check:
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        lacking = f"not installed ({', '.join(missing)} missing)"
        return Check(f"extra {name}", "warn", lacking, f"pip install 'modelfleet[{name}]' where it is needed")
    return Check(f"extra {name}", "ok", "installed")


def _program(name: str) -> Check:
    found = programs.find(name)
    if found is None:
        return Check(name, "warn", "not found", "install Modelfleet where this program is needed")
    return Check(name, "ok", str(found))


def _config(app: App) -> Check:
    path = app.contexts.path
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Check("configuration", "ok", f"none yet ({path})")
    except OSError as error:
        return Check("configuration", "fail", f"{path}: {error.strerror}", "check its permissions")
    if mode & 0o077:
        return Check(
            "configuration",
            "fail",
            f"{path} has mode {mode:o}: others can read the tokens",
            f"chmod 600 {path}",
        )
    return Check("configuration", "ok", str(path))
