"""Converters that hang, eat memory, crash or lie: killed or refused, with the reason, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from modelfleet_build.child import runner
from modelfleet_build.child.jobs import JOB_FILE, RESULT_FILE, IntakeJob, Job
from modelfleet_build.pipeline import build
from modelfleet_build.progress import Happening, ProgressEvent
from modelfleet_build.report import VariantReport
from modelfleet_build.request import MIB
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.manifest import Precision
from modelfleet_core.wire import codec

from .conftest import DIGITS, QUICK, Bench, Point

BOTH = (Precision.FP32, Precision.INT8)


def refused_int8(bench: Bench, rogue: Point, deed: str, code: Code, **limits: float) -> VariantReport:
    """Build with a plug-in that fails on int8: fp32 is built all the same, int8 is refused with a reason."""
    changed = replace(bench.request.limits, **limits)  # type: ignore[arg-type]
    result = bench.build(rogue(deed), precisions=BOTH, limits=changed)
    assert result.exit_code == 0
    assert result.manifest is not None
    assert [variant.name for variant in result.manifest.variants] == ["x86-onnxruntime.fp32"]
    assert [refusal.variant for refusal in result.manifest.refusals] == ["x86-onnxruntime.int8"]
    assert bench.leftovers() == ["release"]
    refused = next(item for item in result.report.classes[0].variants if not item.accepted)
    assert refused.code == code.value
    assert refused.measurements is None or code is Code.BUDGET_EXCEEDED
    assert result.manifest.refusals[0].reason == refused.reason
    return refused


class ImpatientClock(SystemClock):
    """The machine's clock, which jumps ahead when told to: so that a deadline needs no waiting."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed orphan stays a zombie until init reaps it.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_a_converter_that_hangs_is_killed_with_its_children(bench: Bench, rogue: Point) -> None:
    clock = ImpatientClock()

    def watch(event: ProgressEvent) -> None:
        if event.detail.startswith("grandchild"):
            told.append(event.detail)
            clock.ahead = 1e6

    told: list[str] = []
    request = replace(bench.request, precisions=BOTH)
    result = build(request, watch, clock, rogue("hang"))
    refused = result.report.classes[0].variants[-1]
    assert refused.code == Code.CONVERSION_TIMEOUT.value
    assert "killed after 60 s" in refused.reason
    assert result.exit_code == 0
    assert bench.leftovers() == ["release"]
    assert not _alive(int(told[0].split()[1]))


def test_a_converter_that_eats_memory_is_killed(bench: Bench, rogue: Point) -> None:
    refused = refused_int8(bench, rogue, "eat", Code.CONVERSION_MEMORY, memory_bytes=300 * MIB)
    assert "MiB" in refused.reason


def test_a_converter_that_crashes_is_told_by_its_signal(bench: Bench, rogue: Point) -> None:
    assert "SIGSEGV" in refused_int8(bench, rogue, "crash", Code.CONVERSION_DIED).reason


def test_a_converter_that_leaves_is_told_by_its_last_words(bench: Bench, rogue: Point) -> None:
    refused = refused_int8(bench, rogue, "leave", Code.CONVERSION_DIED)
    assert "status 7" in refused.reason
    assert "the converter says goodbye" in refused.reason


def test_a_converter_that_raises_is_told_by_its_error(bench: Bench, rogue: Point) -> None:
    refused = refused_int8(bench, rogue, "throw", Code.CONVERSION_FAILED)
    assert "ValueError: the moon is in the wrong quarter" in refused.reason


def test_a_full_disk_ends_the_build_and_is_no_refusal_of_a_variant(bench: Bench, rogue: Point) -> None:
    with pytest.raises(WorldError) as caught:
        bench.build(rogue("fill"), precisions=BOTH)
    assert caught.value.code is Code.DISK_FULL
    assert bench.leftovers() == []


def test_a_child_whose_parent_ended_before_it_could_ask_does_nothing(tmp_path: Path) -> None:
    """A kill -9 between fork and prctl: the child finds itself with another parent."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    reader, writer = os.pipe()
    job = Job(folder=str(tmp_path), data_limit_bytes=2**40)
    (tmp_path / JOB_FILE).write_bytes(codec.encode(job))
    child = subprocess.run(
        [sys.executable, "-m", "modelfleet_build.child", str(tmp_path), str(writer), str(ended.pid)],
        pass_fds=(writer,),
        check=False,
    )
    os.close(reader)
    os.close(writer)
    assert child.returncode == 1
    assert not (tmp_path / RESULT_FILE).exists()


def test_a_converter_that_spoils_the_model_is_over_budget(bench: Bench, rogue: Point) -> None:
    with np.load(bench.request.validation, allow_pickle=False) as arrays:
        images = arrays["images"]
    network = onnxruntime.InferenceSession(str(bench.request.model), providers=["CPUExecutionProvider"])
    answers = np.asarray(network.run(None, {"x": images.astype(np.float32) / np.float32(255)})[0])
    np.savez(bench.request.validation, images=images, labels=answers.argmax(axis=1))
    refused = refused_int8(bench, rogue, "spoil", Code.BUDGET_EXCEEDED)
    assert "points of top1" in refused.reason
    assert refused.measurements is not None
    assert refused.measurements.agreement < 0.5


def test_the_callers_environment_does_not_reach_a_converter(
    bench: Bench, rogue: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFLEET_TEST_TOKEN", "hush")
    refused_int8(bench, rogue, "gossip", Code.CONVERSION_FAILED)
    told = [event.detail for event in bench.events if event.happening is Happening.GOING_ON]
    assert any(line.startswith("HOME=") for line in told)
    assert not any("hush" in line for line in told)


def test_an_error_of_ours_crosses_the_process_boundary(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    job = Job(
        folder=str(tmp_path),
        data_limit_bytes=0,
        intake=IntakeJob(str(tmp_path / "bad.onnx"), str(tmp_path / "taken.onnx")),
    )
    allowance = runner.Allowance(QUICK.convert_s, QUICK.memory_bytes)
    with pytest.raises(CallerError) as caught:
        runner.run(job, allowance, SystemClock(), lambda text: None)
    assert caught.value.code is Code.MODEL_NOT_ONNX
    assert caught.value.expected
    assert caught.value.todo


def test_no_child_is_started_once_the_build_ends(tmp_path: Path) -> None:
    job = Job(folder=str(tmp_path), data_limit_bytes=0, intake=IntakeJob("nowhere.onnx", "x"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(WorldError) as caught:
        runner.run(job, runner.Allowance(60, 1 << 30), SystemClock(), print, stop)
    assert caught.value.code is Code.CANCELLED
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_group_is_seen() -> None:
    assert runner.group_rss(os.getpid()) > 10 * MIB
    assert runner.group_rss(2**22 + 1) == 0


def test_a_child_is_limited_before_it_reads_anything(tmp_path: Path) -> None:
    """The whole path once, on a real model."""
    job = Job(
        folder=str(tmp_path),
        data_limit_bytes=0,
        intake=IntakeJob(str(DIGITS / "digits-1.0.onnx"), str(tmp_path / "taken.onnx")),
    )
    result = runner.run(job, runner.Allowance(60, 1024 * MIB), SystemClock(), lambda text: None)
    assert result.intake is not None
    assert result.intake.inputs[0].name == "image"


def test_a_child_whose_parent_is_gone_before_it_begins_does_nothing(tmp_path: Path) -> None:
    nobody = 2**22 + 1  # above the largest process id
    command = [sys.executable, "-m", "modelfleet_build.child", str(tmp_path), "1", str(nobody)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (1, b"", [])
