"""A build described by files: the real program on a folder, verified inputs, kill -9, and a second run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelfleet_build import job
from modelfleet_build.job import BuildJob
from modelfleet_build.request import Limits
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Manifest, Precision, Task
from modelfleet_core.wire import codec
from modelfleet_core.wire.build import BuildInput, BuildOutcome, BuildProgress, BuildSpec, InputRole

from e2e.support import eventually

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
FILES = {
    InputRole.MODEL: "digits-1.0.onnx",
    InputRole.VALIDATION: "validation.npz",
    InputRole.GOLDEN: "golden.npz",
}
QUICK = Limits(rounds=2, validation_samples=100)


def ordered(folder: Path, files: dict[InputRole, str] = FILES, **spec: object) -> BuildJob:
    """A folder as a controller makes it."""
    inputs = []
    for role, name in files.items():
        item = BuildInput(role, name, hashlib.sha256((DIGITS / name).read_bytes()).hexdigest())
        path = job.input_path(folder, item)
        path.parent.mkdir(parents=True)
        shutil.copyfile(DIGITS / name, path)
        inputs.append(item)
    fields: dict[str, object] = {
        "name": "digits",
        "version": "1.0",
        "task": Task.CLASSIFICATION,
        "classes": ("x86-onnxruntime",),
        "inputs": tuple(inputs),
        "precisions": (Precision.FP32,),
    }
    made = BuildJob(BuildSpec(**(fields | spec)), QUICK)  # type: ignore[arg-type] # fields by name
    job.write_job(folder, made)
    return made


def program(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelfleet_build", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def outcome(folder: Path) -> BuildOutcome:
    found = job.read_outcome(folder)
    assert found is not None
    return found


def descendants(leader: int) -> list[int]:
    found, waiting = [], [leader]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            children = [int(item) for item in task.read_text().split()]
            found += children
            waiting += children
    return found


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_the_program_builds_what_the_folder_says(tmp_path: Path) -> None:
    mine = DeviceClass("mine", ("x86_64",), "onnxruntime")
    ordered(tmp_path, classes=("mine",), device_classes=(mine,))
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "half").write_text("of an earlier run")
    (tmp_path / ".release.partial-x").mkdir()
    (tmp_path / "outcome.json").write_text('{"exit_code": 4}')
    with program(tmp_path) as process:
        assert process.wait(120) == 0, process.stderr and process.stderr.read()
    assert outcome(tmp_path).exit_code == 0
    data = (tmp_path / "release" / "release.json").read_bytes()
    assert outcome(tmp_path).release == hashlib.sha256(data).hexdigest()
    manifest = codec.decode(data, Manifest, what="release.json")
    assert [v.device_class for v in manifest.variants] == ["mine"]
    assert manifest.lineage.source_name == "digits-1.0.onnx"
    assert (tmp_path / "report.json").read_bytes() == (tmp_path / "release" / "build.json").read_bytes()
    lines = [codec.decode(line, BuildProgress, what="line") for line in _lines(tmp_path)]
    assert lines[0].line == "intake digits-1.0.onnx: started"
    assert (lines[-1].fraction, job.read_progress(tmp_path)) == (1.0, lines[-1])
    assert [one.fraction for one in lines] == sorted(one.fraction for one in lines)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        "build.json", "inputs", "lock", "outcome.json", "progress.jsonl", "release", "report.json",
    }  # fmt: skip


def _lines(folder: Path) -> list[bytes]:
    return (folder / "progress.jsonl").read_bytes().splitlines()


def test_no_class_is_4_with_a_report_and_no_release(tmp_path: Path) -> None:
    unknown = DeviceClass("mystery", ("x86_64",), "crystal-ball")
    ordered(tmp_path, classes=("mystery",), device_classes=(unknown,))
    assert job.run(tmp_path, SystemClock()) == BuildOutcome(4)
    assert json.loads((tmp_path / "report.json").read_bytes())["outcome"] == "none"
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "MF-1480", "the model file digits-1.0.onnx has sha"),
        (lambda p: p.unlink(), "MF-1480", "the model file digits-1.0.onnx is not in the folder"),
    ],
)
def test_inputs_are_verified_first(tmp_path: Path, spoil: object, code: str, told: str) -> None:
    made = ordered(tmp_path)
    assert callable(spoil)
    spoil(job.input_path(tmp_path, made.spec.inputs[0]))
    refusal = job.run(tmp_path, SystemClock()).refusal
    assert refusal is not None
    assert (refusal.code, told in refusal.happened) == (code, True), refusal
    assert (outcome(tmp_path).exit_code, (tmp_path / "release").exists()) == (1, False)


def test_a_model_that_is_none_is_told_by_the_name_that_its_owner_knows(tmp_path: Path) -> None:
    ordered(tmp_path, {InputRole.MODEL: "validation.npz", InputRole.VALIDATION: "golden.npz"})
    with program(tmp_path) as process:
        assert process.wait(60) == 1
    refusal = outcome(tmp_path).refusal
    assert refusal is not None
    assert refusal.code == Code.MODEL_NOT_ONNX.value
    assert str(tmp_path) not in refusal.happened


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text("{}")
    refusal = job.run(tmp_path, SystemClock()).refusal
    assert refusal is not None
    assert refusal.code == Code.BUILD_JOB_FOLDER.value
    with pytest.raises(CallerError) as wrong:
        job.run(tmp_path / "nothing", SystemClock())
    assert wrong.value.code is Code.BUILD_JOB_FOLDER
    with program(tmp_path / "nothing") as process:
        assert process.wait(60) == 2


def test_one_process_for_each_folder_and_kill_9_leaves_nothing_that_works(tmp_path: Path) -> None:
    ordered(tmp_path)
    with program(tmp_path) as process:
        eventually(lambda: job.worker(tmp_path) == process.pid, timeout=30)
        children = eventually(lambda: descendants(process.pid), timeout=30)
        with program(tmp_path) as second:
            assert second.wait(60) == job.BUSY
        with pytest.raises(CallerError) as refused:
            job.run(tmp_path, SystemClock())
        assert refused.value.code is Code.BUILD_JOB_FOLDER
        assert job.worker(tmp_path) == process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        assert job.worker(tmp_path) is None
    eventually(lambda: all(ended(pid) for pid in children), timeout=10)
    assert job.read_outcome(tmp_path) is None
    assert not (tmp_path / "release").exists()
    assert job.run(tmp_path, SystemClock()).exit_code == 0
    assert (tmp_path / "release" / "release.json").is_file()
    assert not list(tmp_path.glob(".release.partial-*"))


def test_sigterm_ends_the_children_and_removes_the_workspace(tmp_path: Path) -> None:
    ordered(tmp_path)
    with program(tmp_path) as process:
        children = eventually(lambda: descendants(process.pid), timeout=30)
        process.terminate()
        assert process.wait(30) == 143
    eventually(lambda: all(ended(pid) for pid in children), timeout=10)
    assert not list(tmp_path.glob(".release.partial-*"))
    assert job.read_outcome(tmp_path) is None
