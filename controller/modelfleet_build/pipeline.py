"""The whole build, step by step: intake, data, float parent, then every class, then the release folder.

A refusal of the request, the model or the data ends the build and leaves nothing behind. A refusal of a
variant or a class is recorded with its reason, and the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from modelfleet_build import registry
from modelfleet_build.arrays import write_inputs
from modelfleet_build.assemble import Workspace, publish, workspace, write_manifest
from modelfleet_build.cache import Cache, file_digest
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import IntakeJob, Job, Loadable
from modelfleet_build.classes import ClassBuilder, ClassResult, ParentResult
from modelfleet_build.datasets import (
    Dataset,
    Role,
    check_disjoint,
    read_dataset,
    set_apart_golden,
    set_digest,
)
from modelfleet_build.delta_estimate.previous import delta_warnings, estimates, read_previous
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.progress import Meter, ProgressSink, Step
from modelfleet_build.quality import quality
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import BuildReport, DataReport, Outcome, ParentReport
from modelfleet_build.request import BuildRequest, check_request
from modelfleet_build.variants import Material, Workshop
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import ReleaseId
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Lineage, Manifest
from modelfleet_runtimes.comparators import for_task
from modelfleet_runtimes.golden import MAX_GOLDEN_BYTES

PARENT_RUNTIME = "onnxruntime"
_PARENT = "float parent"
_STEPS_BEFORE, _STEPS_PER_VARIANT, _STEPS_AFTER = 3, 2, 1


@dataclass(frozen=True, slots=True)
class BuildResult:
    """How a build ended.

    Attributes:
        report: Everything that was measured and refused.
        manifest: The release, None where no class could be built.
        release: Release id, None likewise.
        folder: Release folder, None likewise.
    """

    report: BuildReport
    manifest: Manifest | None
    release: ReleaseId | None
    folder: Path | None

    @property
    def exit_code(self) -> int:
        """0 all classes, 3 some, 4 none."""
        return self.report.outcome.exit_code


@dataclass(frozen=True, slots=True)
class _Data:
    """The data sets of a build."""

    validation: Dataset
    golden: Dataset
    calibration: Dataset | None
    warnings: tuple[str, ...]

    def all(self) -> list[Dataset]:
        return [item for item in (self.calibration, self.validation, self.golden) if item is not None]


def build(
    request: BuildRequest,
    progress: ProgressSink,
    clock: Clock,
    optimizers: tuple[OptimizerPoint, ...] | None = None,
) -> BuildResult:
    """Build a release.

    Args:
        request: What to build.
        progress: Takes events while it runs.
        clock: For times, deadlines and the manifest's instant.
        optimizers: Plug-ins to use instead of the installed ones.

    Returns:
        The result; `folder` is complete on disk, or None when no class could be built.

    Raises:
        CallerError: The request, the model or the data are refused (MF-14xx); nothing is left behind.
        WorldError: A child process died during intake or on the float parent, or the disk is full.
    """
    begun, now = clock.monotonic(), clock.now()
    classes = check_request(request)
    if request.previous is not None:
        read_previous(request.previous)  # refused at the door, not after the work
    meter = Meter(progress)
    points = registry.installed() if optimizers is None else optimizers
    variants = sum(registry.count(item, points, request.precisions) for item in classes)
    meter.plan(_STEPS_BEFORE + _STEPS_PER_VARIANT * variants + _STEPS_AFTER)
    with workspace(request.output) as space:
        cache = Cache(request.cache.absolute()) if request.cache is not None else None
        workshop = Workshop(space, request.limits, request.nice, cache, clock, meter)
        model = space.root / "model.onnx"
        facts = _intake(request, workshop, model)
        facts, data = _data(request, facts, meter)
        material = _material(space, model, facts, data, request)
        parent = _parent(request, workshop, material, data)
        results = [_class(request, item, workshop, material, parent, data, points) for item in classes]
        meter.started(Step.WRITE, request.output.name)
        manifest = _manifest(request, facts, data, parent, results, now)
        release = write_manifest(space, manifest) if manifest.variants else None
        seconds = clock.monotonic() - begun
        report = _report(request, data, parent, results, now, release, seconds)
        report = _with_deltas(report, request, space, manifest)
        if release is None:
            meter.finished(Step.WRITE, request.output.name, "nothing to write: no class could be built")
            return BuildResult(report, None, None, None)
        publish(space, report, request.output)
    meter.finished(Step.WRITE, request.output.name, f"release {release[:16]} is complete")
    return BuildResult(report, manifest, release, request.output)


def _with_deltas(
    report: BuildReport, request: BuildRequest, space: Workspace, manifest: Manifest
) -> BuildReport:
    if request.previous is None or report.release is None:
        return report
    deltas = estimates(request.previous, space.release, manifest.variants)
    return replace(report, deltas=deltas, warnings=(*report.warnings, *delta_warnings(deltas)))


def _intake(request: BuildRequest, workshop: Workshop, target: Path) -> ModelFacts:
    meter, name = workshop.meter, request.model.name
    meter.started(Step.INTAKE, name)
    folder = workshop.space.folder("intake")
    job = IntakeJob(str(request.model.absolute()), str(target))
    result = runner.run(
        Job(folder=str(folder), data_limit_bytes=0, nice=request.nice, intake=job),
        runner.Allowance(request.limits.convert_s, request.limits.memory_bytes),
        workshop.clock,
        lambda text: meter.going_on(Step.INTAKE, name, text),
    )
    assert result.intake is not None
    nodes = sum(result.intake.operators.values())
    meter.finished(Step.INTAKE, name, f"opset {result.intake.opset}, {nodes} nodes")
    return result.intake


def _data(request: BuildRequest, facts: ModelFacts, meter: Meter) -> tuple[ModelFacts, _Data]:
    """Read and check all data; the input range follows from how the validation images are stored."""
    meter.started(Step.DATA)
    tensor, classes = facts.inputs[0], _classes(facts)
    warnings: list[str] = []
    validation = read_dataset(request.validation, Role.VALIDATION, tensor, classes)
    calibration = None
    if request.calibration is not None:
        calibration = read_dataset(request.calibration, Role.CALIBRATION, tensor, classes)
    if request.golden is not None:
        golden = read_dataset(request.golden, Role.GOLDEN, tensor, classes)
    else:
        validation, golden = set_apart_golden(validation)
        warnings.append(
            f"no golden set was given: the last {len(golden)} validation samples became it, "
            f"{len(validation)} are left for the budget"
        )
    sets = [item for item in (calibration, validation, golden) if item is not None]
    check_disjoint(sets)
    _check_golden_size(golden, facts)
    limit = request.limits.validation_samples
    if len(validation) > limit:
        warnings.append(f"only the first {limit} of {len(validation)} validation samples were used")
        validation = validation.part(slice(0, limit), Role.VALIDATION)
    if calibration is not None:
        calibration = calibration.part(slice(0, request.limits.calibration_samples), Role.CALIBRATION)
    stored_as_bytes = all(item.scale != 1.0 for item in sets)
    if stored_as_bytes:
        facts = facts.with_range(0.0, 1.0)
    meter.finished(Step.DATA, detail=", ".join(f"{item.role} {len(item)}" for item in sets))
    return facts, _Data(validation, golden, calibration, tuple(warnings))


def _classes(facts: ModelFacts) -> int:
    """Number of classes of a classifier: its first output holds one score for each, and nothing else."""
    output = facts.outputs[0]
    if output.shape[1] != output.elements_per_sample():
        raise CallerError(
            Code.MODEL_SIGNATURE,
            f"the first output {output.name!r} has shape {['n', *output.shape[1:]]}",
            expected="one score per class, [n, classes], for classification",
            todo="check --task, or export the scores as the first output",
        )
    return output.shape[1]


def _check_golden_size(golden: Dataset, facts: ModelFacts) -> None:
    """The golden set travels with every variant and is read whole on the device."""
    recorded = 4 * facts.outputs[0].elements_per_sample() * len(golden)
    size = golden.stored.nbytes + golden.labels.nbytes + recorded
    if size > MAX_GOLDEN_BYTES:
        raise CallerError(
            Code.DATASET_TOO_LARGE,
            f"the golden set and its recorded answers take {size} bytes",
            expected=f"at most {MAX_GOLDEN_BYTES} bytes; 64 samples are enough",
            todo="give a smaller golden set, as uint8 images where that is possible",
        )


def _material(
    space: Workspace, model: Path, facts: ModelFacts, data: _Data, request: BuildRequest
) -> Material:
    validation, golden = space.root / "validation.npz", space.root / "golden.npz"
    write_inputs(validation, data.validation.inputs)
    write_inputs(golden, data.golden.inputs)
    calibration = None
    if data.calibration is not None:
        calibration = space.root / "calibration.npz"
        write_inputs(calibration, data.calibration.inputs)
    digest = set_digest(data.calibration) if data.calibration is not None else None
    companion = request.companion.absolute() if request.companion is not None else None
    companion_digest = file_digest(companion) if companion is not None else None
    return Material(model, facts, calibration, digest, validation, golden, companion, companion_digest)


def _parent(request: BuildRequest, workshop: Workshop, material: Material, data: _Data) -> ParentResult:
    workshop.meter.started(Step.PARENT, _PARENT)
    contract = float_contract(material.facts, layout=Layout.NCHW, batch=onnx_batch(material.facts))
    folder = str(material.model.parent)
    loadable = Loadable(PARENT_RUNTIME, folder, material.model.name, contract)
    answers = workshop.measure("parent", loadable, None, material)
    comparator = for_task(request.task)
    judged = quality(answers.validation, data.validation.labels, comparator)
    on_golden = quality(answers.golden, data.golden.labels, comparator)
    workshop.meter.finished(Step.PARENT, _PARENT, f"top1 {100 * judged.value:.2f} %")
    return ParentResult(loadable, answers, judged, on_golden)


def _class(
    request: BuildRequest,
    device_class: DeviceClass,
    workshop: Workshop,
    material: Material,
    parent: ParentResult,
    data: _Data,
    points: tuple[OptimizerPoint, ...],
) -> ClassResult:
    builder = ClassBuilder(request, device_class, workshop, material, parent, data.validation, data.golden)
    return builder.build(points)


def _manifest(
    request: BuildRequest,
    facts: ModelFacts,
    data: _Data,
    parent: ParentResult,
    results: list[ClassResult],
    now: datetime,
) -> Manifest:
    lineage = Lineage(
        source_sha256=facts.source_sha256,
        source_name=request.model.name,
        calibration_sha256=data.calibration.sha256 if data.calibration is not None else None,
        validation_sha256=data.validation.sha256,
        golden_sha256=data.golden.sha256,
        golden_samples=len(data.golden),
    )
    return Manifest(
        name=request.name,
        version=request.version,
        task=request.task,
        created_at=now,
        inputs=facts.inputs,
        outputs=facts.outputs,
        lineage=lineage,
        variants=tuple(variant for result in results for variant in result.variants),
        refusals=tuple(refusal for result in results for refusal in result.refusals),
        golden_value=parent.golden.value if parent.golden.samples else None,
        labels=request.labels,
    )


def _report(
    request: BuildRequest,
    data: _Data,
    parent: ParentResult,
    results: list[ClassResult],
    now: datetime,
    release: ReleaseId | None,
    seconds: float,
) -> BuildReport:
    built = sum(result.report.built for result in results)
    outcome = Outcome.ALL if built == len(results) else Outcome.SOME if built else Outcome.NONE
    judged, measured = parent.quality, parent.answers.measured
    warnings = list(data.warnings)
    if judged.not_finite:
        warnings.append(
            f"the model itself gives NaN or infinite values on {judged.not_finite} of {judged.samples} "
            f"validation samples; its variants are measured against that"
        )
    return BuildReport(
        name=request.name,
        version=request.version,
        task=request.task,
        created_at=now,
        seconds=seconds,
        outcome=outcome,
        release=release,
        max_drop_points=request.max_drop_points,
        objective=request.objective.value if request.objective is not None else "",
        parent=ParentReport(
            value=judged.value,
            samples=judged.samples,
            points_per_sample=100.0 / judged.samples,
            not_finite=judged.not_finite,
            golden_value=parent.golden.value if parent.golden.samples else None,
            golden_samples=len(data.golden),
            size_bytes=request.model.stat().st_size,
            latency_us=measured.latency_us,
        ),
        data=tuple(DataReport(item.role.value, len(item), item.sha256) for item in data.all()),
        classes=tuple(result.report for result in results),
        warnings=tuple(warnings),
        model=str(request.model.absolute()),
    )
