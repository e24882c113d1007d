"""Bodies of the operators' API: what `fleetctl` sends and shows. `-o json` prints exactly these."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelfleet_core.ids import is_digest, is_name
from modelfleet_core.release.device_class import DeviceClass, DeviceFacts
from modelfleet_core.release.manifest import MAX_VARIANTS, Manifest

from .checkin import SlotStatus
from .enroll import check_labels


class Scope(StrEnum):
    """What an API token may do; each includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RELEASER = "releaser"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`POST /v1/tokens`. kind `enrolment` or `api`; lives `ttl_s` seconds; `max_uses` for enrolment only."""

    kind: str
    name: str
    ttl_s: float
    scope: Scope | None = None
    max_uses: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    allow_override: bool = False

    def __post_init__(self) -> None:
        """Refuses what makes no token; how long and how often is the controller's policy."""
        if self.kind not in ("enrolment", "api"):
            raise ValueError(f"kind {self.kind[:80]!r} is neither `enrolment` nor `api`")
        if len(self.name) > 128 or not self.name.isprintable():
            raise ValueError("the name is not up to 128 printable characters")
        if not 0 < self.ttl_s < 1e10 or self.max_uses < 1:
            raise ValueError(f"ttl_s {self.ttl_s} or max_uses {self.max_uses} is not above 0")
        check_labels(self.labels)


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token without its secret; `secret` only in the answer that makes it, once."""

    id: str
    kind: str
    name: str
    scope: Scope | None
    created_at: datetime
    expires_at: datetime
    uses: int
    max_uses: int
    revoked: bool
    allow_override: bool = False
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class ReleasePush:
    """`POST /v1/releases`: digests of release.json and of each variant's bundle, uploaded before."""

    manifest: str
    bundles: dict[str, str]

    def __post_init__(self) -> None:
        """Refuses what cannot name a release's blobs."""
        if len(self.bundles) > MAX_VARIANTS:
            raise ValueError(f"{len(self.bundles)} bundles; at most {MAX_VARIANTS} are allowed")
        if not is_digest(self.manifest) or not all(
            is_name(n) and is_digest(d) for n, d in self.bundles.items()
        ):
            raise ValueError("manifest and bundles are named by sha256 in lower-case hex, bundles by variant")


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """A release that the controller holds."""

    id: str
    reference: str
    created_at: datetime
    pushed_at: datetime
    signed_by: tuple[str, ...]
    manifest: Manifest
    bundles: dict[str, str]


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as the operator sees it."""

    id: str
    name: str
    device_class: str | None
    class_reasons: tuple[str, ...]
    labels: dict[str, str]
    facts: DeviceFacts
    enrolled_at: datetime
    last_seen: datetime | None
    revoked: bool
    revision: int
    slots: tuple[SlotStatus, ...]


@dataclass(frozen=True, slots=True)
class RolloutCreate:
    """`POST /v1/rollouts` and `/v1/rollouts/plan`: the resource file as JSON text.

    `resource` is the FleetRollout resource as a JSON object (camelCase, exactly the file); read by
    `modelfleet_core.files.resource` on the controller, so that CLI and GitOps share one reader.
    """

    resource: str
    idempotency_key: str
    supersede: bool = False
    no_gates_reason: str | None = None

    def __post_init__(self) -> None:
        """Bounds what is stored."""
        _check_operation(self.idempotency_key, self.no_gates_reason or "")


class Verb(StrEnum):
    """Operations on a rollout (semantics section 3)."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    RETRY = "retry"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Operation:
    """`POST /v1/rollouts/{id}/operations`. `classes` empty = all classes."""

    verb: Verb
    idempotency_key: str
    reason: str = ""
    full: bool = False
    leave: bool = False
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Bounds what is stored."""
        _check_operation(self.idempotency_key, self.reason)
        if len(self.classes) > 256 or not all(is_name(c) for c in self.classes):
            raise ValueError("classes are up to 256 plain names")


@dataclass(frozen=True, slots=True)
class OperationAnswer:
    """What the verb did; `rollout` is a new id for undo and retry."""

    rollout: str
    done: str


@dataclass(frozen=True, slots=True)
class PlanClass:
    """Dry run of one class: who would get what."""

    device_class: str
    devices: int
    variant: str | None
    bytes_per_device: int
    stages: tuple[str, ...]
    no_variant: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanView:
    """Answer of `/v1/rollouts/plan`."""

    release: str
    devices: int
    classes: tuple[PlanClass, ...]
    gates: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GateView:
    """One gate of one class: numbers behind the verdict."""

    metric: str
    verdict: str
    effect: float | None
    tolerance: float | None
    evidence: float
    needed: float
    promote_evidence: float
    promote_needed: float
    reports: int
    devices: int
    set_aside: int
    sentence: str


@dataclass(frozen=True, slots=True)
class ClassView:
    """One class of a rollout. `outcomes` counts devices by outcome (architecture section 5)."""

    device_class: str
    state: str
    stage: int
    stage_name: str
    stage_mode: str
    stages: int
    stage_started_at: datetime | None
    outcome: str | None
    stopped_in: str | None
    stopped_by: str | None
    reason: str
    outcomes: dict[str, int]
    gates: tuple[GateView, ...]
    live_answers_by_candidate: int = 0
    evidence: float | None = None
    stage_history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutDevice:
    """One device in a rollout."""

    device: str
    name: str
    device_class: str
    outcome: str
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout as everybody sees it. `bytes_sent`: what its devices say that they received for it."""

    id: str
    name: str
    release: str
    release_id: str
    slot: str
    created_at: datetime
    created_by: str
    state: str
    outcome: str | None
    reason: str
    small_fleet: bool
    classes: tuple[ClassView, ...]
    devices: tuple[RolloutDevice, ...] = ()
    finished_at: datetime | None = None
    resource: str = ""
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One link of the decision log; `hash` = sha256(previous hash | canonical body)."""

    sequence: int
    at: datetime
    rollout: str
    device_class: str
    action: str
    person: str
    sentence: str
    body: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class TrustView:
    """`GET /v1/trust`: public keys only. Keys as PEM (SubjectPublicKeyInfo)."""

    audience: str
    release_keys: tuple[str, ...]
    director_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Releases:
    """`GET /v1/releases`."""

    items: tuple[ReleaseView, ...]


@dataclass(frozen=True, slots=True)
class Devices:
    """`GET /v1/devices?selector=k=v,k2=v2&class=NAME&after=ID&limit=N`."""

    items: tuple[DeviceView, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Rollouts:
    """`GET /v1/rollouts`, newest first."""

    items: tuple[RolloutView, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """`GET /v1/tokens`."""

    items: tuple[TokenView, ...]


@dataclass(frozen=True, slots=True)
class Classes:
    """`GET /v1/classes`."""

    items: tuple[DeviceClass, ...]


@dataclass(frozen=True, slots=True)
class Decisions:
    """`GET /v1/audit?rollout=ID`: the decision log."""

    items: tuple[DecisionView, ...]


def _check_operation(key: str, reason: str) -> None:
    if not 1 <= len(key) <= 128 or not key.isprintable():
        raise ValueError("idempotency_key is not 1 to 128 printable characters")
    if len(reason) > 1000:
        raise ValueError("the reason has more than 1000 characters")
