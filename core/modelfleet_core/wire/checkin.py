"""`POST /v1/device/checkin`: the device says where it stands and is told what to do.

Answers: 200 with `CheckinAnswer`, or 204 when the assignment that the device named in `If-None-Match` still
holds. Every answer carries `Modelfleet-Poll-S` (seconds until the next check-in, already jittered).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..release.device_class import DeviceFacts
from .enroll import Envelope


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """Where one slot of the device stands (level-triggered: the whole truth each time).

    `state` is a `modelfleet_core.lifecycle.machine.State` value. Releases are release ids.
    """

    slot: str
    state: str
    incumbent: str | None = None
    incumbent_reference: str | None = None
    incumbent_variant: str | None = None
    candidate: str | None = None
    previous: str | None = None
    operation: str | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Checkin:
    """One check-in. `facts` only at the first one after a start and when they changed."""

    revision: int
    boot_id: str
    agent_version: str
    slots: tuple[SlotStatus, ...]
    facts: DeviceFacts | None = None
    outbox_epoch: str = ""
    schema: int = 1


@dataclass(frozen=True, slots=True)
class CheckinAnswer:
    """A director statement in its envelope; `poll_s` until the next check-in, seconds."""

    statement: Envelope
    poll_s: float
