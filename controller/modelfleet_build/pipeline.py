"""The whole build, step by step: intake, data, float parent, then every class, then the release folder.

A refusal of the request, the model or the data ends the build and leaves nothing behind. A refusal of a
variant or a class is recorded with its reason, and the others go on.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from modelfleet_build import metrics, registry
from modelfleet_build.arrays import answer_bytes, samples_that_fit, write_inputs
from modelfleet_build.assemble import Workspace, publish, workspace, write_manifest
from modelfleet_build.cache import Cache, Runnable, file_digest
from modelfleet_build.child.jobs import Loadable
from modelfleet_build.classes import ClassBuilder, ClassResult
from modelfleet_build.datasets import (
    Dataset,
    check_disjoint,
    data_digest,
    read_dataset,
    set_apart_golden,
    set_apart_tuning,
    set_digest,
)
from modelfleet_build.decoding import choose_decoder
from modelfleet_build.delta_estimate.previous import delta_warnings, estimates, read_previous
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.isolated.environments import Environments
from modelfleet_build.machine import shares, usable_cores
from modelfleet_build.parent import PARENT_RUNTIME, Judgement, Parent, ParentFindings
from modelfleet_build.progress import Happening, Meter, ProgressSink, Step
from modelfleet_build.quality import scored
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import BuildReport, DataReport, Outcome, ParentReport
from modelfleet_build.request import BuildRequest, check_request
from modelfleet_build.roles import Role
from modelfleet_build.search import check_search
from modelfleet_build.trials import measurement_key
from modelfleet_build.truth import rules_of
from modelfleet_build.variants import Answers, Material
from modelfleet_build.workshop import Workshop
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import ReleaseId
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Decoder, Lineage, Manifest, Precision, Task
from modelfleet_runtimes import registry as runtimes
from modelfleet_runtimes.comparators import Outputs, for_task
from modelfleet_runtimes.decoders import BoxDecoder, open_decoder
from modelfleet_runtimes.golden import MAX_GOLDEN_BYTES, record_count

_PARENT = "float parent"
# Below that nothing can be lost any more, and the fault is rather in data or decoder than in the model.
_HARDLY_RIGHT = 0.05
# Fewer show too little of what a network can reach; about a hundred are usual.
_FEW_CALIBRATION = 32
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
    """The data sets of a build, and what is needed to judge answers to them.

    Attributes:
        decoder, boxes: Detection: as the manifest declares it, and made for the model.
        scale: Regression: spread of the validation targets.
    """

    validation: Dataset
    golden: Dataset
    calibration: Dataset | None
    tuning: Dataset | None
    warnings: tuple[str, ...]
    decoder: Decoder | None = None
    boxes: BoxDecoder | None = None
    scale: float | None = None

    def all(self) -> list[Dataset]:
        sets = (self.calibration, self.tuning, self.validation, self.golden)
        return [item for item in sets if item is not None]


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
    # Refused at the door, not after the work.
    if request.previous is not None:
        read_previous(request.previous)
    if request.search:
        check_search()
    meter = Meter(progress)
    points = registry.installed() if optimizers is None else optimizers
    variants = sum(registry.count(item, points, request.precisions) for item in classes)
    searches = len(classes) if request.search else 0
    meter.plan(_STEPS_BEFORE + _STEPS_PER_VARIANT * variants + searches + _STEPS_AFTER)
    with workspace(request.output) as space:
        # Without a cache of the user's, classes of this build still share what they make alike.
        cache = Cache(request.cache.absolute() if request.cache is not None else space.root / "cache")
        environments = Environments(request.environments, clock) if request.environments is not None else None
        workshop = Workshop(space, request.limits, request.nice, cache, clock, meter, environments)
        model = space.fresh("model") / "model.onnx"
        facts = _intake(request, workshop, model)
        facts, data = _data(request, facts, meter)
        material = _material(space, model, facts, data, request)
        parent, judgement = _parent(request, workshop, material, data)
        results = _classes(request, classes, workshop, material, parent, judgement, points)
        meter.started(Step.WRITE, request.output.name)
        manifest = _manifest(request, facts, data, parent, results, now)
        release = write_manifest(space, manifest) if manifest.variants else None
        seconds = clock.monotonic() - begun
        report = _report(request, facts, data, parent, results, now, release, seconds)
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
    facts = workshop.take_in(request.model, target)
    meter.finished(Step.INTAKE, name, f"opset {facts.opset}, {sum(facts.operators.values())} nodes")
    return facts


def _data(request: BuildRequest, facts: ModelFacts, meter: Meter) -> tuple[ModelFacts, _Data]:
    """Read and check all data; the input range follows from how the validation images are stored."""
    meter.started(Step.DATA)
    decoder, told = choose_decoder(request.task, request.decoder, facts)
    boxes = open_decoder(decoder, facts.inputs, facts.outputs) if decoder is not None else None
    tensor, rules = facts.inputs[0], rules_of(request.task, facts, boxes)
    warnings = [told] if told else []
    validation = read_dataset(request.validation, Role.VALIDATION, tensor, rules)
    calibration = None
    if request.calibration is not None:
        calibration = read_dataset(request.calibration, Role.CALIBRATION, tensor, rules)
    if request.golden is not None:
        golden = read_dataset(request.golden, Role.GOLDEN, tensor, rules)
    else:
        validation, golden = set_apart_golden(validation)
        warnings.append(
            f"no golden set was given: the last {len(golden)} validation samples became it, "
            f"{len(validation)} are left for the budget"
        )
    sets = [item for item in (calibration, validation, golden) if item is not None]
    check_disjoint(sets)
    _check_golden_size(golden, facts)
    limit = min(request.limits.validation_samples, samples_that_fit(facts.outputs))
    if len(validation) > limit:
        warnings.append(f"only the first {limit} of {len(validation)} validation samples were used")
        validation = validation.part(slice(0, limit), Role.VALIDATION)
    tuning = None
    if calibration is not None:
        calibration, tuning = set_apart_tuning(calibration, request.limits.tuning_samples)
        calibration = calibration.part(slice(0, request.limits.calibration_samples), Role.CALIBRATION)
    stored_as_bytes = all(item.scale != 1.0 for item in sets)
    if stored_as_bytes:
        facts = facts.with_range(0.0, 1.0)
    meter.finished(Step.DATA, detail=", ".join(f"{item.role} {len(item)}" for item in sets))
    scale = _spread(validation) if request.task is Task.REGRESSION else None
    return facts, _Data(validation, golden, calibration, tuning, tuple(warnings), decoder, boxes, scale)


def _check_golden_size(golden: Dataset, facts: ModelFacts) -> None:
    """The golden set travels with every variant and is read whole on the device."""
    each = answer_bytes(facts.outputs)
    truth = sum(array.nbytes for array in golden.truth.values())
    size = golden.stored.nbytes + truth + each * record_count(len(golden), each // 4)
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
    tuning = None
    if data.tuning is not None:
        tuning = space.root / "tuning.npz"
        write_inputs(tuning, data.tuning.inputs)
    digest = set_digest(data.calibration) if data.calibration is not None else None
    companion = request.companion.absolute() if request.companion is not None else None
    return Material(
        model=model,
        facts=facts,
        calibration=calibration,
        calibration_digest=digest,
        validation=validation,
        golden=golden,
        counts=(len(data.validation), len(data.golden)),
        data_digests=(data_digest(data.validation), data_digest(data.golden)),
        tuning=tuning,
        tuning_count=len(data.tuning) if data.tuning is not None else 0,
        tuning_digest=set_digest(data.tuning) if data.tuning is not None else "",
        companion=companion,
        companion_digest=file_digest(companion) if companion is not None else None,
    )


def _parent(
    request: BuildRequest, workshop: Workshop, material: Material, data: _Data
) -> tuple[Parent, Judgement]:
    """Measure the float parent, or remember it. Its embeddings are the truth of an embedding model."""
    workshop.meter.started(Step.PARENT, _PARENT)
    contract = float_contract(material.facts, layout=Layout.NCHW, batch=onnx_batch(material.facts))
    loadable = Loadable(PARENT_RUNTIME, str(material.model.parent), material.model.name, contract)
    metric = metrics.for_task(request.task, data.boxes, data.scale)
    judgement = Judgement(metric, data.validation, data.golden, data.decoder, data.scale)

    def measure() -> Answers:
        return workshop.measure("parent", loadable, None, material)

    version = runtimes.load(PARENT_RUNTIME).version() or ""
    key = measurement_key(Runnable.of(loadable, version), None, request, material, judgement)
    findings = workshop.cache.fetch(key, ParentFindings).value
    answers = None
    if findings is None or request.task is Task.EMBEDDING:
        answers = measure()
        if request.task is Task.EMBEDDING:
            judgement = replace(
                judgement,
                validation=_embedded(data.validation, answers.validation),
                golden=_embedded(data.golden, answers.golden),
            )
        comparator = for_task(request.task, decoder=data.boxes, scale=data.scale)
        findings = ParentFindings(
            quality=metric.quality(answers.validation, judgement.validation.truth),
            golden=scored(answers.golden, judgement.golden.truth, comparator),
            measured=answers.measured,
        )
        workshop.cache.store(key, findings)
    how = Happening.DONE if answers is not None else Happening.CACHED
    workshop.meter.finished(Step.PARENT, _PARENT, f"{metric.name} {100 * findings.quality.value:.2f} %", how)
    return Parent(loadable, findings, measure, answers), judgement


def _golden_value(parent: Parent) -> float | None:
    golden = parent.findings.golden
    return golden.value if golden.samples else None


def _embedded(data: Dataset, answers: Outputs) -> Dataset:
    first = np.nan_to_num(next(iter(answers.values())), posinf=0.0, neginf=0.0).astype(np.float32)
    return replace(data, truth={**data.truth, "embeddings": first})


def _spread(validation: Dataset) -> float:
    """Refuses targets without a spread: nothing could be told from them."""
    scale = metrics.spread(validation.truth["targets"])
    if not scale > 0:
        raise CallerError(
            Code.DATASET_TRUTH,
            f"the {len(validation)} validation targets are all the same",
            expected="targets that vary: errors are told in units of their spread",
            todo="give validation data that covers what the model is for",
        )
    return scale


def _classes(
    request: BuildRequest,
    classes: tuple[DeviceClass, ...],
    workshop: Workshop,
    material: Material,
    parent: Parent,
    judgement: Judgement,
    points: tuple[OptimizerPoint, ...],
) -> list[ClassResult]:
    """Build the classes, several at once within the core budget; in the order of the request.

    Whatever ends the build, an interrupt too, kills the children of all classes first.
    """
    cores = usable_cores()
    jobs = min(len(classes), request.jobs or len(cores) or 1)
    free: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
    for share in shares(cores, jobs):
        free.put(share)

    def one(device_class: DeviceClass) -> ClassResult:
        share = free.get()
        try:
            own = workshop.on(share)
            return ClassBuilder(request, device_class, own, material, parent, judgement).build(points)
        finally:
            free.put(share)

    with ThreadPoolExecutor(free.qsize(), thread_name_prefix="class") as pool:
        try:
            return list(pool.map(one, classes))
        except BaseException:
            workshop.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _manifest(
    request: BuildRequest,
    facts: ModelFacts,
    data: _Data,
    parent: Parent,
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
        golden_value=_golden_value(parent),
        labels=request.labels,
        decoder=data.decoder,
        target_scale=data.scale,
    )


def _report(
    request: BuildRequest,
    facts: ModelFacts,
    data: _Data,
    parent: Parent,
    results: list[ClassResult],
    now: datetime,
    release: ReleaseId | None,
    seconds: float,
) -> BuildReport:
    built = sum(result.report.built for result in results)
    outcome = Outcome.ALL if built == len(results) else Outcome.SOME if built else Outcome.NONE
    judged, measured = parent.quality, parent.findings.measured
    warnings = list(data.warnings)
    if judged.not_finite:
        warnings.append(
            f"the model itself gives NaN or infinite values on {judged.not_finite} of {judged.samples} "
            f"validation samples; its variants are measured against that"
        )
    worth = judged.points_per_sample
    if worth is not None and worth > request.max_drop_points > 0:
        warnings.append(
            f"one of {judged.samples} validation samples is worth {worth:.3g} points, more than the budget "
            f"of {request.max_drop_points:g}: a variant may not lose one, and smaller losses are not seen"
        )
    made = [item for result in results for item in result.report.variants if item.measurements is not None]
    int8 = any(item.precision is Precision.INT8 for item in made)
    if int8 and data.calibration is not None and len(data.calibration) < _FEW_CALIBRATION:
        warnings.append(
            f"only {len(data.calibration)} calibration samples are there to find the ranges of int8: what "
            f"others reach beyond them is clipped; give {_FEW_CALIBRATION} or more"
        )
    if judged.value < _HARDLY_RIGHT:
        warnings.append(
            f"the float parent itself reaches only {100 * judged.value:.2f} % of {judged.metric}: "
            f"check that the truth is the model's, and for a detector --decoder"
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
            points_per_sample=judged.points_per_sample,
            not_finite=judged.not_finite,
            golden_value=_golden_value(parent),
            golden_samples=len(data.golden),
            size_bytes=facts.size_bytes,
            latency_us=measured.latency_us,
            metric=judged.metric,
            raw_error=judged.raw_error,
        ),
        data=tuple(DataReport(item.role.value, len(item), item.sha256) for item in data.all()),
        classes=tuple(result.report for result in results),
        warnings=tuple(warnings),
        model=str(request.model.absolute()),
    )
