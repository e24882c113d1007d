"""Scene 7: a thief of the controller cannot make a device run what our release key did not sign.

Each attack gets past the controller on purpose (`forge.py`), so that it is the device that has to refuse.
What the device answers is then read as an operator reads it: by `fleetctl rollout status`.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.wire.operator import RolloutDevice

from . import forge
from .fleet import SLOT, Device
from .processes import program
from .report import RefusalRow
from .rollouts import name_of, resource
from .world import World

VICTIM = "ort-2"
CLASS = "x86-onnxruntime"
SOURCE = "1.0"
GONE = frozenset({"refused", "failed", "rolled_back"})


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: what it is, the version under which it is rolled out, and the codes that may answer it."""

    what: str
    version: str
    codes: tuple[Code, ...]


TAMPERED = Attack("a tampered blob", "6.6.1", (Code.FILE_DIGEST,))
UNSIGNED = Attack("an unsigned release", "6.6.2", (Code.ENVELOPE_SIGNATURES,))
STRANGER = Attack("a release signed by a stranger's key", "6.6.3", (Code.SIGNER_UNKNOWN,))


def refusals(world: World) -> None:
    """Three attacks, one after the other, on one device; it goes on serving what it had."""
    victim = world.fleet.device(VICTIM)
    world.operator.label(victim.id, {"site": "demo", "victim": "yes"})
    for attack, prepare in ((TAMPERED, _tampered), (UNSIGNED, _unsigned), (STRANGER, _stranger)):
        world.screen.doing(f"{attack.what} is put past the controller")
        folder = world.places.releases / attack.version
        forge.derive(world.places.releases / SOURCE, folder, attack.version, only_class=CLASS)
        prepare(world, folder, attack)
        _attack(world, victim, attack)


def _tampered(world: World, folder: Path, attack: Attack) -> None:
    """Signed and pushed as it should be; then the blob is changed where the controller keeps it."""
    world.operator.sign(folder)
    world.operator.push(folder)
    for digest in forge.model_digests(world.operator.release(f"{SLOT}:{attack.version}").manifest):
        forge.tamper(world.places.controller / "blobs", digest)


def _unsigned(world: World, folder: Path, attack: Attack) -> None:
    """The front door is closed; the thief stops the controller, changes its database and starts it again."""
    world.operator.sign(folder)
    signed = forge.bundles_of(folder)
    stripped = {name: forge.strip_signature(data) for name, data in signed.items()}
    try:
        world.operator.push_with(folder, stripped)
        world.record.check("the controller refuses an unsigned release at the door", False, "it took it")
    except ModelfleetError as error:
        row = RefusalRow(what=attack.what, where="controller", code=error.code.value, reason=error.happened)
        world.record.refusals.append(row)
        world.record.check("the controller refuses an unsigned release at the door", True, error.code.value)
    world.operator.push(folder)
    digests = {name: world.operator.upload(data) for name, data in stripped.items()}
    view = world.operator.release(f"{SLOT}:{attack.version}")
    world.fleet.stop_controller()
    forge.replace_bundles(world.places.controller / "modelfleet.db", view.id, {**view.bundles, **digests})
    world.fleet.restart_controller()


def _stranger(world: World, folder: Path, attack: Attack) -> None:
    """The thief makes the controller trust another key; the devices keep to the trust file they were
    given."""
    key = world.operator.make_stranger()
    world.operator.sign(folder, key=key)
    world.operator.push(folder)


def _attack(world: World, victim: Device, attack: Attack) -> None:
    before = victim.counts()
    changes: dict[str, object] = {"selector": {"matchLabels": {"victim": "yes"}}, "minDevices": 1}
    text = resource(
        "slow-is-fine", f"{SLOT}:{attack.version}", name_of(attack.version), {**changes, "limits": {}}
    )
    ran = world.rollouts.run(text)
    seen = next((device for device in ran.view.devices if device.name == victim.name), None)
    shown = _status(world, ran.view.id)
    after = victim.counts().since(before)
    answered = after.answers.get(ran.view.release_id, 0)
    good = (
        seen is not None
        and seen.outcome in GONE
        and seen.code in {code.value for code in attack.codes}
        and bool(seen.reason)
        and seen.code in shown
        and answered == 0
        and after.served > 0
        and after.failed == after.dropped == 0
    )
    if seen is not None:
        world.record.refusals.append(
            RefusalRow(what=attack.what, where=seen.name, code=seen.code or "", reason=seen.reason or "")
        )
    world.record.check(f"{attack.what} is refused on the device, as fleetctl shows", good, _said(seen))


def _said(seen: RolloutDevice | None) -> str:
    return (
        f"{seen.outcome}: {seen.code} {seen.reason}"
        if seen is not None
        else "the device is not in the rollout"
    )


def _status(world: World, rollout: str) -> str:
    """What `fleetctl rollout status` prints."""
    done = subprocess.run(
        [program("fleetctl"), *world.operator.flags(), "rollout", "status", rollout],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout
