"""How a rollout begins: read, checked against fleet and releases, first cutoffs resolved; one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from modelfleet_core.files.resource import FleetRollout, from_json, read_rollout, write_rollout
from modelfleet_core.gates.words import count
from modelfleet_core.ids import new_id
from modelfleet_core.release.matching import match_variant
from modelfleet_core.rollout.assignment import KnownRelease
from modelfleet_core.rollout.progress import ClassState, Ending
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import PlanClass, PlanView, RolloutCreate

from ..audit.service import Entry, append
from ..controller import Controller
from ..db.database import Connection
from ..hot.board import Board
from ..ticker.cutoffs import cutoff_of
from ..ticker.members import Member, eligible, members_of
from ..ticker.service import advance
from ..unit import Unit
from . import refusals
from .repository import RolloutRepository
from .stored import StoredClass, StoredRollout

MAX_REASONS: Final = 5


@dataclass(frozen=True, slots=True)
class Draft:
    """A rollout that could begin. `fitting`: classes with at least one device that a variant fits."""

    resource: FleetRollout
    release: KnownRelease
    members: Mapping[str, list[Member]]
    fitting: tuple[str, ...]

    def no_variant(self, device_class: str) -> list[str]:
        """`device: reason` of the members that nothing fits."""
        return [
            f"{member.subject.device}: "
            + match_variant(member.subject.facts, device_class, self.release.manifest).sentence()
            for member in self.members[device_class]
            if not member.fits
        ]


def read(body: RolloutCreate) -> FleetRollout:
    """The resource of a request.

    Raises:
        CallerError: MF-10xx with the path of the field.
    """
    return read_rollout(from_json(body.resource), no_gates_reason=body.no_gates_reason)


def draft(board: Board, resource: FleetRollout, rollout: StoredRollout | None = None) -> Draft:
    """Who would take part.

    Raises:
        CallerError: MF-1602 no such release, MF-1651 the selector matches nobody, MF-1652 nothing fits.
    """
    plan = resource.plan
    release = next(
        (known for known in board.releases.values() if known.manifest.reference() == plan.release), None
    )
    if release is None:
        raise refusals.no_release(plan.release)
    probe = rollout or _row(resource, release.id, salt="", rollout_id="", person="", now=_NEVER)
    members = members_of(board, probe, release)
    if not members:
        raise refusals.nobody(dict(plan.match_labels))
    fitting = tuple(sorted(name for name, found in members.items() if any(m.fits for m in found)))
    found = Draft(resource, release, members, fitting)
    if not fitting:
        reasons = [reason for name in sorted(members) for reason in found.no_variant(name)]
        raise refusals.no_variant(plan.release, reasons[:MAX_REASONS])
    return found


async def begin(
    controller: Controller,
    unit: Unit,
    resource: FleetRollout,
    person: str,
    *,
    supersede: bool = False,
    only_classes: tuple[str, ...] = (),
) -> StoredRollout:
    """Stores a new rollout with its first stage and raises the revision.

    Raises:
        CallerError: as `draft`; MF-1650 another rollout is active on the slot and some of the devices.
    """
    now = controller.clock.now()
    rollouts = RolloutRepository(unit.connection)
    release_id = _release_id(controller.board, resource)
    rollout_id = new_id("ro", now, controller.entropy(10))
    rollout = _row(
        resource,
        release_id,
        salt=controller.entropy(16).hex(),
        rollout_id=rollout_id,
        person=person,
        now=now,
    )
    rollout = replace(rollout, only_classes=only_classes)
    drafted = draft(controller.board, resource, rollout)
    await _make_room(controller, unit, drafted, rollout, person, supersede, now)
    await rollouts.add(rollout)
    for name in drafted.fitting:
        await _begin_class(controller, unit.connection, rollout, drafted, name, now)
    await append(
        unit.connection,
        Entry(
            at=now,
            rollout=rollout.id,
            device_class="",
            action="create",
            person=person,
            sentence=f"CREATED {rollout.name}: {resource.plan.release} to "
            f"{count(sum(len(m) for m in drafted.members.values()), 'device')} of "
            f"{', '.join(drafted.fitting)}" + weaker(resource),
            evidence=resource,
        ),
    )
    unit.reassign()
    return rollout


def dry_run(board: Board, resource: FleetRollout, now: datetime) -> PlanView:
    """Who would get what; nobody is touched.

    Raises:
        CallerError: as `draft`.
    """
    drafted = draft(board, resource)
    plan = resource.plan
    classes: list[PlanClass] = []
    warnings: list[str] = []
    for name, members in sorted(drafted.members.items()):
        fitting = [member for member in members if member.fits]
        variant = None
        size = 0
        if fitting:
            chosen = match_variant(fitting[0].subject.facts, name, drafted.release.manifest).variant
            variant = chosen
            size = 0 if chosen is None else sum(file.size for file in chosen.files)
        unseen = sum(not member.recent(now) for member in fitting)
        if unseen:
            warnings.append(f"{name}: {count(unseen, 'device')} not seen for 24 h; no seat is kept for them")
        if len(fitting) < plan.min_devices_of(0) and fitting:
            warnings.append(
                f"{name}: {count(len(fitting), 'device')}, fewer than minDevices {plan.min_devices_of(0)}: "
                "promotion will hold for a person"
            )
        stages = [
            f"{stage.name}: {stage.mode.value}, "
            + (f"{stage.devices} devices" if stage.devices is not None else f"{stage.percent:g} %")
            for stage in plan.stages
        ]
        classes.append(
            PlanClass(
                device_class=name,
                devices=len(members),
                variant=None if variant is None else variant.name,
                bytes_per_device=size,
                stages=tuple(stages),
                no_variant=tuple(drafted.no_variant(name)),
            )
        )
    if plan.small_fleet:
        warnings.append("small-fleet plan: weaker evidence")
    gates = tuple(f"{gate.metric.value}: tolerance {gate.tolerance:g}" for gate in plan.gates)
    devices = sum(len(members) for members in drafted.members.values())
    return PlanView(plan.release, devices, tuple(classes), gates, tuple(warnings))


def weaker(resource: FleetRollout) -> str:
    """What has to be said about a plan that promotes on few devices (semantics section 2)."""
    return "; small-fleet plan: weaker evidence" if resource.plan.small_fleet else ""


_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _release_id(board: Board, resource: FleetRollout) -> str:
    for known in board.releases.values():
        if known.manifest.reference() == resource.plan.release:
            return known.id
    raise refusals.no_release(resource.plan.release)


def _row(
    resource: FleetRollout, release_id: str, *, salt: str, rollout_id: str, person: str, now: datetime
) -> StoredRollout:
    return StoredRollout(
        id=rollout_id,
        name=resource.name,
        slot=resource.plan.slot,
        release_id=release_id,
        operation=f"{rollout_id}/1",
        salt=salt,
        plan=resource.plan,
        resource=codec.encode(write_rollout(resource)).decode(),
        only_classes=(),
        created_at=now,
        created_by=person,
    )


async def _make_room(
    controller: Controller,
    unit: Unit,
    drafted: Draft,
    rollout: StoredRollout,
    person: str,
    supersede: bool,
    now: datetime,
) -> None:
    """Semantics section 1: a newer rollout for the same slot and devices needs `--supersede`."""
    rollouts = RolloutRepository(unit.connection)
    mine = {member.subject.device for members in drafted.members.values() for member in members}
    rivals: list[StoredRollout] = []
    for other in await rollouts.active():
        if other.slot != rollout.slot:
            continue
        theirs = members_of(controller.board, other, controller.board.releases[other.release_id])
        if any(member.subject.device in mine for members in theirs.values() for member in members):
            rivals.append(other)
    if rivals and not supersede:
        raise refusals.conflict(rollout.slot, [other.name for other in rivals])
    for other in rivals:
        reason = f"by {rollout.name} ({rollout.plan.release}), {person}"
        await rollouts.put(replace(other, ending=Ending.SUPERSEDE.value, ending_reason=reason))
        await advance(controller, unit, other.id, now, person=person)


async def _begin_class(
    controller: Controller,
    connection: Connection,
    rollout: StoredRollout,
    drafted: Draft,
    name: str,
    now: datetime,
) -> None:
    rollouts = RolloutRepository(connection)
    free = eligible(drafted.members[name], {}, now)
    cutoff = cutoff_of(rollout.plan, 0, {}, free, {}, now)
    below = sum(cutoff.holds(member.place, member.subject.joined_at) for member in free)
    await rollouts.put_class(
        StoredClass(
            rollout_id=rollout.id,
            device_class=name,
            state=ClassState.RUNNING,
            stage=0,
            stage_started_at=now,
            cohort=cutoff.seats(below),
            baseline=_baseline(controller.board, rollout, drafted, name),
        )
    )
    await rollouts.add_stage(rollout.id, name, 0, cutoff, now)


def _baseline(board: Board, rollout: StoredRollout, drafted: Draft, name: str) -> str | None:
    """Release id of the newest baseline that governs devices of this class and selector."""
    labels = drafted.members[name][0].subject.labels
    found = [
        baseline
        for baseline in board.baselines
        if baseline.slot == rollout.slot
        and baseline.device_class == name
        and all(labels.get(key) == value for key, value in baseline.match_labels.items())
    ]
    return max(found, key=lambda baseline: baseline.since).release.id if found else None
