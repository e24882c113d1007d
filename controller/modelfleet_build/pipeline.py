"""The whole build, step by step: intake, data, float parent, then every class, then the release folder.

A refusal of the request, the model or the data ends the build and leaves nothing behind. A refusal of a
variant or a class is recorded with its reason, and the others go on.
"""

from __future__ import annotations

import queue
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modelfleet_build import metrics, registry
from modelfleet_build.arrays import write_inputs
from modelfleet_build.assemble import Workspace, publish, workspace, write_manifest
from modelfleet_build.build_data import BuildData, gather
from modelfleet_build.cache import Cache, Runnable, file_digest
from modelfleet_build.child.jobs import Loadable
from modelfleet_build.classes import ClassBuilder, ClassResult
from modelfleet_build.datasets import (
    Dataset,
    data_digest,
    set_digest,
)
from modelfleet_build.delta_estimate.previous import delta_warnings, estimates, read_previous
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.isolated.environments import Environments
from modelfleet_build.machine import shares, usable_cores
from modelfleet_build.outcome import manifest_of, report_of
from modelfleet_build.parent import PARENT_RUNTIME, Judgement, Parent, ParentFindings
from modelfleet_build.progress import Happening, Meter, ProgressSink, Step
from modelfleet_build.quality import scored
from modelfleet_build.registry import OptimizerPoint
from modelfleet_build.report import BuildReport
from modelfleet_build.request import BuildRequest, check_request
from modelfleet_build.search import check_search
from modelfleet_build.trials import measurement_key
from modelfleet_build.variants import Answers, Material
from modelfleet_build.workshop import Workshop
from modelfleet_core.clock import Clock
from modelfleet_core.ids import ReleaseId
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Manifest, Task
from modelfleet_runtimes import registry as runtimes
from modelfleet_runtimes.comparators import Outputs, for_task

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
        meter.started(Step.DATA)
        facts, data = gather(request, facts)
        if not cache.usable():
            told = f"the cache folder {cache.root} cannot be written: everything is made anew every time"
            data = replace(data, warnings=(*data.warnings, told))
        meter.finished(Step.DATA, detail=", ".join(f"{item.role} {len(item)}" for item in data.all()))
        material = _material(space, model, facts, data, request)
        parent, judgement = _parent(request, workshop, material, data)
        results = _classes(request, classes, workshop, material, parent, judgement, points)
        meter.started(Step.WRITE, request.output.name)
        manifest = manifest_of(request, facts, data, parent, results, now)
        release = write_manifest(space, manifest) if manifest.variants else None
        seconds = clock.monotonic() - begun
        report = report_of(request, facts, data, parent, results, now, release, seconds)
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


def _material(
    space: Workspace, model: Path, facts: ModelFacts, data: BuildData, request: BuildRequest
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
    companion = None
    if request.companion is not None:
        companion = space.fresh("companion") / request.companion.name
        shutil.copyfile(request.companion, companion)
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
    request: BuildRequest, workshop: Workshop, material: Material, data: BuildData
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


def _embedded(data: Dataset, answers: Outputs) -> Dataset:
    first = np.nan_to_num(next(iter(answers.values())), posinf=0.0, neginf=0.0).astype(np.float32)
    return replace(data, truth={**data.truth, "embeddings": first})


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
