from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, WorldError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import SelfTestBounds, Task
from modelfleet_runtimes import golden, registry
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import for_task
from modelfleet_runtimes.npz import NpzError, read_npz
from modelfleet_runtimes.port import Session
from modelfleet_runtimes.truth import NO_LABEL

from . import variants

BOUNDS = SelfTestBounds(max_abs_error=1e-3, margin=2e-3)
CLASSES = for_task(Task.CLASSIFICATION)
COUNT = 12


@pytest.fixture
def session(tmp_path: Path) -> Session:
    entry, contract = variants.onnx_variant(tmp_path)
    return registry.load("onnxruntime").open(tmp_path, entry, contract)


@pytest.fixture
def record(session: Session) -> golden.Golden:
    inputs = variants.images(COUNT)
    truth = {"labels": variants.labels(COUNT)}
    return golden.Golden(inputs, truth, (session.run({"image": inputs})["logits"],))


class Twisted:
    """A real session whose answers are changed on the way out."""

    def __init__(self, inner: Session, change: Any) -> None:
        self.inner, self.change = inner, change

    @property
    def contract(self) -> InputContract:
        return self.inner.contract

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        answer = self.inner.run(inputs)
        return {name: self.change(value) for name, value in answer.items()}

    def close(self) -> None:
        self.inner.close()


def _with(record: golden.Golden, recorded: FloatArray) -> golden.Golden:
    return golden.Golden(record.inputs, record.truth, (recorded,))


def test_a_variant_reproduces_its_record(session: Session, record: golden.Golden) -> None:
    outcome = golden.self_test(session, record, BOUNDS, CLASSES)
    assert outcome.passed
    assert outcome.samples == COUNT
    assert outcome.worst_error <= BOUNDS.max_abs_error


def test_a_drifted_output_fails(session: Session, record: golden.Golden) -> None:
    outcome = golden.self_test(Twisted(session, lambda v: v + np.float32(0.01)), record, BOUNDS, CLASSES)
    assert not outcome.passed
    assert "differs" in outcome.reason


def test_another_decision_beyond_the_margin_fails(session: Session, record: golden.Golden) -> None:
    wide = SelfTestBounds(max_abs_error=1e6, margin=1e-3)
    twisted = Twisted(session, lambda v: np.roll(v, 1, axis=1))
    outcome = golden.self_test(twisted, record, wide, CLASSES)
    assert not outcome.passed
    assert "decides otherwise" in outcome.reason
    assert golden.self_test(twisted, record, SelfTestBounds(1e6, 1e6), CLASSES).passed


def test_an_output_that_became_nan_fails(session: Session, record: golden.Golden) -> None:
    outcome = golden.self_test(Twisted(session, lambda v: v * np.float32(np.nan)), record, BOUNDS, CLASSES)
    assert not outcome.passed
    assert "not finite" in outcome.reason


def test_another_shape_fails(session: Session, record: golden.Golden) -> None:
    outcome = golden.self_test(Twisted(session, lambda v: v[:, :5]), record, BOUNDS, CLASSES)
    assert not outcome.passed
    assert "shape" in outcome.reason


def test_a_failing_variant_fails(session: Session, record: golden.Golden) -> None:
    session.close()
    outcome = golden.self_test(session, record, BOUNDS, CLASSES)
    assert not outcome.passed
    assert "closed" in outcome.reason


def test_rows_recorded_as_nan_are_left_out(session: Session, record: golden.Golden) -> None:
    recorded = record.recorded[0].copy()
    recorded[[1, 5]] = np.nan
    outcome = golden.self_test(session, _with(record, recorded), BOUNDS, CLASSES)
    assert outcome.passed
    assert outcome.samples == COUNT - 2
    nothing = np.full_like(recorded, np.nan)
    assert not golden.self_test(session, _with(record, nothing), BOUNDS, CLASSES).passed


def test_golden_accuracy_is_counted_on_labels(session: Session, record: golden.Golden) -> None:
    expected = int((record.recorded[0].argmax(axis=1) == record.truth["labels"]).sum())
    assert golden.score(session, record, CLASSES) == (expected, COUNT)
    unlabelled = record.truth["labels"].copy()
    unlabelled[:4] = NO_LABEL
    partly = golden.Golden(record.inputs, {"labels": unlabelled}, record.recorded)
    assert golden.score(session, partly, CLASSES)[1] == COUNT - 4
    nan = Twisted(session, lambda v: v * np.float32(np.nan))
    assert golden.score(nan, record, CLASSES) == (0, COUNT)
    session.close()
    assert golden.score(session, record, CLASSES) == (0, COUNT), "a failed run is a wrong answer"


def test_parts_add_up_to_the_whole(session: Session, record: golden.Golden) -> None:
    parts = [golden.score(session, record.part(slice(i, i + 5)), CLASSES) for i in range(0, COUNT, 5)]
    whole = golden.score(session, record, CLASSES)
    assert (sum(part[0] for part in parts), sum(part[1] for part in parts)) == whole


def test_truth_of_another_task_is_refused(session: Session, record: golden.Golden) -> None:
    other = golden.Golden(record.inputs, {"targets": np.zeros((COUNT, 10), np.float32)}, record.recorded)
    with pytest.raises(CallerError) as caught:
        golden.score(session, other, CLASSES)
    assert caught.value.code is Code.OUTPUTS_NOT_COMPARABLE


def test_writing_and_reading(tmp_path: Path, record: golden.Golden) -> None:
    stored = np.rint(record.inputs * 255).astype(np.uint8)
    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        golden.write(file, stored, 1 / 255, record.truth, record.recorded)
    back = golden.read(path)
    np.testing.assert_allclose(back.inputs, record.inputs, atol=1e-7)
    assert list(back.truth) == ["labels"]
    np.testing.assert_array_equal(back.truth["labels"], record.truth["labels"])
    np.testing.assert_array_equal(back.recorded[0], record.recorded[0])


def test_only_as_many_answers_are_recorded_as_fit(tmp_path: Path) -> None:
    """Of large answers the first few: all samples stay, for their truth."""
    side = 256
    answers = np.random.default_rng(0).random((9, 4, side, side), np.float32)
    other = np.zeros((9, 2), np.float32)
    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        masks = np.zeros((9, side, side), np.uint8)
        golden.write(file, np.zeros((9, 1, 4, 4), np.uint8), 1.0, {"masks": masks}, (answers, other))
    back = golden.read(path)
    kept = golden.record_count(9, 4 * side * side + 2)
    assert kept == 1
    assert (len(back), len(back.recorded[0]), len(back.recorded[1])) == (9, kept, kept)
    np.testing.assert_array_equal(back.recorded[0], answers[:kept])
    assert golden.record_count(9, 10) == 9
    assert golden.record_count(9, 10**9) == 1


GOOD: dict[str, Any] = {
    "inputs": np.zeros((2, 1, 4, 4), np.uint8),
    "input_scale": np.float64(1 / 255),
    "labels": np.zeros(2, np.int64),
    "recorded_0": np.zeros((2, 3), np.float32),
}


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": np.zeros((2, 1, 4, 4), np.float64)},
        {"inputs": np.zeros((0, 1, 4, 4), np.uint8)},
        {"inputs": np.full((2, 1, 4, 4), np.nan, np.float32)},
        {"input_scale": np.float64(0)},
        {"input_scale": np.zeros(2)},
        {"labels": np.zeros(3, np.int64)},
        {"labels": np.zeros(2, np.int32)},
        {"recorded_0": np.zeros((3, 3), np.float32)},
        {"recorded_0": np.zeros((0, 3), np.float32)},
        {"recorded_0": np.zeros((), np.float32)},
        {"recorded_0": np.zeros((2, 3), np.float64)},
        {"recorded_0": np.asarray([{"pickled": 1}, 2], object)},
        {"recorded_1": np.zeros((1, 3), np.float32)},
        {"recorded_2": np.zeros((2, 3), np.float32)},
        {"boxes": np.zeros((2, 1, 4), np.float32)},
        {"boxes": np.zeros((2, 1, 4), np.float32), "classes": np.zeros((2, 3), np.int64)},
        {"boxes": np.full((2, 1, 4), np.inf, np.float32), "classes": np.zeros((2, 1), np.int64)},
        {"masks": np.zeros((2, 4, 4), np.int32)},
        {"masks": np.zeros((1, 4, 4), np.uint8)},
        {"targets": np.full((2, 3), np.nan, np.float32)},
        {"targets": np.zeros(2, np.float32)},
        {"embeddings": np.zeros((2, 3), np.float64)},
    ],
)
def test_malformed_golden_sets_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "golden.npz"
    np.savez_compressed(path, **{**GOOD, **change})
    with pytest.raises(IntegrityError) as caught:
        golden.read(path)
    assert caught.value.code is Code.GOLDEN_UNREADABLE


def test_missing_arrays_truncated_and_absent_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    np.savez_compressed(path, inputs=GOOD["inputs"])
    with pytest.raises(IntegrityError, match="lacks"):
        golden.read(path)
    np.savez_compressed(path, **GOOD)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(IntegrityError):
        golden.read(path)
    with pytest.raises(IntegrityError):
        golden.read(tmp_path / "absent.npz")


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused_before_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", b"\0" * 1_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(NpzError, match="unpack"):
        read_npz(path, names=("inputs",), limit=100_000)


def test_errors_of_a_session_are_ours(session: Session) -> None:
    with pytest.raises(CallerError):
        session.run({"image": np.zeros((1, 1, 3, 3), np.float32)})
    session.close()
    with pytest.raises(WorldError):
        session.run({"image": variants.images(1)})
