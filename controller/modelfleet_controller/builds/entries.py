"""What the decision log says of builds; `rollout` of the entry is the build's id."""

from __future__ import annotations

from datetime import datetime

from modelfleet_core.wire.build import BuildOutcome, BuildState

from ..audit.service import Entry
from .repository import StoredBuild

_BECAME = {0: "every class was built", 3: "some classes were built", 4: "no class could be built"}


def ordered(build: StoredBuild) -> Entry:
    """Somebody ordered a build."""
    spec = build.spec
    sentence = f"ORDERED build of {_name(build)} for {', '.join(spec.classes)} by {build.created_by}"
    return _entry(build, build.created_at, "build", build.created_by, sentence, spec)


def cancel_asked(build: StoredBuild, person: str, reason: str, now: datetime) -> Entry:
    """Somebody wants its end."""
    why = f": {reason}" if reason else ""
    return _entry(
        build, now, "build-cancel", person, f"CANCELLED build of {_name(build)} by {person}{why}", None
    )


def ended(build: StoredBuild, state: BuildState, outcome: BuildOutcome, now: datetime) -> Entry:
    """It is over."""
    refusal = outcome.refusal
    became = f"{refusal.code}: {refusal.happened}" if refusal is not None else _BECAME[outcome.exit_code]
    release = f"; release {outcome.release}, unsigned" if outcome.release is not None else ""
    sentence = f"{state.value.upper()} build of {_name(build)}: {became}{release}"
    return _entry(build, now, "build-end", "controller", sentence, outcome)


def _name(build: StoredBuild) -> str:
    return f"{build.spec.name}:{build.spec.version}"


def _entry(
    build: StoredBuild, at: datetime, action: str, person: str, sentence: str, evidence: object
) -> Entry:
    return Entry(at, build.id, "", action, person, sentence, evidence)
