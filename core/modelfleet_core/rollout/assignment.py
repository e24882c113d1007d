"""What one device shall run: rollouts and baselines x device -> slot assignments, at every check-in. Pure.

Rule 1 (semantics section 1): a device belongs to a rollout through its selector, its class and its position
below the cutoff; nothing is stored per device but what it told (its outcome).
Rule 2: who took part in a class that ended badly is told to go back (WITHDRAWN) until it says that it did.
Rule 3: of two active rollouts on one slot the older wins; the other waits (semantics section 1, conflict).
Rule 4: a device that failed, refused or came back in a rollout gets nothing more from it, only the baseline.
Rule 5: everyone else gets the newest baseline of (slot, selector, class); a rolled-back release never is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.release.manifest import Manifest
from modelfleet_core.release.matching import match_variant
from modelfleet_core.rollout.cohort import Cutoff, mode_of, position
from modelfleet_core.rollout.gate import Metric
from modelfleet_core.rollout.plan import RolloutPlan
from modelfleet_core.rollout.progress import ClassState, DeviceOutcome
from modelfleet_core.wire.director import Mode, SlotAssignment

BASELINE_OPERATION: Final = "baseline:"
GONE: Final = frozenset({DeviceOutcome.FAILED, DeviceOutcome.ROLLED_BACK, DeviceOutcome.REFUSED})
"""Outcomes after which a device has nothing more of the rollout (rule 4)."""
UNCOMMITTED: Final = frozenset(
    {DeviceOutcome.DOWNLOADING, DeviceOutcome.SHADOWING, DeviceOutcome.PROBATION, DeviceOutcome.SILENT}
)


@dataclass(frozen=True, slots=True)
class KnownRelease:
    """A release that may be assigned: manifest, and the digest of each variant's bundle."""

    id: str
    manifest: Manifest
    bundles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClassStanding:
    """One class of a rollout.

    Attributes:
        state: where it stands.
        cutoffs: of the stages begun so far, in order; the last is the current stage's.
        taken: devices that take part now (accepted and not gone); late joiners wait when the seats are full.
        baseline: release id that the class had when the rollout was made, or None.
        leave: it was aborted with `--leave`: who serves the release keeps it.
    """

    state: ClassState
    cutoffs: tuple[Cutoff, ...]
    taken: int = 0
    baseline: str | None = None
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """One rollout as assignments see it. `operation` is its attempt's identity; `salt` orders the devices."""

    id: str
    operation: str
    salt: str
    plan: RolloutPlan
    release: KnownRelease
    created_at: datetime
    classes: Mapping[str, ClassStanding]
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """What (slot, selector, class) runs when no rollout says otherwise."""

    slot: str
    match_labels: Mapping[str, str]
    device_class: str
    release: KnownRelease
    since: datetime


@dataclass(frozen=True, slots=True)
class Subject:
    """The device: id, class, labels, facts, since when it is known, and its outcome per rollout id."""

    device: str
    device_class: str | None
    labels: Mapping[str, str]
    facts: DeviceFacts
    joined_at: datetime
    outcomes: Mapping[str, DeviceOutcome] = field(default_factory=dict)


def selects(match_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `labels` carry all of `match_labels`; an empty selector selects every device."""
    return all(labels.get(key) == value for key, value in match_labels.items())


def assign(
    subject: Subject, rollouts: Iterable[Standing], baselines: Sequence[Baseline]
) -> tuple[SlotAssignment, ...]:
    """The slots of one device, sorted by name; a slot about which nothing is to be said is left out.

    Args:
        subject: the device.
        rollouts: active ones, and ended ones from which devices may still have to come back.
        baselines: of all slots, selectors and classes.
    """
    if subject.device_class is None:
        return ()
    decided: dict[str, SlotAssignment] = {}
    ordered = sorted(rollouts, key=lambda rollout: (rollout.created_at, rollout.id))
    for rollout in ordered:
        back = _withdrawal(subject, rollout)
        if back is not None:
            decided[back.slot] = back  # the latest wrong step is taken back first
    for rollout in ordered:
        if rollout.plan.slot not in decided:
            onward = _participation(subject, rollout)
            if onward is not None:
                decided[onward.slot] = onward
    for baseline in sorted(baselines, key=lambda item: item.since, reverse=True):
        if baseline.slot not in decided:
            rest = _baseline(subject, baseline)
            if rest is not None:
                decided[rest.slot] = rest
    return tuple(decided[slot] for slot in sorted(decided))


def _withdrawal(subject: Subject, rollout: Standing) -> SlotAssignment | None:
    """Rule 2."""
    outcome = subject.outcomes.get(rollout.id)
    standing = rollout.classes.get(subject.device_class or "")
    if standing is None or outcome is None or outcome in GONE or outcome is DeviceOutcome.NOT_REACHED:
        return None
    serving = outcome in (DeviceOutcome.COMMITTED, DeviceOutcome.PROBATION)
    if standing.state is ClassState.ROLLED_BACK:
        goes_back = True
    elif standing.state is ClassState.ABORTED:
        goes_back = not (standing.leave and serving)
    else:  # superseded: what is committed is the next rollout's incumbent
        goes_back = standing.state is ClassState.SUPERSEDED and outcome in UNCOMMITTED
    return _assignment(subject, rollout, standing, Mode.WITHDRAWN) if goes_back else None


def _participation(subject: Subject, rollout: Standing) -> SlotAssignment | None:
    """Rules 1, 3, 4: shadow or live, or nothing from this rollout."""
    standing = rollout.classes.get(subject.device_class or "")
    if standing is None:
        return None
    outcome = subject.outcomes.get(rollout.id)
    if outcome in GONE:
        return None
    takes_part = outcome is not None and outcome is not DeviceOutcome.NOT_REACHED
    if standing.state is ClassState.COMPLETED or (standing.state is ClassState.ABORTED and standing.leave):
        # who is on the way arrives under the operation it began with
        on_the_way = takes_part and outcome is not DeviceOutcome.COMMITTED
        return _assignment(subject, rollout, standing, Mode.LIVE) if on_the_way else None
    if standing.state.ended or not standing.cutoffs:
        return None
    if not takes_part:
        if rollout.paused or not selects(rollout.plan.match_labels, subject.labels):
            return None
        if not standing.cutoffs[-1].has_seat(standing.taken):
            return None
    mode = mode_of(
        position(rollout.salt, subject.device), subject.joined_at, rollout.plan.stages, standing.cutoffs
    )
    if mode is None:
        if not takes_part:
            return None
        mode = Mode.SHADOW if outcome is not DeviceOutcome.COMMITTED else Mode.LIVE
    return _assignment(subject, rollout, standing, mode)


def _baseline(subject: Subject, baseline: Baseline) -> SlotAssignment | None:
    """Rule 5."""
    if baseline.device_class != subject.device_class or not selects(baseline.match_labels, subject.labels):
        return None
    variant = match_variant(subject.facts, baseline.device_class, baseline.release.manifest).variant
    if variant is None or variant.name not in baseline.release.bundles:
        return None
    release = baseline.release
    return SlotAssignment(
        slot=baseline.slot,
        operation=f"{BASELINE_OPERATION}{release.id[:16]}",
        release=release.id,
        reference=release.manifest.reference(),
        variant=variant.name,
        bundle=release.bundles[variant.name],
        mode=Mode.LIVE,
    )


def _assignment(
    subject: Subject, rollout: Standing, standing: ClassStanding, mode: Mode
) -> SlotAssignment | None:
    """None where no variant fits: the device is `refused` in the view, with `match_variant`'s sentence."""
    plan, release = rollout.plan, rollout.release
    variant = match_variant(subject.facts, subject.device_class or "", release.manifest).variant
    if variant is None or variant.name not in release.bundles:
        return None
    golden = plan.gate(Metric.GOLDEN)
    extra = {} if golden is None else {"golden_tolerance_points": 100.0 * golden.tolerance}
    return SlotAssignment(
        slot=plan.slot,
        operation=rollout.operation,
        release=release.id,
        reference=release.manifest.reference(),
        variant=variant.name,
        bundle=release.bundles[variant.name],
        mode=mode,
        baseline=standing.baseline,
        window_s=plan.window_s,
        probation_s=plan.probation_s,
        bandwidth=plan.bandwidth,
        reverse_share=plan.reverse_share,
        rollout=rollout.id,
        **extra,
    )
