"""Why a rollout or a verb is refused, in words."""

from __future__ import annotations

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.gates.words import listed


def no_release(reference: str) -> CallerError:
    """The release was never pushed."""
    return CallerError(
        Code.NOT_FOUND,
        f"there is no release {reference!r}",
        expected="a release that was pushed to this controller",
        todo="`fleetctl release list` shows them; `fleetctl release push DIR` brings one",
    )


def no_rollout(name: str) -> CallerError:
    """Nobody made that rollout."""
    return CallerError(
        Code.NOT_FOUND,
        f"there is no rollout {name[:80]!r}",
        expected="an id or name that `fleetctl rollout list` shows",
        todo="look it up",
    )


def nobody(labels: dict[str, str]) -> CallerError:
    """The selector matches no device."""
    said = ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "every device"
    return CallerError(
        Code.ROLLOUT_NOBODY,
        f"the selector ({said}) matches no enrolled device that has a class",
        expected="a selector that matches at least one device",
        todo="`fleetctl device list` shows devices and labels; enrol devices or correct spec.selector",
    )


def no_variant(reference: str, reasons: list[str]) -> CallerError:
    """No selected device can run the release."""
    return CallerError(
        Code.ROLLOUT_NO_VARIANT,
        f"{reference} has no variant that fits any selected device: {listed(reasons)}",
        expected="a variant for the class of at least one selected device",
        todo="build the release for these classes (`fleetctl build --class ...`) or correct spec.selector",
    )


def conflict(slot: str, others: list[str]) -> CallerError:
    """Another rollout is under way on the same slot and devices."""
    return CallerError(
        Code.ROLLOUT_CONFLICT,
        f"slot {slot} has an active rollout on some of the same devices: {listed(others)}",
        expected="one active rollout for a slot and a device",
        todo="wait for it, abort it, or pass --supersede to end it in favour of this one",
    )


def not_now(verb: str, state: str, allowed: str) -> CallerError:
    """The verb has no meaning in the rollout's state."""
    return CallerError(
        Code.VERB_NOT_NOW,
        f"{verb}: the rollout is {state}",
        expected=f"a rollout that is {allowed}",
        todo="`fleetctl rollout status` shows where it stands",
    )


def reason_missing(verb: str) -> CallerError:
    """The verb overrides evidence, so somebody has to say why."""
    return CallerError(
        Code.REASON_MISSING,
        f"{verb} was asked for without a reason",
        expected="--reason with a few words; they stand in the decision log",
        todo="repeat it with --reason",
    )


def reused(key: str) -> CallerError:
    """The idempotency key stands for another request."""
    return CallerError(
        Code.IDEMPOTENCY_REUSED,
        f"idempotency key {key[:64]!r} was used before for a different request",
        expected="a new key for each request, the same key only for its repetition",
        todo="send it with a new key",
    )


def unknown_classes(names: list[str], known: list[str]) -> CallerError:
    """Classes that the rollout does not have."""
    return CallerError(
        Code.NOT_FOUND,
        f"the rollout has no class {listed(names)}",
        expected=f"one of {listed(known)}",
        todo="correct --class",
    )


def all_classes_only(verb: str) -> CallerError:
    """The verb cannot be restricted to some classes in this version."""
    return CallerError(
        Code.FIELD_NOT_SUPPORTED,
        f"{verb} was restricted to some classes",
        expected=f"{verb} for the whole rollout: not supported per class in this version",
        todo=f"repeat {verb} without --class",
    )
