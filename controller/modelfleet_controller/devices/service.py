"""Rules of devices: who may enrol, which class a device has, what its labels may be."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import device_id, is_name
from modelfleet_core.release.device_class import DeviceClass, DeviceFacts
from modelfleet_core.release.matching import match_class
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.trust.keys import Ed25519Public, ed25519_public_from_raw
from modelfleet_core.wire.enroll import EnrollRequest

from ..auth.repository import Token
from ..auth.service import TokenService, label_problem
from ..db.database import Connection
from .repository import DeviceRepository, DeviceRow

MAX_NAME = 128
MAX_RUNTIMES = 32


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device that is enrolled now; `new` = it was not before."""

    device: DeviceRow
    new: bool


def read_key(request: EnrollRequest) -> Ed25519Public:
    """The key that an enrolment introduces.

    Raises:
        CallerError: MF-1612 not base64, MF-2001, MF-2002.
    """
    try:
        raw = base64.b64decode(request.public_key.encode("ascii", "replace"), validate=True)
    except binascii.Error as error:
        raise CallerError(
            Code.DEVICE_REQUEST,
            "the public key is not base64",
            expected="32 raw bytes of an Ed25519 key in base64",
            todo="update the agent",
        ) from error
    return ed25519_public_from_raw(raw)


def check_facts(facts: DeviceFacts) -> None:
    """Refuses facts that no device has.

    Raises:
        CallerError: MF-1601.
    """
    texts = [facts.architecture, facts.os, facts.agent_version, *facts.accelerators, *facts.overridden]
    texts += [*facts.runtimes, *facts.runtimes.values()]
    if (
        any(len(text) > 128 for text in texts)
        or len(facts.runtimes) > MAX_RUNTIMES
        or len(facts.accelerators) > MAX_RUNTIMES
        or len(facts.overridden) > MAX_RUNTIMES
        or min(facts.memory_bytes, facts.free_disk_bytes, facts.cpus) < 0
        or max(facts.memory_bytes, facts.free_disk_bytes, facts.cpus) > 1 << 60
    ):
        raise CallerError(
            Code.BODY_INVALID,
            "the facts hold a text above 128 characters, too many entries or a number out of range",
            expected=f"plain facts, at most {MAX_RUNTIMES} of a kind",
            todo="correct [facts.override], or update the agent",
        )


def class_of(facts: DeviceFacts, classes: Sequence[DeviceClass]) -> tuple[str | None, tuple[str, ...]]:
    """Class and, for every other class, why not."""
    match = match_class(facts, classes)
    reasons = tuple(f"{no.name}: {no.reason}" for no in match.refused)
    return (match.device_class.name if match.device_class else None), reasons


class DeviceService:
    """Rules of devices over one transaction."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._devices = DeviceRepository(connection)
        self._clock = clock

    async def enrol(self, request: EnrollRequest, key: Ed25519Public, tokens: TokenService) -> Enrolled:
        """Takes a device in. The same key again gives the same device and spends nothing.

        Raises:
            CallerError: MF-1603 to MF-1606 token, MF-1608 overridden facts, MF-1609 labels, MF-1611 revoked,
                MF-1601.
        """
        check_facts(request.facts)
        _check_name(request.name)
        identity = device_id(key.raw)
        known = await self._devices.get(identity)
        if known is not None:
            if known.revoked_at is not None:
                raise revoked(identity)
            check_override(known.allow_override, request.facts)
            device = with_facts(known, request.name, request.facts, await self.classes())
            await self._devices.update_facts((device,))
            return Enrolled(device, new=False)
        token = await tokens.enrolment(request.token)
        check_override(token.allow_override, request.facts)
        labels = _labels(request.labels, token)
        await tokens.spend(token)
        device_class, reasons = class_of(request.facts, await self.classes())
        device = DeviceRow(
            id=identity,
            public_key=key.raw,
            name=request.name,
            device_class=device_class,
            class_reasons=reasons,
            facts=request.facts,
            token_id=token.id,
            allow_override=token.allow_override,
            enrolled_at=self._clock.now(),
            revoked_at=None,
            labels=labels,
        )
        await self._devices.add(device)
        return Enrolled(device, new=True)

    async def new_facts(self, device: str, facts: DeviceFacts) -> DeviceRow:
        """Takes over what a device says about itself now.

        Raises:
            CallerError: MF-1601, MF-1602, MF-1608.
        """
        check_facts(facts)
        known = await self.get(device)
        check_override(known.allow_override, facts)
        changed = with_facts(known, known.name, facts, await self.classes())
        await self._devices.update_facts((changed,))
        return changed

    async def get(self, device: str) -> DeviceRow:
        """One device.

        Raises:
            CallerError: MF-1602.
        """
        found = await self._devices.get(device)
        if found is None:
            raise CallerError(
                Code.NOT_FOUND,
                f"there is no device {device[:80]!r}",
                expected="an id that `fleetctl device list` shows",
                todo="look the id up",
            )
        return found

    async def set_labels(self, device: str, labels: dict[str, str]) -> DeviceRow:
        """Replaces a device's labels.

        Raises:
            CallerError: MF-1601, MF-1602.
        """
        problem = label_problem(labels)
        if problem:
            raise CallerError(
                Code.BODY_INVALID,
                problem,
                expected="plain keys, values of 1 to 63 characters",
                todo="correct the label",
            )
        found = await self.get(device)
        await self._devices.set_labels(device, labels)
        return replace(found, labels=labels)

    async def revoke(self, device: str) -> DeviceRow:
        """Ends all belief in a device's key, at once.

        Raises:
            CallerError: MF-1602.
        """
        found = await self.get(device)
        at = found.revoked_at or self._clock.now()
        await self._devices.revoke(device, at)
        return replace(found, revoked_at=at)

    async def classes(self) -> tuple[DeviceClass, ...]:
        """Shipped classes, then user-defined ones."""
        return (*SHIPPED, *await self._devices.classes())

    async def put_class(self, device_class: DeviceClass, person: str) -> list[DeviceRow]:
        """Stores a user-defined class; gives the devices whose class changed by it.

        Raises:
            CallerError: MF-1640 a shipped class has that name.
        """
        if any(shipped.name == device_class.name for shipped in SHIPPED):
            raise CallerError(
                Code.CLASS_SHIPPED,
                f"class {device_class.name} is shipped with Modelfleet",
                expected="a name of your own",
                todo="give your class another name and a higher priority",
            )
        await self._devices.put_class(device_class, self._clock.now(), person)
        classes = await self.classes()
        changed: list[DeviceRow] = []
        for device in await self._devices.all():
            again = with_facts(device, device.name, device.facts, classes)
            if again.device_class != device.device_class or again.class_reasons != device.class_reasons:
                changed.append(again)
        if changed:
            await self._devices.update_facts(changed)
        return changed


def with_facts(device: DeviceRow, name: str, facts: DeviceFacts, classes: Sequence[DeviceClass]) -> DeviceRow:
    """The device with these facts, and the class that follows from them."""
    device_class, reasons = class_of(facts, classes)
    return replace(device, name=name, facts=facts, device_class=device_class, class_reasons=reasons)


def check_override(allowed: bool, facts: DeviceFacts) -> None:
    """Refuses configured facts where the device's token does not allow them.

    Raises:
        CallerError: MF-1608.
    """
    if facts.overridden and not allowed:
        raise CallerError(
            Code.OVERRIDE_NOT_ALLOWED,
            f"facts are configured instead of measured: {', '.join(facts.overridden)[:200]}",
            expected="measured facts, or a token made with --allow-override",
            todo="remove [facts.override] from the agent's config, or enrol with such a token",
        )


def revoked(device: str) -> CallerError:
    """The refusal of a revoked device."""
    return CallerError(
        Code.DEVICE_REVOKED,
        f"device {device} was revoked",
        expected="a device that this fleet trusts",
        todo="enrol it anew with a new key if that was a mistake",
    )


def _check_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise CallerError(
            Code.BODY_INVALID,
            f"the device's name {name[:40]!r} is not a name",
            expected=f"1 to {MAX_NAME} printable characters",
            todo="correct `name` in the agent's config",
        )


def _labels(asked: dict[str, str], token: Token) -> dict[str, str]:
    """The device's own labels and the token's; the token has the last word, openly."""
    problem = label_problem({**asked, **token.labels})
    if problem:
        raise CallerError(
            Code.BODY_INVALID,
            problem,
            expected="at most 32 plain labels",
            todo="correct the labels",
        )
    for key, value in token.labels.items():
        if asked.get(key, value) != value:
            raise CallerError(
                Code.LABEL_CONFLICT,
                f"the device asks for {key}={asked[key]}, its token says {key}={value}",
                expected="the token's labels",
                todo=f"drop {key} from the agent's labels or use another token",
            )
    return {**asked, **token.labels}


def parse_selector(text: str) -> dict[str, str]:
    """`site=north,floor=2` as labels.

    Raises:
        CallerError: MF-1601.
    """
    labels: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not is_name(key.strip()) or not 0 < len(value.strip()) <= 63 or len(labels) >= 32:
            raise CallerError(
                Code.BODY_INVALID,
                f"selector {text[:200]!r} cannot be read",
                expected="k=v,k2=v2",
                todo="correct the selector",
            )
        labels[key.strip()] = value.strip()
    return labels
