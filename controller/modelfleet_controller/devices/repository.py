"""SQL of devices, labels, statuses and user-defined classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, delete, exists, insert, select, update
from sqlalchemy.engine import Row

from modelfleet_core.release.device_class import DeviceClass, DeviceFacts
from modelfleet_core.wire.checkin import SlotStatus

from ..db.database import Connection
from ..db.dialect import upsert
from ..db.rows import values_of
from .tables import DEVICE, DEVICE_CLASS, DEVICE_LABEL, DEVICE_STATUS

_MANY = 500
"""Ids per query: below every database's limit of parameters."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as stored, with its labels."""

    id: str
    public_key: bytes
    name: str
    device_class: str | None
    class_reasons: tuple[str, ...]
    facts: DeviceFacts
    token_id: str
    allow_override: bool
    enrolled_at: datetime
    revoked_at: datetime | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StatusRow:
    """What a device last said."""

    device: str
    last_seen: datetime
    revision: int
    slots: tuple[SlotStatus, ...]


class DeviceRepository:
    """Devices in the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, device: DeviceRow) -> None:
        """Stores a new device and its labels."""
        await self._connection.execute(
            insert(DEVICE).values(
                id=device.id,
                public_key=device.public_key,
                name=device.name,
                device_class=device.device_class,
                class_reasons=device.class_reasons,
                facts=device.facts,
                token_id=device.token_id,
                allow_override=int(device.allow_override),
                enrolled_at=device.enrolled_at,
                revoked_at=device.revoked_at,
            )
        )
        await self.set_labels(device.id, device.labels)

    async def update_facts(self, rows: Sequence[DeviceRow]) -> None:
        """Stores name, facts, class and reasons of known devices."""
        await self._connection.execute(
            update(DEVICE)
            .where(DEVICE.c.id == bindparam("key"))
            .values(
                name=bindparam("new_name"),
                facts=bindparam("new_facts", type_=DEVICE.c.facts.type),
                device_class=bindparam("new_class"),
                class_reasons=bindparam("new_reasons", type_=DEVICE.c.class_reasons.type),
            ),
            [
                {
                    "key": row.id,
                    "new_name": row.name,
                    "new_facts": row.facts,
                    "new_class": row.device_class,
                    "new_reasons": row.class_reasons,
                }
                for row in rows
            ],
        )

    async def revoke(self, device_id: str, at: datetime) -> None:
        """Marks a device as revoked; an earlier mark stays."""
        await self._connection.execute(
            update(DEVICE)
            .where(DEVICE.c.id == device_id, DEVICE.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )

    async def set_labels(self, device_id: str, labels: Mapping[str, str]) -> None:
        """Replaces all labels of a device."""
        await self._connection.execute(delete(DEVICE_LABEL).where(DEVICE_LABEL.c.device_id == device_id))
        if labels:
            await self._connection.execute(
                insert(DEVICE_LABEL),
                [{"device_id": device_id, "key": key, "value": value} for key, value in labels.items()],
            )

    async def get(self, device_id: str) -> DeviceRow | None:
        """One device."""
        found = await self._load(select(DEVICE).where(DEVICE.c.id == device_id))
        return found[0] if found else None

    async def many(self, ids: Iterable[str]) -> list[DeviceRow]:
        """The devices of these ids that exist."""
        wanted = sorted(ids)
        found: list[DeviceRow] = []
        for start in range(0, len(wanted), _MANY):
            found += await self._load(select(DEVICE).where(DEVICE.c.id.in_(wanted[start : start + _MANY])))
        return found

    async def all(self) -> list[DeviceRow]:
        """Every device, by id. For the start of the process."""
        rows = (await self._connection.execute(select(DEVICE).order_by(DEVICE.c.id))).all()
        labels: dict[str, dict[str, str]] = {}
        for label in await self._connection.execute(select(DEVICE_LABEL)):
            labels.setdefault(label.device_id, {})[label.key] = label.value
        return [_device(row, labels.get(row.id, {})) for row in rows]

    async def page(
        self, match_labels: Mapping[str, str], device_class: str | None, after: str, limit: int
    ) -> list[DeviceRow]:
        """At most `limit` devices with ids above `after` that carry all labels and are of the class."""
        query = select(DEVICE).where(DEVICE.c.id > after)
        if device_class is not None:
            query = query.where(DEVICE.c.device_class == device_class)
        for key, value in match_labels.items():
            query = query.where(
                exists().where(
                    DEVICE_LABEL.c.device_id == DEVICE.c.id,
                    DEVICE_LABEL.c.key == key,
                    DEVICE_LABEL.c.value == value,
                )
            )
        return await self._load(query.order_by(DEVICE.c.id).limit(limit))

    async def save_statuses(self, rows: Sequence[StatusRow]) -> None:
        """Stores what devices last said."""
        if rows:
            await self._connection.execute(
                upsert(DEVICE_STATUS, ("last_seen", "revision", "slots")),
                [
                    {
                        "device_id": row.device,
                        "last_seen": row.last_seen,
                        "revision": row.revision,
                        "slots": row.slots,
                    }
                    for row in rows
                ],
            )

    async def statuses(self) -> list[StatusRow]:
        """What every device last said."""
        rows = await self._connection.execute(select(DEVICE_STATUS))
        return [StatusRow(row.device_id, row.last_seen, row.revision, row.slots) for row in rows]

    async def classes(self) -> tuple[DeviceClass, ...]:
        """User-defined classes, by name."""
        rows = await self._connection.execute(select(DEVICE_CLASS.c.body).order_by(DEVICE_CLASS.c.name))
        return tuple(row.body for row in rows)

    async def put_class(self, device_class: DeviceClass, at: datetime, person: str) -> None:
        """Stores a user-defined class under its name."""
        await self._connection.execute(
            upsert(DEVICE_CLASS, ("body", "changed_at", "changed_by")).values(
                name=device_class.name, body=device_class, changed_at=at, changed_by=person
            )
        )

    async def _load(self, query: Select[tuple[object, ...]]) -> list[DeviceRow]:
        rows = (await self._connection.execute(query)).all()
        ids = [row.id for row in rows]
        labels: dict[str, dict[str, str]] = {}
        for start in range(0, len(ids), _MANY):
            part = select(DEVICE_LABEL).where(DEVICE_LABEL.c.device_id.in_(ids[start : start + _MANY]))
            for label in await self._connection.execute(part):
                labels.setdefault(label.device_id, {})[label.key] = label.value
        return [_device(row, labels.get(row.id, {})) for row in rows]


def _device(row: Row[tuple[object, ...]], labels: Mapping[str, str]) -> DeviceRow:
    fields = values_of(row)
    fields["allow_override"] = bool(fields["allow_override"])
    return DeviceRow(labels=labels, **fields)
