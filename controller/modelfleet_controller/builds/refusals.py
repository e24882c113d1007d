"""What is refused about builds, and why a build was ended."""

from __future__ import annotations

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.wire.build import BuildInput, BuildState


def not_offered(builds: int) -> CallerError:
    """This controller builds nothing."""
    why = "builds is 0 in its settings" if builds == 0 else "the extra `build` is not installed beside it"
    return CallerError(
        Code.BUILDS_NOT_OFFERED,
        f"this controller builds nothing: {why}",
        expected="a controller with pip install 'modelfleet[controller,build]' and builds above 0",
        todo="build on your own machine: fleetctl build without --remote",
    )


def queue_full(waiting: int) -> WorldError:
    """The quota of waiting builds is used up."""
    return WorldError(
        Code.CONTROLLER_BUSY,
        f"{waiting} builds wait already",
        expected="a place in the queue (builds_waiting in the controller's settings)",
        todo="wait for one to end, or cancel one: fleetctl build list",
    )


def no_build(name: str) -> CallerError:
    """There is no build of that id."""
    return CallerError(
        Code.NOT_FOUND,
        f"there is no build {name[:80]!r}",
        expected="the id of a build",
        todo="`fleetctl build list` shows them",
    )


def not_uploaded(item: BuildInput) -> CallerError:
    """An input is no blob of this controller."""
    return CallerError(
        Code.BLOB_MISSING,
        f"the {item.role.value} file {item.name} ({item.sha256}) was not uploaded",
        expected="every input as a blob: PUT /v1/blobs/sha256/{digest}",
        todo="order it with `fleetctl build --remote`; it uploads what is missing",
    )


def no_class(name: str, known: list[str]) -> CallerError:
    """A device class is neither shipped, nor applied here, nor part of the order."""
    return CallerError(
        Code.CLASS_UNKNOWN,
        f"there is no device class {name!r}",
        expected=f"one of {', '.join(known)}",
        todo="correct --class, or bring your own with --class-file FILE",
    )


def over(build: str, state: BuildState) -> CallerError:
    """A build that is over cannot be cancelled."""
    return CallerError(
        Code.VERB_NOT_NOW,
        f"cancel: build {build} has {state.value}",
        expected="a build that is queued or running",
        todo=f"`fleetctl build show {build}` shows what became of it",
    )


def cancelled(person: str) -> WorldError:
    """Somebody ended it."""
    return WorldError(
        Code.CANCELLED,
        f"the build was cancelled by {person}",
        expected="a build that goes on",
        todo="order it again",
    )


def too_long(seconds: float) -> WorldError:
    """It took longer than a build may."""
    return WorldError(
        Code.CONVERSION_TIMEOUT,
        f"the build was ended after {seconds:g} s",
        expected=f"an end within {seconds:g} s",
        todo="order it with fewer classes, or raise build_s in the controller's settings",
    )


def lost(detail: str) -> WorldError:
    """Its process is gone and left nothing that says why."""
    told = f" {detail}" if detail else ""
    return WorldError(
        Code.BUILD_LOST,
        f"the process of the build ended{told} without an outcome",
        expected="a process that runs to its end, on a machine with enough memory that is not restarted",
        todo="order the build again; if it ends like this again, look at the machine of the controller",
    )
