"""The self-test of a variant with several outputs, and golden scores that are right in part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelfleet_core.release.manifest import SelfTestBounds, Task
from modelfleet_runtimes import golden, registry
from modelfleet_runtimes.comparators import Comparator, for_task
from modelfleet_runtimes.decoders import open_decoder
from modelfleet_runtimes.port import Session

from . import scenes

COUNT = 12
BOUNDS = SelfTestBounds(max_abs_error=1.0, margin=0.02, per_output=(1e-2, 1.0, 1e-3))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("detector")
    entry, contract = scenes.write_variant(folder, scenes.DETECTOR, "onnxruntime")
    opened = registry.load("onnxruntime").open(folder, entry, contract)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def record(session: Session) -> golden.Golden:
    truth = {name: scenes.scenes()[name][:COUNT] for name in ("boxes", "classes")}
    answers = session.run({"image": scenes.inputs(COUNT)})
    return golden.Golden(scenes.inputs(COUNT), truth, tuple(answers.values()))


@pytest.fixture(scope="module")
def boxes() -> Comparator:
    return for_task(Task.DETECTION, decoder=open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS))


@pytest.mark.parametrize(("index", "off", "passed"), [(0, 0.005, True), (0, 0.02, False), (1, 0.9, True),
                                                      (2, 0.0005, True), (2, 0.005, False)])  # fmt: skip
def test_every_output_has_a_bound_of_its_own(
    session: Session, record: golden.Golden, index: int, off: float, passed: bool
) -> None:
    recorded = list(record.recorded)
    recorded[index] = recorded[index].copy()
    recorded[index][3, 0, 0, 0] += np.float32(off)
    # Numbers alone: that a comparator may object to the boxes as well is the next test.
    outcome = golden.self_test(
        session, replace(record, recorded=tuple(recorded)), BOUNDS, for_task(Task.EMBEDDING)
    )
    assert outcome.passed is passed
    assert outcome.worst_error == pytest.approx(off, rel=0.02)
    if not passed:
        assert f"sample 3 differs in {('heatmap', 'size', 'offset')[index]}" in outcome.reason


def test_a_few_boxes_may_change_places_and_no_more(
    session: Session, record: golden.Golden, boxes: Comparator
) -> None:
    wide = replace(BOUNDS, per_output=(9.0, 9.0, 9.0))
    for turned, passed in ((1, True), (2, False)):
        heatmap = record.recorded[0].copy()
        heatmap[:turned] = np.roll(heatmap[:turned], 1, axis=1)
        other = replace(record, recorded=(heatmap, *record.recorded[1:]))
        outcome = golden.self_test(session, other, wide, boxes)
        assert outcome.passed is passed, turned
    assert "so do 2 of 12 samples" in outcome.reason


def test_a_record_that_lacks_an_output_proves_nothing(
    session: Session, record: golden.Golden, boxes: Comparator
) -> None:
    outcome = golden.self_test(session, replace(record, recorded=record.recorded[:2]), BOUNDS, boxes)
    assert (outcome.passed, outcome.samples) == (False, 0)
    assert "2 outputs" in outcome.reason


def test_rows_with_nan_in_any_output_are_left_out(
    session: Session, record: golden.Golden, boxes: Comparator
) -> None:
    size = record.recorded[1].copy()
    size[[0, 5], 1, 3, 3] = np.nan
    other = replace(record, recorded=(record.recorded[0], size, record.recorded[2]))
    outcome = golden.self_test(session, other, BOUNDS, boxes)
    assert (outcome.passed, outcome.samples) == (True, COUNT - 2)


def test_a_detectors_golden_score_is_right_in_part(
    session: Session, record: golden.Golden, boxes: Comparator
) -> None:
    total, count = golden.score(session, record, boxes)
    assert count == COUNT
    assert 0.8 * COUNT < total <= COUNT
    answers = session.run({"image": record.inputs})
    assert total == pytest.approx(boxes.score(answers, record.truth).sum())


def test_it_survives_the_file(
    tmp_path: Path, session: Session, record: golden.Golden, boxes: Comparator
) -> None:
    path = tmp_path / "golden.npz"
    stored = scenes.scenes()["images"][:COUNT, None]
    with path.open("wb") as file:
        golden.write(file, stored, 1 / 255, record.truth, record.recorded)
    back = golden.read(path)
    assert list(back.truth) == ["boxes", "classes"]
    assert golden.self_test(session, back, replace(BOUNDS, per_output=(1e-3,) * 3), boxes).passed
    assert golden.score(session, back, boxes) == golden.score(session, record, boxes)
