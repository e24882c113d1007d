"""Bodies of the operators' API: what `fleetctl` sends and shows. `-o json` prints exactly these."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ..release.device_class import DeviceClass, DeviceFacts
from ..release.manifest import Manifest
from .checkin import SlotStatus


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
    """`POST /v1/releases`: digest of release.json and of each variant's bundle, all uploaded as blobs before."""

    manifest: str
    bundles: dict[str, str]


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
    """`POST /v1/rollouts` and `/v1/rollouts/plan`: the resource file's `spec`-and-`metadata` mapping as JSON text.

    `resource` is the FleetRollout resource as a JSON object (camelCase, exactly the file); read by
    `modelfleet_core.files.resource` on the controller, so that CLI and GitOps share one reader.
    """

    resource: str
    idempotency_key: str
    supersede: bool = False
    no_gates_reason: str | None = None


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
    """A rollout as everybody sees it."""

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
