"""What a build comes to: the manifest of the release, and the report with its warnings."""

from __future__ import annotations

from datetime import datetime

from modelfleet_build.build_data import BuildData
from modelfleet_build.classes import ClassResult
from modelfleet_build.facts import ModelFacts
from modelfleet_build.parent import Parent
from modelfleet_build.report import BuildReport, DataReport, Outcome, ParentReport
from modelfleet_build.request import BuildRequest
from modelfleet_core.ids import ReleaseId
from modelfleet_core.release.manifest import Lineage, Manifest, Precision

# Below that nothing can be lost any more, and the fault is rather in data or decoder than in the model.
_HARDLY_RIGHT = 0.05
# Fewer show too little of what a network can reach; about a hundred are usual.
_FEW_CALIBRATION = 32


def manifest_of(
    request: BuildRequest,
    facts: ModelFacts,
    data: BuildData,
    parent: Parent,
    results: list[ClassResult],
    now: datetime,
) -> Manifest:
    """The manifest of everything that was built."""
    lineage = Lineage(
        # Of the model with its data: a file that keeps its weights beside it says little by itself.
        source_sha256=facts.model_sha256,
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


def report_of(
    request: BuildRequest,
    facts: ModelFacts,
    data: BuildData,
    parent: Parent,
    results: list[ClassResult],
    now: datetime,
    release: ReleaseId | None,
    seconds: float,
) -> BuildReport:
    """The report, with warnings of what a person should look at."""
    built = sum(result.report.built for result in results)
    outcome = Outcome.ALL if built == len(results) else Outcome.SOME if built else Outcome.NONE
    judged, measured = parent.quality, parent.findings.measured
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
        warnings=_warnings(request, data, parent, results),
        model=str(request.model.absolute()),
    )


def _warnings(
    request: BuildRequest, data: BuildData, parent: Parent, results: list[ClassResult]
) -> tuple[str, ...]:
    judged = parent.quality
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
    return tuple(warnings)


def _golden_value(parent: Parent) -> float | None:
    golden = parent.findings.golden
    return golden.value if golden.samples else None
