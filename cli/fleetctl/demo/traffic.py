"""The application processes: one camera per device, each with its own count of what it asked and got."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.wire import codec

from .processes import Command, Processes, Program

RATE = 20.0
DEADLINE_S = 10.0
"""What an application grants one answer (the SDK's default); the restart of a killed serve must fit in it."""


class Light(StrEnum):
    """What the cameras see: plain digits, or inverted ones."""

    DAY = "day"
    NIGHT = "night"


@dataclass(frozen=True, slots=True)
class Counts:
    """What one camera counted; `slowest_ms` is its longest call, retries included."""

    ready: bool = False
    asked: int = 0
    answered: int = 0
    failed: int = 0
    right: int = 0
    slowest_ms: float = 0.0
    latest_error: str = ""
    night: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Camera:
    """One application process and the file it counts in."""

    device: str
    socket: Path
    program: Program
    status: Path

    def counts(self) -> Counts:
        """The latest counts, at most a quarter of a second old; all zero before the first."""
        try:
            return codec.decode(self.status.read_bytes(), Counts, what=f"counts of {self.device}'s camera")
        except (FileNotFoundError, CallerError):
            return Counts()


class Traffic:
    """All cameras; each has a file of its own that says day or night.

    Args:
        folder: for their status and light files.
        program: `examples/camera.py`.
        images: the `.npz` they send.
    """

    def __init__(self, processes: Processes, clock: Clock, folder: Path, program: Path, images: Path) -> None:
        self._processes = processes
        self._clock = clock
        self._folder = folder
        self._program = program
        self._images = images
        self.cameras: dict[str, Camera] = {}

    def start(self, device: str, socket: Path, slot: str) -> None:
        """Starts the camera of one device; it waits by itself until the slot has a model."""
        status = self._folder / f"{device}.json"
        self.light(Light.DAY, [device])
        command: Command = [
            sys.executable,
            self._program,
            "--model",
            slot,
            "--socket",
            socket,
            "--images",
            self._images,
        ]
        command += ["--rate", f"{RATE:g}", "--deadline", f"{DEADLINE_S:g}", "--status", status]
        command += ["--light", self._light(device)]
        program = self._processes.start(f"camera-{device}", command)
        self.cameras[device] = Camera(device, socket, program, status)

    def start_again(self, slot: str) -> None:
        """All cameras that were stopped, with new counts."""
        for camera in list(self.cameras.values()):
            self.start(camera.device, camera.socket, slot)

    def light(self, light: Light, devices: Iterable[str]) -> None:
        """From the next image on, the cameras of these devices see day or night."""
        for device in devices:
            path = self._light(device)
            partial = path.with_name(path.name + ".partial")
            partial.write_text(light)
            partial.replace(path)

    def _light(self, device: str) -> Path:
        return self._folder / f"{device}.light"

    def counts(self, devices: Sequence[str] | None = None) -> Counts:
        """The sum over cameras (all, or those of the named devices)."""
        names = self.cameras if devices is None else devices
        each = [self.cameras[name].counts() for name in names]
        return Counts(
            ready=all(one.ready for one in each),
            asked=sum(one.asked for one in each),
            answered=sum(one.answered for one in each),
            failed=sum(one.failed for one in each),
            right=sum(one.right for one in each),
            slowest_ms=max((one.slowest_ms for one in each), default=0.0),
            latest_error=next((one.latest_error for one in each if one.latest_error), ""),
        )

    def stop(self) -> None:
        """Ends the cameras after their current image, so that their counts are final.

        Raises:
            WorldError: MF-6052, one ended before without being asked to, or not after its image.
        """
        odd = [camera for camera in self.cameras.values() if not camera.program.running]
        for camera in self.cameras.values():
            camera.program.popen.terminate()
        for camera in self.cameras.values():
            self._processes.stop(camera.program, DEADLINE_S + 2)
        odd += [camera for camera in self.cameras.values() if not camera.counts().ended]
        if odd:
            raise WorldError(
                Code.DEMO_PROCESS,
                f"the camera of {odd[0].device} ended with {odd[0].program.popen.returncode}",
                expected="cameras that run until they are told to stop, and then write their last count",
                todo=f"read {odd[0].program.log}",
            )
