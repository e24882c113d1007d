"""`fleetctl build --remote`: inputs up by their digests, the order, progress, and the release folder back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from fleetctl import progress, safefile
from fleetctl.app import App
from fleetctl.arguments import understood
from fleetctl.build import fetching
from fleetctl.output import Format
from fleetctl.run import INTERRUPTED
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.wire.build import BuildInput, BuildOrder, BuildSpec, BuildView, InputRole

if TYPE_CHECKING:
    from fleetctl.client.api import Api

LOOK_S: Final = 1.0
LOST_S: Final = 300.0
"""How long an unreachable controller is waited for."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._+-]")


def build(
    made: App,
    files: Mapping[InputRole, Path],
    folder: Path,
    spec_of: Callable[[tuple[BuildInput, ...]], BuildSpec],
    output: Format,
) -> None:
    """Order the build, follow it and fetch what it gives. Leaves with the exit code of a local build.

    Args:
        files: Inputs on this machine.
        spec_of: What is ordered, once the inputs have their digests; may refuse with ValueError.

    Raises:
        CallerError: an input cannot be read or the order is refused. WorldError: MF-5010, and others.
    """
    if folder.exists():
        raise safefile.exists(folder)
    with understood():
        inputs = tuple(_input(role, path) for role, path in files.items())
        spec = spec_of(inputs)
    api = made.api()
    with progress.shown(made.terminal, f"upload {spec.name}:{spec.version}") as sink:
        for done, item in enumerate(inputs):
            sink(item.name, done, len(inputs))
            api.upload_file(files[item.role], item.sha256)
    ordered = api.order_build(BuildOrder(spec, made.key("bo")))
    made.terminal.note(f"build {ordered.id} is {ordered.state.value} on {api.url}")
    try:
        view = follow(made, api, ordered)
    except KeyboardInterrupt:
        for line in _goes_on(ordered.id, folder):
            made.terminal.note(line)
        raise typer.Exit(INTERRUPTED) from None
    fetching.deliver(made, api, view, folder, output, model=files[InputRole.MODEL])


def follow(made: App, api: Api, build: BuildView) -> BuildView:
    """Show a build until it is over.

    Raises:
        WorldError: MF-5010, the controller stays away.
    """
    told = ""
    with progress.shown(made.terminal, f"build {build.spec.name}:{build.spec.version}") as sink:
        view = build
        for view in _looks(api, build, made.clock):
            line = view.progress.line or view.state.value
            if line != told:
                sink(line, int(100 * view.progress.fraction), 100)
            told = line
    return view


def _looks(api: Api, build: BuildView, clock: Clock) -> Iterator[BuildView]:
    seen_at = clock.monotonic()
    view = build
    while not view.state.over:
        yield view
        clock.wait(LOOK_S)
        try:
            view = api.build(build.id)
            seen_at = clock.monotonic()
        except WorldError:
            if clock.monotonic() - seen_at > LOST_S:
                raise
    yield view


def _goes_on(build: str, folder: Path) -> list[str]:
    return [
        f"the build goes on; see it:   fleetctl build show {build}",
        f"              fetch it:      fleetctl build fetch {build} -O {folder}",
        f"              or end it:     fleetctl build cancel {build}",
    ]


def _input(role: InputRole, path: Path) -> BuildInput:
    """The file as the order names it: its own name, in letters that are safe everywhere."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CallerError(
            Code.CLI_FILE,
            f"the {role.value} file {path} cannot be read: {error.strerror or error}",
            expected="a file that you may read",
            todo="check the path",
        ) from error
    return BuildInput(role, _UNSAFE.sub("_", path.name).lstrip(".+-")[:128] or role.value, digest)
