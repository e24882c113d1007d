"""Brings what a build of a controller gave to this machine: the whole release folder, checked, or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import typer

from fleetctl import progress, safefile
from fleetctl.app import App
from fleetctl.build import render
from fleetctl.output import Format, emit
from modelfleet_build.report import MAX_REPORT_BYTES, REPORT_NAME, BuildReport, read_report
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError, WorldError
from modelfleet_core.ids import is_file_name
from modelfleet_core.release.manifest import MANIFEST_NAME
from modelfleet_core.wire import codec
from modelfleet_core.wire.build import BuildFile, BuildState, BuildView

if TYPE_CHECKING:
    from fleetctl.client.api import Api

MAX_DEPTH: Final = 3
MAX_FILES: Final = 100_000


def deliver(
    made: App, api: Api, view: BuildView, folder: Path, output: Format, *, model: Path | None = None
) -> None:
    """Fetch the release folder of a build that is over, show its report, leave with its exit code.

    Args:
        model: where the model lies on this machine; the report says so then, for `build explain`.

    Raises:
        ModelfleetError: why the build gave nothing; MF-2040 to MF-2042, what came is not what was built;
            MF-6005, the folder exists; MF-6004, it cannot be written.
    """
    outcome = view.outcome
    if not view.state.over or view.state is BuildState.CANCELLED or outcome is None:
        raise _nothing(view)
    if outcome.refusal is not None:
        told = outcome.refusal
        raise _known(told.code, told.happened, told.expected, told.todo)
    if outcome.release is None:
        report = _report(api, view)
        emit(made.terminal, report, output, lambda it: render.report(it, None))
        raise typer.Exit(outcome.exit_code)
    with progress.shown(made.terminal, f"fetch {view.spec.name}:{view.spec.version}") as sink:
        fetch(api, view, outcome.release, folder, sink, model)
    emit(made.terminal, read_report(folder), output, lambda it: render.report(it, folder))
    raise typer.Exit(outcome.exit_code)


def fetch(
    api: Api, view: BuildView, release: str, folder: Path, sink: progress.Progress, model: Path | None
) -> None:
    """Write the release folder: beside it first, every digest checked, then renamed."""
    files = _safe(view, release)
    if folder.exists():
        raise safefile.exists(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            for done, (name, file) in enumerate(files.items()):
                sink(name, done, len(files))
                _file(api, beside / name, file)
            if model is not None:
                report = replace(read_report(beside), model=str(model.absolute()))
                (beside / REPORT_NAME).write_bytes(codec.pretty(report))
            for path in (*beside.rglob("*"), beside):
                _sync(path)
            beside.chmod(0o755)
            os.rename(beside, folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise safefile.unwritable(folder, error) from error


def _safe(view: BuildView, release: str) -> Mapping[str, BuildFile]:
    """The files by their paths, which stay inside the folder and hold the release that was built."""
    files = {file.path: file for file in view.files}
    odd = [path for path in files if not _is_inside(path)]
    if odd or len(files) != len(view.files) or not 0 < len(files) <= MAX_FILES:
        named = f"a file {odd[0][:200]!r}" if odd else f"{len(view.files)} files"
        raise IntegrityError(
            Code.STATEMENT_FILE_NAME,
            f"build {view.id} lists {named}",
            expected="each file once, inside the release folder",
            todo="do not use this controller before you know why",
        )
    manifest = files.get(MANIFEST_NAME)
    if manifest is None or manifest.sha256 != release:
        raise IntegrityError(
            Code.STATEMENT_OTHER_RELEASE,
            f"build {view.id} gave release {release[:16]}, but its files hold another one or none",
            expected=f"a {MANIFEST_NAME} of that digest",
            todo="order the build again",
        )
    return files


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return 0 < len(parts) <= MAX_DEPTH and "/".join(parts) == path and all(map(is_file_name, parts))


def _file(api: Api, path: Path, file: BuildFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as target:

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            target.write(chunk)

        api.download(file.sha256, write, file.size)
    _check(file, digest.hexdigest())


def _check(file: BuildFile, found: str) -> None:
    if found != file.sha256:
        raise IntegrityError(
            Code.FILE_DIGEST,
            f"{file.path} came with sha256 {found}",
            expected=f"sha256 {file.sha256}",
            todo="fetch it again; nothing was written",
        )


def _report(api: Api, view: BuildView) -> BuildReport:
    """The report of a build without a release."""
    file = next((item for item in view.files if item.path == REPORT_NAME), None)
    if file is None:
        raise _nothing(view)
    data = bytearray()
    append: Callable[[bytes], object] = data.extend
    api.download(file.sha256, append, min(file.size, MAX_REPORT_BYTES))
    _check(file, hashlib.sha256(data).hexdigest())
    return codec.decode(bytes(data), BuildReport, what=REPORT_NAME, limit=MAX_REPORT_BYTES)


def _known(code: str, happened: str, expected: str, todo: str) -> ModelfleetError:
    """The error that ended a build; of a newer controller's codes, the text tells."""
    try:
        return CallerError(Code(code), happened, expected=expected, todo=todo)
    except ValueError:
        return CallerError(Code.CLI_ANSWER, f"{code}: {happened}", expected=expected, todo=todo)


def _nothing(view: BuildView) -> WorldError:
    by = f" by {view.cancelled_by}" if view.cancelled_by is not None else ""
    return WorldError(
        Code.CANCELLED if view.state is BuildState.CANCELLED else Code.BUILD_LOST,
        f"build {view.id} is {view.state.value}{by}: there is nothing to fetch",
        expected="a build that has succeeded",
        todo=f"`fleetctl build show {view.id}` shows where it stands",
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
