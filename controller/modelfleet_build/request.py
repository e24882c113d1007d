"""What a build is asked for, checked at the door."""

from __future__ import annotations

import difflib
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from modelfleet_build.machine import processor
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import is_name, is_version
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Decoder, Precision, Task
from modelfleet_core.release.shipped_classes import SHIPPED

MIB = 1024 * 1024
MAX_SEARCH = 1000
MAX_JOBS = 256


class Objective(StrEnum):
    """What the best variant of a class is, among those within the budget."""

    LATENCY = "latency"
    SIZE = "size"
    MEMORY = "memory"
    ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child process may take, and how much is measured.

    Attributes:
        convert_s: Seconds for one conversion.
        measure_s: Seconds for one measurement.
        memory_bytes: Resident memory of a child and its children.
        validation_samples: Validation samples used at most, from the first.
        calibration_samples: Calibration samples used at most, from the first.
        tuning_samples: Of the calibration samples, set apart from the end to choose settings by; a fifth of
            them at most.
        tuning_s: Seconds that accuracy control may take for one variant that loses too much; 0 = none.
        rounds: Rounds of the latency comparison.
        calls_per_round: Calls of each model in a round.
        latency_s: Seconds after which no further round is started.
    """

    convert_s: float = 900.0
    measure_s: float = 900.0
    memory_bytes: int = 4096 * MIB
    validation_samples: int = 2000
    calibration_samples: int = 256
    tuning_samples: int = 64
    tuning_s: float = 120.0
    rounds: int = 20
    calls_per_round: int = 12
    latency_s: float = 10.0


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One build: a model, its data, the classes, the budget.

    Attributes:
        model: The ONNX file.
        name: Name of the release; also the slot it fills on devices.
        version: Version of the release.
        classes: Names of the device classes to build for.
        validation: `.npz` with `images` and their truth, used for the budget.
        output: Release folder to write; must not exist.
        calibration: `.npz` with `images`, needed for int8.
        golden: `.npz` with `images` and their truth for the devices; absent = set apart from the validation
            set.
        task: What the model does.
        decoder: Detection: from raw outputs to boxes; None = the only bundled one that fits.
        max_drop_points: Largest loss of the metric against the float parent, in points (0 to 100).
        objective: What "best" means among the variants within the budget; None = what each class says, and
            latency where it says nothing.
        precisions: Instead of the recipes of the classes, see `registry.recipes_for`.
        companion: The model in another form for the converters that need it (`.pt2` for ExecuTorch).
        previous: Folder of an earlier release; what deltas from it would cost is estimated.
        known_classes: Every class that may be named.
        cache: Folder of converted variants, None = convert everything.
        environments: Folder of isolated environments, None = refuse what needs one.
        limits: See `Limits`.
        machine: Architecture of the builder, as `uname` spells it.
        processor: What measurements of time depend on, the model and number of processors.
        jobs: Classes that are built at once, each on its share of the processors; 0 = as many as processors.
        search: Variants that a search may try for each class beyond its recipes; 0 = no search.
        nice: Added to the children's niceness, 0 to 19.
        labels: Free words for the manifest.
    """

    model: Path
    name: str
    version: str
    classes: tuple[str, ...]
    validation: Path
    output: Path
    calibration: Path | None = None
    golden: Path | None = None
    task: Task = Task.CLASSIFICATION
    decoder: Decoder | None = None
    max_drop_points: float = 1.0
    objective: Objective | None = None
    precisions: tuple[Precision, ...] | None = None
    companion: Path | None = None
    previous: Path | None = None
    known_classes: tuple[DeviceClass, ...] = SHIPPED
    cache: Path | None = None
    environments: Path | None = None
    limits: Limits = field(default_factory=Limits)
    machine: str = field(default_factory=platform.machine)
    processor: str = field(default_factory=processor)
    jobs: int = 0
    search: int = 0
    nice: int = 0
    labels: tuple[str, ...] = ()


def check_request(request: BuildRequest) -> tuple[DeviceClass, ...]:
    """Refuse a request that cannot be built; returns its classes.

    Raises:
        CallerError: MF-1423 (name, version, budget), MF-1420 (class), MF-1421 (precision), MF-1422 (output).
    """
    if not is_name(request.name) or not is_version(request.version):
        raise _refused(
            f"the release is called {request.name!r}:{request.version!r}",
            "a name of lower-case letters, digits, '.', '_', '-', and a version of these, capitals and '+'",
        )
    if not 0 <= request.max_drop_points <= 100:
        raise _refused(f"the budget is {request.max_drop_points:g} points", "0 to 100 points")
    if not 0 <= request.search <= MAX_SEARCH:
        raise _refused(f"a search of {request.search} variants", f"0 to {MAX_SEARCH}")
    if not 0 <= request.jobs <= MAX_JOBS:
        raise _refused(f"{request.jobs} classes at once", f"0 to {MAX_JOBS}")
    if not request.limits.tuning_s >= 0:
        raise _refused(f"{request.limits.tuning_s:g} s for accuracy control", "0 s or more")
    if not 0 <= request.nice <= 19:
        raise _refused(f"nice is {request.nice}", "0 to 19")
    if request.output.exists():
        raise exists(request.output)
    if request.companion is not None and not request.companion.is_file():
        raise _refused(f"there is no file {request.companion}", "the model in its other form")
    if not request.classes:
        raise _refused("no device class is named", "at least one class")
    return tuple(_class(name, request.known_classes) for name in dict.fromkeys(request.classes))


def exists(output: Path) -> CallerError:
    """The refusal of a release folder that is there, at the door or when another build was quicker."""
    return CallerError(
        Code.BUILD_OUTPUT_EXISTS,
        f"{output} exists already",
        expected="a folder that is not there yet; a release is never overwritten",
        todo="choose another folder, or remove this one",
    )


def _class(name: str, known: Iterable[DeviceClass]) -> DeviceClass:
    by_name = {item.name: item for item in known}
    if name in by_name:
        return by_name[name]
    nearest = difflib.get_close_matches(name, by_name, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise CallerError(
        Code.BUILD_CLASS_UNKNOWN,
        f"there is no device class {name!r}",
        expected=f"one of {', '.join(sorted(by_name))}",
        todo=f"{hint}correct --class, or add a class of your own with --class-file FILE",
    )


def _refused(happened: str, expected: str) -> CallerError:
    return CallerError(Code.BUILD_REQUEST, happened, expected=expected, todo="correct the option")
