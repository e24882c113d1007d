"""The build report (`build.json`): what was measured, what was refused and why. Not signed, not pushed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from modelfleet_build.child.jobs import Spread
from modelfleet_build.delta_estimate.report import DeltaEstimate
from modelfleet_build.foreign import read_bounded
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.release.manifest import Measurements, Precision, Task
from modelfleet_core.wire import codec

REPORT_NAME = "build.json"
MAX_REPORT_BYTES = 4 * 1024 * 1024


class Outcome(StrEnum):
    """What became of the build as a whole."""

    ALL = "all"
    SOME = "some"
    NONE = "none"

    @property
    def exit_code(self) -> int:
        """Exit code of `fleetctl build` (surfaces): 0, 3 or 4."""
        return {Outcome.ALL: 0, Outcome.SOME: 3, Outcome.NONE: 4}[self]


@dataclass(frozen=True, slots=True)
class DataReport:
    """One data set that was used."""

    role: str
    samples: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ParentReport:
    """The float parent: the given model in ONNX Runtime.

    Attributes:
        value: Its metric on the validation samples, 0 to 1.
        samples: Validation samples.
        points_per_sample: What one sample is worth, in points; None where samples are right in part.
        not_finite: Validation samples that it answers with NaN or infinite values.
        golden_value: Its mean score on the golden set, None where that has no truth.
        golden_samples: Samples of the golden set.
        size_bytes: Size of the model, its external data included.
        latency_us: Median time of one sample on this machine, microseconds.
        metric: Name of the metric.
        raw_error: Its error in units of the output, for regression.
    """

    value: float
    samples: int
    points_per_sample: float | None
    not_finite: int
    golden_value: float | None
    golden_samples: int
    size_bytes: int
    latency_us: float | None
    metric: str = "top1"
    raw_error: float | None = None


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One variant that was tried.

    Attributes:
        name, precision, recipe: Which.
        accepted: It is part of the release.
        chosen: It is the builder's choice for its class.
        code, reason: Why it was refused, else empty.
        measurements: None where it was never run.
        not_finite: Validation samples it answers with NaN or infinite values.
        control: The class's float variant against itself, in the same rounds.
        pareto: No other accepted variant of the class is at least as good in metric, time and size, and
            better in one.
        convert_s, measure_s: Seconds that took.
        cached: The conversion came from the cache.
        measurement_known: So did the measurement, from the same files, data and machine.
        parameters: Everything that the recipe settled.
        tools: Versions of the tools that made it.
        notes: Plain sentences of the converter.
    """

    name: str
    precision: Precision
    recipe: str
    accepted: bool
    chosen: bool
    code: str
    reason: str
    measurements: Measurements | None
    not_finite: int
    control: Spread | None
    pareto: bool
    convert_s: float
    measure_s: float
    cached: bool
    tools: dict[str, str]
    notes: tuple[str, ...] = ()
    measurement_known: bool = False
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One device class.

    Attributes:
        name: Which.
        built: It has at least one variant.
        choice: Name of the chosen variant, empty where none was built.
        why: One sentence: why this one, or why none.
        code: Of the refusal where none was built, else empty.
        variants: In the order they were tried.
    """

    name: str
    built: bool
    choice: str
    why: str
    code: str
    variants: tuple[VariantReport, ...]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The whole build.

    Attributes:
        outcome: Whether all, some or none of the classes were built.
        release: Release id, None where none was written.
        seconds: Wall-clock time of the build.
        warnings: Plain sentences that a person should read.
        model: Path of the model on the machine that built, for `fleetctl build explain`.
        deltas: What deltas from the release named by `--previous` would cost.
    """

    name: str
    version: str
    task: Task
    created_at: datetime
    seconds: float
    outcome: Outcome
    release: str | None
    max_drop_points: float
    objective: str
    parent: ParentReport
    data: tuple[DataReport, ...]
    classes: tuple[ClassReport, ...]
    warnings: tuple[str, ...] = ()
    schema: int = 1
    model: str = ""
    deltas: tuple[DeltaEstimate, ...] = ()


def read_report(folder: Path) -> BuildReport:
    """Read the report of a release folder.

    Raises:
        CallerError: MF-1450, there is none or it cannot be read.
    """
    path = folder / REPORT_NAME
    try:
        return codec.decode(
            read_bounded(path, MAX_REPORT_BYTES), BuildReport, what=REPORT_NAME, limit=MAX_REPORT_BYTES
        )
    except (OSError, ModelfleetError) as error:
        raise CallerError(
            Code.BUILD_REPORT_UNREADABLE,
            f"{path} cannot be read: {str(error)[:200]}",
            expected="the folder that `fleetctl build` wrote",
            todo="give the folder named with -O when the release was built",
        ) from error


def pareto_front(variants: dict[str, Measurements]) -> frozenset[str]:
    """Names of the variants that no other one beats in all of metric, time and size."""

    def dominates(one: Measurements, other: Measurements) -> bool:
        ours, theirs = _costs(one), _costs(other)
        return all(a <= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs

    return frozenset(
        name
        for name, item in variants.items()
        if not any(dominates(other, item) for rival, other in variants.items() if rival != name)
    )


def _costs(item: Measurements) -> tuple[float, float, float]:
    ratio = item.latency_ratio if item.latency_ratio is not None else 1.0
    return -item.value, ratio, float(item.size_bytes)
