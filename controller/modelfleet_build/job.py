"""One build described by files: what a child process of the controller runs, and what a container runs over a
mounted volume. Nothing of the process that ordered it is needed.

    FOLDER/build.json        the job (`BuildJob`)
    FOLDER/inputs/ROLE/NAME  the input files, verified against the job's digests before anything reads them
    FOLDER/progress.jsonl    one `BuildProgress` a line, appended
    FOLDER/report.json       what was measured and refused, once the build came so far
    FOLDER/release/          the release folder; appears whole or not at all
    FOLDER/outcome.json      the `BuildOutcome`; its appearance is the end

Killed at any moment it leaves no half release, and run again in the same folder it starts over. A POSIX lock
on FOLDER/lock says that somebody works there: the kernel drops it with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from modelfleet_build.cache import file_digest
from modelfleet_build.progress import Happening, ProgressEvent, ProgressSink, text
from modelfleet_build.request import BuildRequest, Limits, Objective
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError, WorldError
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.wire import codec
from modelfleet_core.wire.build import (
    BuildInput,
    BuildOutcome,
    BuildProgress,
    BuildRefusal,
    BuildSpec,
    InputRole,
)

JOB: Final = "build.json"
INPUTS: Final = "inputs"
PROGRESS: Final = "progress.jsonl"
REPORT: Final = "report.json"
RELEASE: Final = "release"
OUTCOME: Final = "outcome.json"
LOCK: Final = "lock"

REFUSED: Final = 1
"""Exit code of a build that was refused as a whole."""
BUSY: Final = 75
"""Exit code of the program where another one works on the folder."""
QUIET_S: Final = 1.0
"""Least time between two lines of a step that goes on."""
_TAIL: Final = 4096
_MAX_LINE: Final = 500
_FLOCK: Final = "hhqqi"
"""`struct flock` of 64-bit Linux: type, whence, start, length, pid."""


@dataclass(frozen=True, slots=True)
class BuildJob:
    """What stands in `build.json`: what to build, and what the machine allows it.

    Attributes:
        limits: Of each child of the builder; `tuning_s` comes from the spec.
        jobs: Classes built at once, 0 = as many as processors.
        nice: Niceness of the build and its children, 0 to 19.
    """

    spec: BuildSpec
    limits: Limits = field(default_factory=Limits)
    jobs: int = 0
    nice: int = 0


def input_path(folder: Path, item: BuildInput) -> Path:
    """Where an input of a job lies. Under its own name, which the release's lineage tells."""
    return folder / INPUTS / item.role.value / item.name


def write_job(folder: Path, job: BuildJob) -> None:
    """Write `build.json`; the inputs are the caller's."""
    _write(folder / JOB, codec.pretty(job))


def read_job(folder: Path) -> BuildJob:
    """The job of a folder.

    Raises:
        CallerError: MF-1480.
    """
    try:
        return codec.decode((folder / JOB).read_bytes(), BuildJob, what=JOB)
    except (OSError, ModelfleetError) as error:
        why = error.happened if isinstance(error, ModelfleetError) else error.strerror
        raise CallerError(
            Code.BUILD_JOB_FOLDER,
            f"{folder / JOB} cannot be read: {why}",
            expected="a folder with build.json and inputs/, as a controller writes it",
            todo="name the folder of a build",
        ) from error


def write_outcome(folder: Path, outcome: BuildOutcome) -> None:
    """Say how a job ended: by itself at its end, or by whoever ended it.

    Raises:
        WorldError: MF-1451.
    """
    _write(folder / OUTCOME, codec.pretty(outcome))


def read_outcome(folder: Path) -> BuildOutcome | None:
    """How the job ended, None = it did not yet."""
    try:
        return codec.decode((folder / OUTCOME).read_bytes(), BuildOutcome, what=OUTCOME)
    except FileNotFoundError:
        return None


def read_progress(folder: Path) -> BuildProgress:
    """The last whole line of progress; nothing where there is none."""
    try:
        with (folder / PROGRESS).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read(_TAIL).split(b"\n")[:-1]
    except OSError:
        return BuildProgress()
    return codec.decode(lines[-1], BuildProgress, what=PROGRESS) if lines else BuildProgress()


def worker(folder: Path) -> int | None:
    """Process that works on the folder, None = nobody does. Asks the kernel, which knows of no dead one."""
    try:
        with (folder / LOCK).open("rb") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else int(pid)


def refused(error: ModelfleetError) -> BuildOutcome:
    """The outcome of a build that an error ended."""
    told = error.diagnostics()
    return BuildOutcome(REFUSED, refusal=BuildRefusal(told.code, told.happened, told.expected, told.todo))


def run(folder: Path, clock: Clock) -> BuildOutcome:
    """Do the job of a folder, from the start, and write how it ended.

    Raises:
        CallerError: MF-1480, another process works on the folder; nothing is touched then.
        WorldError: MF-5001, MF-1451, the outcome cannot be written.
    """
    with _held(folder):
        _start_over(folder)
        try:
            outcome = _build(folder, clock)
        except ModelfleetError as error:
            outcome = refused(error)
        except MemoryError:
            outcome = refused(_no_memory())
        write_outcome(folder, outcome)
    return outcome


def _build(folder: Path, clock: Clock) -> BuildOutcome:
    from modelfleet_build import pipeline

    job = read_job(folder)
    with _progress(folder / PROGRESS, clock) as sink:
        result = pipeline.build(_request(folder, job), sink, clock)
    _write(folder / REPORT, codec.pretty(result.report))
    return BuildOutcome(result.exit_code, result.release)


def _request(folder: Path, job: BuildJob) -> BuildRequest:
    """The request of a job whose inputs are the ones that were ordered."""
    spec = job.spec
    for item in spec.inputs:
        _verify(folder, item)

    def path(role: InputRole) -> Path | None:
        item = spec.input(role)
        return None if item is None else input_path(folder, item)

    model, validation = path(InputRole.MODEL), path(InputRole.VALIDATION)
    assert model is not None
    assert validation is not None
    own = {item.name for item in spec.device_classes}
    return BuildRequest(
        model=model,
        name=spec.name,
        version=spec.version,
        classes=spec.classes,
        validation=validation,
        output=folder / RELEASE,
        calibration=path(InputRole.CALIBRATION),
        golden=path(InputRole.GOLDEN),
        companion=path(InputRole.COMPANION),
        task=spec.task,
        decoder=spec.decoder,
        max_drop_points=spec.max_drop_points,
        objective=Objective(spec.objective) if spec.objective else None,
        precisions=spec.precisions or None,
        known_classes=(*(item for item in SHIPPED if item.name not in own), *spec.device_classes),
        limits=replace(job.limits, tuning_s=spec.tuning_s),
        search=spec.search,
        jobs=job.jobs,
        nice=0,  # the whole process is nice already
    )


def _verify(folder: Path, item: BuildInput) -> None:
    path = input_path(folder, item)
    if not path.is_file():
        raise CallerError(
            Code.BUILD_JOB_FOLDER,
            f"the {item.role.value} file {item.name} is not in the folder of the build",
            expected=f"it in {INPUTS}/{item.role.value}",
            todo="order the build again",
        )
    found = file_digest(path)
    if found != item.sha256:
        raise IntegrityError(
            Code.BUILD_JOB_FOLDER,
            f"the {item.role.value} file {item.name} has sha256 {found}",
            expected=f"sha256 {item.sha256}, as ordered",
            todo="check the disk of the builder, and order the build again",
        )


def _start_over(folder: Path) -> None:
    """Remove what an earlier run left; the outcome first, because it speaks of the rest."""
    for name in (OUTCOME, REPORT, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / RELEASE, *folder.glob(f".{RELEASE}.partial-*")):
        if path.exists():
            shutil.rmtree(path)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        file = (folder / LOCK).open("ab")
    except OSError as error:
        raise CallerError(
            Code.BUILD_JOB_FOLDER,
            f"{folder} cannot be worked in: {error.strerror}",
            expected="a folder that can be written",
            todo="name the folder of a build",
        ) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CallerError(
                Code.BUILD_JOB_FOLDER,
                f"another process works on {folder}",
                expected="one process for each build",
                todo="wait until it has ended",
            ) from error
        yield


@contextmanager
def _progress(path: Path, clock: Clock) -> Iterator[ProgressSink]:
    """A sink that appends lines; a step that goes on tells at most one each `QUIET_S`."""
    told_at = -QUIET_S
    with path.open("ab", buffering=0) as file:

        def sink(event: ProgressEvent) -> None:
            nonlocal told_at
            now = clock.monotonic()
            if event.happening is Happening.GOING_ON and now - told_at < QUIET_S:
                return
            told_at = now
            file.write(codec.encode(BuildProgress(event.fraction, text(event)[:_MAX_LINE])) + b"\n")

        yield sink


def _write(path: Path, data: bytes) -> None:
    """A whole file or none, on disk when this returns."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except OSError as error:
        raise WorldError(
            Code.BUILD_NOT_WRITTEN,
            f"{path} cannot be written: {error.strerror}",
            expected="a writable folder with room",
            todo="make room and run the build again",
        ) from error


def _no_memory() -> WorldError:
    return WorldError(
        Code.CONVERSION_MEMORY,
        "the build ran out of memory",
        expected="a model and data that fit the builder's memory",
        todo="give less validation data, or raise the builder's memory limit",
    )
