"""Builds that a controller runs: what is ordered, how far it is, what became of it.

`BuildSpec` is also what the job's folder holds (`modelfleet_build.job`), so that a build means the same to
the person who orders it, to the controller and to the process or container that does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelfleet_core.ids import is_digest, is_file_name, is_name, is_version
from modelfleet_core.release.device_class import OBJECTIVES, DeviceClass
from modelfleet_core.release.manifest import Decoder, Precision, Task

MAX_CLASSES = 64
MAX_SEARCH = 1000
MAX_TUNING_S = 86_400.0


class InputRole(StrEnum):
    """What an input file of a build is for."""

    MODEL = "model"
    VALIDATION = "validation"
    CALIBRATION = "calibration"
    GOLDEN = "golden"
    COMPANION = "companion"


NEEDED = frozenset({InputRole.MODEL, InputRole.VALIDATION})


@dataclass(frozen=True, slots=True)
class BuildInput:
    """One input file: its plain name, which stands in the release's lineage, and its sha256."""

    role: InputRole
    name: str
    sha256: str

    def __post_init__(self) -> None:
        """Refuses names that are paths, and what is no digest."""
        if not is_file_name(self.name):
            raise ValueError(f"input {self.name[:80]!r} is not a plain file name")
        if not is_digest(self.sha256):
            raise ValueError(f"input {self.name}: {self.sha256[:80]!r} is not a sha256 in lower-case hex")


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What to build, whole: nothing else but the input files is needed.

    Attributes:
        name, version: Of the release.
        task: What the model does.
        classes: Names of device classes: shipped ones, or of `device_classes`.
        inputs: One file per role at most; model and validation data are needed.
        device_classes: Definitions of classes that are not shipped, or instead of shipped ones.
        decoder: Detection; None = the only one that fits.
        max_drop_points: Largest loss against the float parent, 0 to 100 points.
        objective: What the best variant is, empty = what the classes say.
        precisions: Instead of those of the classes; empty = theirs.
        search: Variants that a search may try for each class, 0 = none.
        tuning_s: Seconds of accuracy control for one variant, 0 = none.
    """

    name: str
    version: str
    task: Task
    classes: tuple[str, ...]
    inputs: tuple[BuildInput, ...]
    device_classes: tuple[DeviceClass, ...] = ()
    decoder: Decoder | None = None
    max_drop_points: float = 1.0
    objective: str = ""
    precisions: tuple[Precision, ...] = ()
    search: int = 0
    tuning_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuses what cannot be meant, before anything is stored."""
        if not is_name(self.name) or not is_version(self.version):
            raise ValueError(f"{self.name[:80]!r}:{self.version[:80]!r} cannot name a release")
        if not 1 <= len(self.classes) <= MAX_CLASSES or len(self.device_classes) > MAX_CLASSES:
            raise ValueError(f"classes are 1 to {MAX_CLASSES}")
        if not all(is_name(item) for item in self.classes):
            raise ValueError("a device class is not a plain name")
        roles = [item.role for item in self.inputs]
        if len(set(roles)) != len(roles):
            raise ValueError("two inputs have the same role")
        if missing := sorted(NEEDED - set(roles)):
            raise ValueError(f"there is no input of the role {missing[0]}")
        if not 0 <= self.max_drop_points <= 100:
            raise ValueError(f"max_drop_points is {self.max_drop_points}; it must be 0 to 100")
        if self.objective and self.objective not in OBJECTIVES:
            raise ValueError(f"objective {self.objective[:80]!r} is none of {', '.join(OBJECTIVES)}")
        if not 0 <= self.search <= MAX_SEARCH or not 0 <= self.tuning_s <= MAX_TUNING_S:
            raise ValueError(f"search is 0 to {MAX_SEARCH}, tuning_s 0 to {MAX_TUNING_S:g}")

    def input(self, role: InputRole) -> BuildInput | None:
        """The file of that role."""
        return next((item for item in self.inputs if item.role is role), None)


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """`POST /v1/builds`: inputs were uploaded as blobs before."""

    spec: BuildSpec
    idempotency_key: str

    def __post_init__(self) -> None:
        """Bounds what is stored."""
        if not 1 <= len(self.idempotency_key) <= 128 or not self.idempotency_key.isprintable():
            raise ValueError("idempotency_key is not 1 to 128 printable characters")


class BuildState(StrEnum):
    """Where a build stands. `failed` = no release: refused, no class could be built, or its job died."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Nothing happens to it any more."""
        return self not in (BuildState.QUEUED, BuildState.RUNNING)


@dataclass(frozen=True, slots=True)
class BuildRefusal:
    """Why a build ended without a result: an error as data."""

    code: str
    happened: str
    expected: str
    todo: str


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """How a build ended: `exit_code` as of `fleetctl build` (0 all classes, 3 some, 4 none, 1 refused)."""

    exit_code: int
    release: str | None = None
    refusal: BuildRefusal | None = None


@dataclass(frozen=True, slots=True)
class BuildFile:
    """A file of the result, a blob: POSIX path in the release folder, sha256, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far it is: share that is done, 0 to 1, and the last line."""

    fraction: float = 0.0
    line: str = ""


@dataclass(frozen=True, slots=True)
class BuildView:
    """A build as everybody sees it. `files`: of the release folder, or `build.json` alone where no class
    could be built; it is not signed and not registered, see `fleetctl build fetch`.
    """

    id: str
    state: BuildState
    spec: BuildSpec
    created_at: datetime
    created_by: str
    progress: BuildProgress = BuildProgress()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancelled_by: str | None = None
    outcome: BuildOutcome | None = None
    files: tuple[BuildFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Builds:
    """`GET /v1/builds`: newest first, without their files."""

    items: tuple[BuildView, ...]


class BuildVerb(StrEnum):
    """Operations on a build."""

    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class BuildOperation:
    """`POST /v1/builds/{id}/operations`. Repeating it changes nothing."""

    verb: BuildVerb
    reason: str = ""

    def __post_init__(self) -> None:
        """Bounds what is stored."""
        if len(self.reason) > 1000:
            raise ValueError("the reason has more than 1000 characters")
