"""Whole builds with real converters and runtimes, and every refusal on the way."""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelfleet_build import build_data
from modelfleet_build import registry as optimizers
from modelfleet_build.pipeline import build
from modelfleet_build.progress import ProgressEvent, Step, silent
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import Outcome, read_report
from modelfleet_build.request import BuildRequest, Objective
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.device_class import DeviceClass, VariantLimits
from modelfleet_core.release.manifest import Decoder, Manifest, Precision, Task
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.wire import codec
from modelfleet_runtimes import golden, registry
from modelfleet_runtimes.comparators import for_manifest, for_task

from .conftest import CLASSES, DIGITS, QUICK, Bench, FullBuild, Point, write_images
from .graphs import classifier, model, node


def manifest_of(folder: Path) -> Manifest:
    return codec.decode((folder / "release.json").read_bytes(), Manifest, what="release.json")


def test_every_class_gets_float_and_int8(full_build: FullBuild) -> None:
    result = full_build.result
    assert result.exit_code == 0
    assert result.report.outcome is Outcome.ALL
    assert result.manifest is not None
    assert result.manifest == manifest_of(full_build.folder)
    names = {variant.name for variant in result.manifest.variants}
    assert names == {
        "x86-onnxruntime.fp32",
        "x86-onnxruntime.int8",
        "x86-openvino.fp16",
        "x86-openvino.int8",
        "arm-litert.fp32",
        "arm-litert.int8",
    }
    for name in CLASSES:
        ranks = sorted(v.rank for v in result.manifest.variants if v.device_class == name)
        assert ranks == [0, 1]


def test_the_release_folder_is_what_the_manifest_says(full_build: FullBuild) -> None:
    folder, manifest = full_build.folder, manifest_of(full_build.folder)
    data = (folder / "release.json").read_bytes()
    assert full_build.result.release == hashlib.sha256(data).hexdigest()
    assert {path.name for path in folder.iterdir()} == {"release.json", "build.json", "variants"}
    assert {path.name for path in (folder / "variants").iterdir()} == {v.name for v in manifest.variants}
    for variant in manifest.variants:
        inside = folder / "variants" / variant.name
        assert (inside / "release.json").read_bytes() == data
        files = {path.name: path for path in inside.iterdir() if path.name != "release.json"}
        assert set(files) == {item.path for item in variant.files}
        assert {"contract.json", "golden.npz", variant.entry} <= set(files)
        for item in variant.files:
            content = files[item.path].read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (item.sha256, item.size)
    assert os.listdir(folder.parent) == [folder.name]


def test_every_variant_takes_the_same_logical_tensors_and_passes_its_self_test(full_build: FullBuild) -> None:
    manifest = manifest_of(full_build.folder)
    assert manifest.inputs[0].name == "image"
    assert (manifest.inputs[0].minimum, manifest.inputs[0].maximum) == (0.0, 1.0)
    for variant in manifest.variants:
        inside = full_build.folder / "variants" / variant.name
        contract = codec.decode((inside / "contract.json").read_bytes(), InputContract, what="contract.json")
        assert contract.logical() == (manifest.inputs, manifest.outputs)
        session = registry.load(variant.runtime.name).open(inside, variant.entry, contract)
        recorded = golden.read(inside / "golden.npz")
        comparator = for_manifest(manifest)
        outcome = golden.self_test(session, recorded, variant.bounds, comparator)
        assert outcome.passed, f"{variant.name}: {outcome.reason}"
        assert outcome.samples == len(recorded) == 64
        right, total = golden.score(session, recorded, comparator)
        assert total == 64
        assert right >= 62
        session.close()


def test_the_numbers_are_those_of_the_real_runtime(full_build: FullBuild) -> None:
    with np.load(DIGITS / "validation.npz", allow_pickle=False) as arrays:
        images = arrays["images"].astype(np.float64) / 255
        labels = arrays["labels"]
    report = full_build.result.report
    assert report.parent.samples == len(labels) == 300
    for variant in manifest_of(full_build.folder).variants:
        inside = full_build.folder / "variants" / variant.name
        contract = codec.decode((inside / "contract.json").read_bytes(), InputContract, what="contract.json")
        session = registry.load(variant.runtime.name).open(inside, variant.entry, contract)
        answers = session.run({"image": images.astype(np.float32)})["logits"]
        session.close()
        measured = variant.measurements
        assert measured.value == pytest.approx(float((answers.argmax(axis=1) == labels).mean()))
        assert measured.samples == 300
        assert measured.drop_points == pytest.approx(100 * (measured.parent_value - measured.value))
        assert measured.drop_points <= 1.0
        assert measured.agreement > 0.95
        assert measured.rss_bytes is not None
        assert 20e6 < measured.rss_bytes < 1e9
        runtime_files = [f.size for f in variant.files if f.path.startswith("model.")]
        assert measured.size_bytes == sum(runtime_files)
        assert measured.control_ratio is not None
        if variant.precision is Precision.INT8:
            assert measured.latency_ratio is not None
            assert measured.latency_ratio_low is not None
            assert measured.latency_ratio_high is not None
            assert 0.05 < measured.latency_ratio_low <= measured.latency_ratio <= measured.latency_ratio_high
        else:
            assert measured.latency_ratio is None


def test_the_choice_follows_the_measured_ratio(full_build: FullBuild) -> None:
    for item in full_build.result.report.classes:
        int8 = next(v for v in item.variants if v.precision is Precision.INT8)
        assert int8.measurements is not None
        assert int8.measurements.latency_ratio_high is not None
        assert int8.control is not None
        assert int8.measurements.latency_ratio is not None
        faster = int8.measurements.latency_ratio_high < min(1.0, int8.control.low)
        faster = faster and int8.measurements.latency_ratio <= 0.95
        assert int8.chosen is faster
        assert [v.name for v in item.variants if v.chosen] == [item.choice]
        assert item.choice in item.why
        assert any(v.pareto for v in item.variants)


def test_the_report_is_readable_again(full_build: FullBuild) -> None:
    assert read_report(full_build.folder) == full_build.result.report
    with pytest.raises(CallerError) as caught:
        read_report(full_build.folder / "variants")
    assert caught.value.code is Code.BUILD_REPORT_UNREADABLE


def test_progress_goes_from_nothing_to_all(full_build: FullBuild) -> None:
    fractions = [event.fraction for event in full_build.events]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert {event.subject for event in full_build.events} >= {
        v.name for v in manifest_of(full_build.folder).variants
    }


def test_nan_of_the_model_itself_is_told_and_kept(tmp_path: Path) -> None:
    request = BuildRequest(
        model=DIGITS / "digits-1.5-nan.onnx",
        name="digits",
        version="1.5",
        classes=("x86-onnxruntime", "arm-litert"),
        validation=DIGITS / "validation.npz",
        golden=DIGITS / "golden.npz",
        output=tmp_path / "release",
        precisions=(Precision.FP32,),
        limits=QUICK,
    )
    result = build(request, silent, SystemClock())
    assert result.exit_code == 0
    report = result.report
    assert report.parent.not_finite == 23
    assert any("23 of 300" in line for line in report.warnings)
    assert report.parent.golden_value == pytest.approx(0.859, abs=1e-3)
    assert all(v.not_finite == 23 and v.accepted for c in report.classes for v in c.variants)
    for variant in manifest_of(tmp_path / "release").variants:
        inside = tmp_path / "release" / "variants" / variant.name
        recorded = golden.read(inside / "golden.npz")
        lost = int((~np.isfinite(recorded.recorded[0]).all(axis=1)).sum())
        assert lost == 9
        contract = codec.decode((inside / "contract.json").read_bytes(), InputContract, what="contract.json")
        session = registry.load(variant.runtime.name).open(inside, variant.entry, contract)
        outcome = golden.self_test(session, recorded, variant.bounds, for_task(Task.CLASSIFICATION))
        assert outcome.passed
        assert outcome.samples == 64 - lost
        session.close()


def test_an_operator_that_one_class_cannot_have_refuses_that_class_alone(bench: Bench) -> None:
    extra = [node("Sinh", ["y"], "z")]
    onnx.save(classifier(extra=extra, last="z"), bench.request.model)
    result = bench.build(classes=("x86-onnxruntime", "arm-litert"))
    assert result.exit_code == 3
    assert result.report.outcome is Outcome.SOME
    ort, litert = result.report.classes
    assert ort.built
    assert not litert.built
    assert litert.code == Code.OPERATOR_UNSUPPORTED.value
    assert "Sinh node 'the_Sinh_z'" in litert.why
    assert result.manifest is not None
    assert result.manifest.classes() == ("x86-onnxruntime",)
    assert [item.variant for item in result.manifest.refusals] == ["arm-litert.fp32"]
    assert bench.leftovers() == ["release"]
    assert {path.name for path in (bench.request.output / "variants").iterdir()} == {"x86-onnxruntime.fp32"}


def test_when_no_class_can_be_built_nothing_is_written(bench: Bench) -> None:
    onnx.save(classifier(extra=[node("Sinh", ["y"], "z")], last="z"), bench.request.model)
    result = bench.build(classes=("arm-litert",), precisions=(Precision.FP32, Precision.INT8))
    assert result.exit_code == 4
    assert result.report.outcome is Outcome.NONE
    assert (result.manifest, result.release, result.folder) == (None, None, None)
    assert "Sinh" in result.report.classes[0].why
    assert bench.leftovers() == []
    assert bench.events[-1].fraction == 1.0


def test_a_class_whose_runtime_has_no_optimizer_is_refused_alone(bench: Bench) -> None:
    odd = DeviceClass(name="odd", architectures=("x86_64",), runtime="no-such-runtime")
    known = (*bench.request.known_classes, odd)
    result = bench.build(classes=("odd", "x86-onnxruntime"), known_classes=known)
    assert result.exit_code == 3
    assert result.report.classes[0].code == Code.OPTIMIZER_MISSING.value
    assert "no-such-runtime" in result.report.classes[0].why


def test_a_precision_that_an_optimizer_cannot_make_is_refused(bench: Bench) -> None:
    narrow = (OptimizerPoint("rogue", "tests.build.rogue:spoil"),)
    result = bench.build(narrow, precisions=(Precision.FP32, Precision.FP16))
    assert result.exit_code == 0
    refused = next(item for item in result.report.classes[0].variants if not item.accepted)
    assert (refused.name, refused.code) == ("x86-onnxruntime.fp16", Code.BUILD_PRECISION.value)


def test_int8_without_calibration_is_refused_and_float_goes_on(bench: Bench) -> None:
    result = bench.build(calibration=None, precisions=(Precision.INT8,))
    assert result.exit_code == 0
    reports = {item.precision: item for item in result.report.classes[0].variants}
    assert reports[Precision.FP32].accepted
    assert reports[Precision.INT8].code == Code.CALIBRATION_MISSING.value


def test_paths_may_be_relative(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children work in folders of their own; every path means what it means to the caller."""
    monkeypatch.chdir(bench.folder)
    names = ("model", "validation", "calibration", "golden", "output")
    relative = {name: getattr(bench.request, name).relative_to(bench.folder) for name in names}
    result = bench.build(**relative, cache=Path("cache"), precisions=(Precision.FP32, Precision.INT8))
    assert result.exit_code == 0
    assert result.folder == Path("out/release")
    assert bench.leftovers() == ["release"]
    assert any((bench.folder / "cache").iterdir())


def test_without_a_golden_set_one_is_set_apart(bench: Bench) -> None:
    result = bench.build(golden=None)
    assert result.report.parent.golden_samples == 10
    assert result.report.parent.samples == 30
    assert any("no golden set" in line for line in result.report.warnings)


def test_float_images_have_no_stated_range(bench: Bench) -> None:
    images = np.random.default_rng(5).normal(0, 3, (20, 1, 8, 8)).astype(np.float32)
    path = write_images(bench.folder / "floats.npz", 20, 5, images=images)
    result = bench.build(validation=path, calibration=None)
    assert result.manifest is not None
    assert result.manifest.inputs[0].minimum is None


def test_a_limit_that_only_int8_meets_is_met_by_int8(bench: Bench) -> None:
    """What int8 is for: the float variant is too large for the class, yet good enough to be timed against."""
    shipped = next(item for item in bench.request.known_classes if item.name == "x86-onnxruntime")
    small = replace(shipped, name="small-flash", limits=VariantLimits(size_bytes=150_000))
    result = bench.build(
        model=DIGITS / "digits-1.1.onnx",
        validation=DIGITS / "validation.npz",
        calibration=DIGITS / "calibration.npz",
        golden=DIGITS / "golden.npz",
        classes=("small-flash",),
        known_classes=(small,),
        precisions=None,
    )
    assert result.exit_code == 0
    assert result.manifest is not None
    assert [item.name for item in result.manifest.variants] == ["small-flash.int8"]
    assert result.manifest.variants[0].measurements.latency_ratio is not None
    assert [item.code for item in result.manifest.refusals] == [Code.LIMIT_EXCEEDED.value]


def test_size_can_be_the_objective(bench: Bench) -> None:
    result = bench.build(objective=Objective.SIZE, precisions=(Precision.FP32, Precision.INT8))
    item = result.report.classes[0]
    sizes = {v.name: v.measurements.size_bytes for v in item.variants if v.measurements is not None}
    assert item.choice == min(sizes, key=lambda name: sizes[name])


def test_what_is_refused_at_the_door(bench: Bench) -> None:
    """Each with its code, and nothing but the inputs left behind."""
    folder = bench.folder
    (folder / "taken").mkdir()
    other = write_images(folder / "other.npz", 30, 1)
    nan = np.full((16, 1, 8, 8), np.nan, np.float32)
    cases: list[tuple[Code, dict[str, Any]]] = [
        (Code.BUILD_REQUEST, {"name": "Not A Name"}),
        (Code.BUILD_REQUEST, {"version": "../1"}),
        (Code.BUILD_REQUEST, {"max_drop_points": -1.0}),
        (Code.BUILD_REQUEST, {"nice": 40}),
        (Code.BUILD_REQUEST, {"classes": ()}),
        (Code.BUILD_CLASS_UNKNOWN, {"classes": ("x86-onnxruntim",)}),
        (Code.BUILD_OUTPUT_EXISTS, {"output": folder / "taken"}),
        (Code.DECODER_MISSING, {"task": Task.DETECTION}),
        (Code.BUILD_REQUEST, {"decoder": Decoder("centernet")}),
        (Code.DECODER_UNFIT, {"task": Task.DETECTION, "decoder": Decoder("centernet")}),
        (Code.DECODER_UNKNOWN, {"task": Task.DETECTION, "decoder": Decoder("no-such")}),
        (Code.MODEL_SIGNATURE, {"task": Task.SEGMENTATION}),
        (Code.DATASET_TRUTH, {"task": Task.REGRESSION}),
        (Code.MODEL_NOT_ONNX, {"model": write_images(folder / "x.onnx.npz", 3, 1)}),
        (Code.DATASET_OVERLAP, {"golden": other}),
        (Code.DATASET_OVERLAP, {"calibration": other}),
        (Code.DATASET_EMPTY, {"validation": write_images(folder / "empty.npz", 0, 1)}),
        (Code.DATASET_NOT_FINITE, {"calibration": write_images(folder / "nan.npz", 16, 1, images=nan)}),
        (
            Code.DATASET_SHAPE,
            {"calibration": write_images(folder / "shape.npz", 4, 1, images=np.ones((4, 3, 8, 8), np.uint8))},
        ),
        (
            Code.DATASET_DTYPE,
            {"calibration": write_images(folder / "dtype.npz", 4, 1, images=np.ones((4, 1, 8, 8)))},
        ),
    ]
    for code, changes in cases:
        with pytest.raises(CallerError) as caught:
            bench.build(**changes)
        assert caught.value.code is code, changes
        assert caught.value.expected
        assert caught.value.todo
        assert bench.leftovers() == []
    assert list((folder / "taken").iterdir()) == []


def test_a_converter_that_computes_something_else_in_fp32_is_refused(bench: Bench, rogue: Point) -> None:
    """Ten points of budget would let it pass: the answers themselves tell."""
    result = bench.build(rogue("bend"), max_drop_points=100.0)
    assert result.exit_code == 4
    assert result.report.classes[0].code == Code.CONVERSION_FAILED.value
    assert "answers otherwise than its float parent" in result.report.classes[0].why


def test_a_model_that_is_no_classifier_is_refused(bench: Bench) -> None:
    onnx.save(model([node("Relu", ["x"])], ["N", 1, 8, 8]), bench.request.model)
    with pytest.raises(CallerError, match="one score per class") as caught:
        bench.build()
    assert caught.value.code is Code.MODEL_SIGNATURE


def test_a_golden_set_that_is_too_large_to_travel_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_data, "MAX_GOLDEN_BYTES", 500)
    with pytest.raises(CallerError) as caught:
        bench.build()
    assert caught.value.code is Code.DATASET_TOO_LARGE


def test_an_unknown_class_gets_a_suggestion(bench: Bench) -> None:
    with pytest.raises(CallerError, match="did you mean x86-onnxruntime"):
        bench.build(classes=("x86-onnxruntim",))


def test_a_class_with_an_unknown_recipe_is_refused(bench: Bench) -> None:
    odd = DeviceClass(name="odd", architectures=("x86_64",), runtime="onnxruntime", recipes=("fp32", "int88"))
    with pytest.raises(CallerError, match="no recipe 'int88'") as caught:
        bench.build(classes=("odd",), known_classes=(odd,), precisions=None)
    assert caught.value.code is Code.BUILD_RECIPE
    assert "did you mean int8" in caught.value.todo
    assert not bench.request.output.exists()


def test_a_class_with_an_option_that_nobody_takes_is_refused(bench: Bench) -> None:
    odd = DeviceClass(name="odd", architectures=("x86_64",), runtime="openvino", options={"devise": "GPU"})
    with pytest.raises(CallerError, match="devise") as caught:
        bench.build(classes=("odd",), known_classes=(odd,), precisions=None)
    assert caught.value.code is Code.BUILD_OPTION


def test_a_class_whose_plug_in_is_missing_is_refused_and_the_others_go_on(bench: Bench) -> None:
    odd = DeviceClass(name="odd", architectures=("x86_64",), runtime="fpga", recipes=("int8",))
    known = (odd, *(item for item in SHIPPED if item.name == "x86-onnxruntime"))
    result = bench.build(classes=("odd", "x86-onnxruntime"), known_classes=known)
    assert result.exit_code == 3
    refused = result.report.classes[0]
    assert (refused.built, refused.code) == (False, Code.OPTIMIZER_MISSING.value)
    assert "fpga" in refused.why


def test_a_plug_in_that_cannot_be_imported_refuses_only_the_class_that_wants_it(bench: Bench) -> None:
    broken = OptimizerPoint("arm-broken", "tests.build.no_such_module:plugin")
    known = next(item for item in SHIPPED if item.name == "arm-litert")
    wants = replace(known, name="wants-it", optimizer="arm-broken")
    result = bench.build(
        (broken, *optimizers.installed()),
        classes=("x86-onnxruntime", "wants-it"),
        known_classes=(*bench.request.known_classes, wants),
    )
    built, refused = result.report.classes
    assert built.built
    assert (refused.built, refused.code) == (False, Code.OPTIMIZER_MISSING.value)
    assert "cannot be loaded: ModuleNotFoundError" in refused.why


def test_a_folder_that_cannot_be_written_is_an_error_of_the_world(bench: Bench) -> None:
    (bench.folder / "file").write_text("in the way")
    with pytest.raises(WorldError) as caught:
        bench.build(output=bench.folder / "file" / "release")
    assert caught.value.code is Code.BUILD_NOT_WRITTEN


def test_what_a_killed_build_left_goes_with_the_next_one_of_that_name(bench: Bench) -> None:
    out = bench.request.output.parent
    killed, alive, other = (
        out / name for name in (".release.partial-a", ".release.partial-b", ".else.partial-a")
    )
    for folder in (killed, alive, other):
        (folder / "files").mkdir(parents=True)
        (folder / "owned.lock").touch()
    with (alive / "owned.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert bench.build().exit_code == 0
    assert bench.leftovers() == [".else.partial-a", ".release.partial-b", "release"]


def test_the_same_request_twice_is_refused_the_second_time(bench: Bench) -> None:
    assert bench.build().exit_code == 0
    before = (bench.request.output / "release.json").read_bytes()
    with pytest.raises(CallerError) as caught:
        bench.build()
    assert caught.value.code is Code.BUILD_OUTPUT_EXISTS
    assert (bench.request.output / "release.json").read_bytes() == before


def test_limits_cut_the_samples_used(bench: Bench) -> None:
    result = bench.build(limits=replace(QUICK, validation_samples=7))
    assert result.report.parent.samples == 7
    assert any("only the first 7 of 40" in line for line in result.report.warnings)
    assert any("one of 7 validation samples is worth 14.3 points" in line for line in result.report.warnings)


def test_data_that_is_too_small_to_judge_by_is_told(bench: Bench) -> None:
    few = write_images(bench.folder / "few.npz", 8, 4, labelled=False)
    both = (Precision.FP32, Precision.INT8)
    warnings = bench.build(calibration=few, precisions=both).report.warnings
    assert any(
        "one of 40 validation samples is worth 2.5 points, more than the budget of 1" in w for w in warnings
    )
    assert any("only 7 calibration samples" in w for w in warnings)
    enough = bench.build(
        calibration=write_images(bench.folder / "enough.npz", 40, 5, labelled=False),
        validation=write_images(bench.folder / "many.npz", 120, 6),
        precisions=both,
        output=bench.folder / "out" / "second",
    )
    assert enough.report.warnings == ()


def test_a_folder_that_came_into_being_meanwhile_is_not_a_full_disk(bench: Bench) -> None:
    def meddle(event: ProgressEvent) -> None:
        if event.step is Step.WRITE:
            (bench.request.output / "theirs").mkdir(parents=True, exist_ok=True)

    with pytest.raises(CallerError) as caught:
        build(bench.request, meddle, SystemClock())
    assert caught.value.code is Code.BUILD_OUTPUT_EXISTS
    assert bench.leftovers() == ["release"]


def test_the_parents_size_counts_its_external_data(bench: Bench) -> None:
    path = bench.folder / "apart.onnx"
    onnx.save(
        onnx.load(bench.request.model),
        path,
        save_as_external_data=True,
        size_threshold=0,
        location="apart.bin",
    )
    parent = bench.build(model=path).report.parent
    assert parent.size_bytes > path.stat().st_size + (bench.folder / "apart.bin").stat().st_size // 2


def test_calibration_images_of_another_scale_are_told(bench: Bench) -> None:
    bytes_as_floats = bench.folder / "floats.npz"
    random = np.random.default_rng(5)
    np.savez(bytes_as_floats, images=random.uniform(0, 255, (16, 1, 8, 8)).astype(np.float32))
    result = bench.build(calibration=bytes_as_floats)
    assert any("calibration images reach 25" in line for line in result.report.warnings)
    assert not any(
        "calibration images reach" in line
        for line in bench.build(output=bench.folder / "out" / "other").report.warnings
    )


def test_a_class_that_cannot_be_built_says_what_to_do(bench: Bench) -> None:
    odd = DeviceClass(name="odd", architectures=("x86_64",), runtime="fpga", recipes=("int8",))
    result = bench.build(classes=("odd",), known_classes=(odd,))
    assert result.exit_code == 4
    assert "to do: pip install" in result.report.classes[0].why
