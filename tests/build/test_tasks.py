"""Whole builds of detection, segmentation, regression and embedding with real converters and runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from modelfleet_build.arrays import samples_that_fit
from modelfleet_build.pipeline import BuildResult, build
from modelfleet_build.progress import silent
from modelfleet_build.report import read_report
from modelfleet_build.request import BuildRequest
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import Decoder, Manifest, Precision, Task, Variant
from modelfleet_core.wire import codec
from modelfleet_runtimes import golden, registry
from modelfleet_runtimes.comparators import for_manifest
from modelfleet_runtimes.port import Session

from .tasks import SPLITS, number_request, scene_request

pytestmark = pytest.mark.slow
TASKS = (Task.DETECTION, Task.SEGMENTATION, Task.REGRESSION, Task.EMBEDDING)


@dataclass(frozen=True, slots=True)
class Built:
    request: BuildRequest
    result: BuildResult
    manifest: Manifest

    def folder(self, variant: Variant) -> Path:
        return self.request.output / "variants" / variant.name

    def open(self, variant: Variant) -> Session:
        folder = self.folder(variant)
        contract = codec.decode((folder / "contract.json").read_bytes(), InputContract, what="contract.json")
        return registry.load(variant.runtime.name).open(folder, variant.entry, contract)


def request_for(folder: Path, task: Task) -> BuildRequest:
    make = scene_request if task in (Task.DETECTION, Task.SEGMENTATION) else number_request
    return make(folder, task)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], Built]:
    known: dict[Task, Built] = {}

    def of(task: Task) -> Built:
        if task not in known:
            request = request_for(tmp_path_factory.mktemp(task.value), task)
            result = build(request, silent, SystemClock())
            data = (request.output / "release.json").read_bytes()
            known[task] = Built(request, result, codec.decode(data, Manifest, what="release.json"))
        return known[task]

    return of


@pytest.mark.parametrize("task", TASKS)
def test_every_class_gets_float_and_int8_with_believable_numbers(
    built: Callable[[Task], Built], task: Task
) -> None:
    made = built(task)
    report = made.result.report
    assert made.result.exit_code == 0
    assert read_report(made.request.output) == report
    assert made.manifest == made.result.manifest
    for lost in (v for c in report.classes for v in c.variants if not v.accepted):
        # The small network of random weights does not survive every int8 converter; that is told.
        assert (task, lost.precision) == (Task.REGRESSION, Precision.INT8)
        assert lost.code == Code.BUDGET_EXCEEDED.value
        assert "points of 1-nrmse" in lost.reason
    metric, least, golden_least = {
        Task.DETECTION: ("map50", 0.85, 0.85),
        Task.SEGMENTATION: ("miou", 0.3, 0.55),
        Task.REGRESSION: ("1-nrmse", 0.9, 0.9),
        Task.EMBEDDING: ("cosine", 1.0, 1.0),
    }[task]
    parent = report.parent
    assert parent.metric == metric
    assert least - 1e-6 <= parent.value <= 1.0 + 1e-6
    assert parent.points_per_sample is None
    assert parent.golden_value is not None
    assert made.manifest.golden_value == parent.golden_value >= golden_least - 1e-6
    for variant in made.manifest.variants:
        measured = variant.measurements
        assert (measured.metric, measured.parent_value) == (metric, parent.value)
        assert measured.drop_points == pytest.approx(100 * (parent.value - measured.value))
        exact = variant.precision is not Precision.INT8
        assert abs(measured.drop_points) < (0.05 if exact else 6.0)
        assert measured.agreement > (0.999 if exact else 0.5)
        assert (measured.raw_error is not None) == (task is Task.REGRESSION)


def test_what_belongs_to_a_task_is_signed(built: Callable[[Task], Built]) -> None:
    made = built(Task.DETECTION)
    decoder = made.manifest.decoder
    assert decoder is not None
    assert decoder.name == "centernet"
    assert (decoder.parameters["stride"], decoder.parameters["size_unit"]) == (4.0, 32.0)
    assert any("centernet fits the outputs" in line for line in made.result.report.warnings)
    assert made.manifest.target_scale is None
    with np.load(built(Task.REGRESSION).request.validation, allow_pickle=False) as arrays:
        targets = arrays["targets"]
    spread = np.sqrt(np.mean((targets - targets.mean(axis=0)) ** 2))
    assert built(Task.REGRESSION).manifest.target_scale == pytest.approx(spread, rel=1e-6)
    assert all(built(task).manifest.decoder is None for task in TASKS if task is not Task.DETECTION)


@pytest.mark.parametrize("task", TASKS)
def test_every_variant_answers_the_contract_and_passes_its_own_self_test(
    built: Callable[[Task], Built], task: Task
) -> None:
    made = built(task)
    comparator = for_manifest(made.manifest)
    parent_value = made.manifest.golden_value
    assert parent_value is not None
    for variant in made.manifest.variants:
        session = made.open(variant)
        assert session.contract.logical() == (made.manifest.inputs, made.manifest.outputs)
        record = golden.read(made.folder(variant) / "golden.npz")
        assert len(record.recorded) == len(made.manifest.outputs)
        outcome = golden.self_test(session, record, variant.bounds, comparator)
        assert outcome.passed, f"{variant.name}: {outcome.reason}"
        assert outcome.samples == len(record.recorded[0]) > 0
        total, count = golden.score(session, record, comparator)
        assert count == len(record)
        exact = variant.precision is not Precision.INT8
        assert total / count == pytest.approx(parent_value, abs=2e-3 if exact else 0.25)
        session.close()


def test_a_variant_of_another_model_fails_the_self_test(built: Callable[[Task], Built]) -> None:
    """Every output is compared: a detector whose sizes alone are wrong is no copy."""
    made = built(Task.DETECTION)
    variant = made.manifest.variants[0]
    record = golden.read(made.folder(variant) / "golden.npz")
    heatmap, size, offset = record.recorded
    comparator = for_manifest(made.manifest)
    session = made.open(variant)
    for index, wrong in enumerate(
        ((heatmap + np.float32(0.4), size, offset), (heatmap, size * np.float32(1.5), offset))
    ):
        outcome = golden.self_test(session, replace(record, recorded=wrong), variant.bounds, comparator)
        assert not outcome.passed
        assert f"differs in {('heatmap', 'size')[index]}" in outcome.reason
    blind = replace(variant.bounds, max_abs_error=9.0, per_output=())
    turned = replace(record, recorded=(np.roll(heatmap, 1, axis=1), size, offset))
    assert "decides otherwise" in golden.self_test(session, turned, blind, comparator).reason
    session.close()


def test_the_golden_set_carries_the_truth(built: Callable[[Task], Built]) -> None:
    for task, names in (
        (Task.DETECTION, ["boxes", "classes"]),
        (Task.SEGMENTATION, ["masks"]),
        (Task.REGRESSION, ["targets"]),
        (Task.EMBEDDING, ["embeddings"]),
    ):
        made = built(task)
        record = golden.read(made.folder(made.manifest.variants[0]) / "golden.npz")
        assert list(record.truth) == names
    rows = SPLITS["golden"]
    made = built(Task.SEGMENTATION)
    assert len(made.manifest.variants) >= 6
    record = golden.read(made.folder(made.manifest.variants[0]) / "golden.npz")
    assert len(record) == rows.stop - rows.start == 8
    assert len(record.recorded[0]) == golden.record_count(8, 11 * 96 * 96) == 5


def test_a_decoder_can_be_chosen(tmp_path: Path) -> None:
    request = replace(
        scene_request(tmp_path, Task.DETECTION),
        classes=("x86-onnxruntime",),
        precisions=(Precision.FP32,),
        decoder=Decoder("centernet", {"confident": 0.5, "size_unit": 16.0}),
    )
    result = build(request, silent, SystemClock())
    assert result.manifest is not None
    assert result.manifest.decoder is not None
    assert result.manifest.decoder.parameters["confident"] == 0.5
    (warning,) = result.report.warnings
    assert "--decoder" in warning
    assert result.report.parent.value < 0.05, "boxes of half the size match nothing"
    with pytest.raises(CallerError) as caught:
        build(replace(request, decoder=Decoder("yolo"), output=tmp_path / "other"), silent, SystemClock())
    assert caught.value.code is Code.DECODER_UNFIT


def test_targets_that_do_not_vary_are_refused(tmp_path: Path) -> None:
    request = number_request(tmp_path, Task.REGRESSION)
    with np.load(request.validation, allow_pickle=False) as arrays:
        images = arrays["images"]
    np.savez(request.validation, images=images, targets=np.ones((len(images), 12), np.float32))
    with pytest.raises(CallerError, match="all the same") as caught:
        build(request, silent, SystemClock())
    assert caught.value.code is Code.DATASET_TRUTH
    assert not request.output.exists()


def test_answers_are_bounded(
    built: Callable[[Task], Built], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outputs = built(Task.SEGMENTATION).manifest.outputs
    assert 2000 < samples_that_fit(outputs) < 3000
    monkeypatch.setattr("modelfleet_build.arrays.MAX_ANSWER_BYTES", 5 * 4 * 11 * 96 * 96)
    request = replace(
        scene_request(tmp_path, Task.SEGMENTATION),
        classes=("x86-onnxruntime",),
        precisions=(Precision.FP32,),
    )
    result = build(request, silent, SystemClock())
    assert result.report.parent.samples == 5
    assert any("only the first 5 of 24" in line for line in result.report.warnings)
