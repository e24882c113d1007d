"""The agent's memory: where every slot stands and which events are not delivered, durable before anything
is done.

Opening it never fails because of what a crash left behind: a torn last line is dropped, damaged lines cost
only themselves, and where nothing of the log can be read the one before the last compaction is used. Damage
to acknowledged records starts a new outbox epoch, because sequence numbers may have been lost with them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.ids import new_id
from modelfleet_core.wire.event import MAX_EVENTS, DeviceEvent, EventBatch

from .log import Found, RecordLog
from .record import Kind, Record, SlotRecord

COMPACT_ABOVE: Final = 256 * 1024
MAX_PENDING: Final = 4096
_CHUNK: Final = 128


class Journal:
    """Slots and outbox. Safe for several threads."""

    def __init__(self, folder: Path, clock: Clock, entropy: Entropy) -> None:
        """Opens the journal of `folder`, or begins one.

        Raises:
            WorldError: MF-3004 it cannot be read or written, MF-5001 the disk is full.
        """
        self._lock = threading.Lock()
        self._clock = clock
        self._entropy = entropy
        self._slots: dict[str, SlotRecord] = {}
        self._pending: list[DeviceEvent] = []
        self._seq = 0
        self._epoch = ""
        self._sequence = 0
        self._compact_above = COMPACT_ABOVE
        found, kept = RecordLog.look(folder)
        self.damaged = found.damaged
        if not self._replay(found) and (found.damaged or found.torn or kept.records):
            # Nothing of the log can be read: what was before the last compaction is better than nothing.
            self._replay(kept)
            self.damaged += 1
        if self.damaged or not self._epoch:
            self._begin_epoch()
        try:
            self._log = RecordLog.start(folder, self._snapshot())
        except WorldError as error:
            if error.code is not Code.DISK_FULL or not found.records or self.damaged:
                raise
            # What serves must go on being looked after on a full disk too.
            self._log = RecordLog.resume(folder)

    @property
    def slots(self) -> dict[str, SlotRecord]:
        """Every slot that was ever recorded, by name."""
        with self._lock:
            return dict(self._slots)

    @property
    def epoch(self) -> str:
        """Identity of the outbox."""
        return self._epoch

    @property
    def pending(self) -> int:
        """Number of events that are not delivered."""
        with self._lock:
            return len(self._pending)

    def slot(self, name: str) -> SlotRecord:
        """What is known of a slot; an empty one where nothing is."""
        with self._lock:
            return self._slots.get(name, SlotRecord(name))

    def record(self, slot: SlotRecord, events: Sequence[DeviceEvent] = ()) -> None:
        """Makes a slot's new truth durable, together with the events it causes.

        Args:
            slot: the whole truth from now on.
            events: in order; their `sequence` is given here.

        Raises:
            WorldError: MF-5001, MF-3004; then nothing has changed.
        """
        with self._lock:
            if events and len(self._pending) + len(events) > MAX_PENDING:
                # Bounded: after years without a controller the oldest transitions matter least. Numbers may
                # have no gap, so what is left is numbered anew.
                del self._pending[: len(self._pending) + len(events) - MAX_PENDING // 2]
                self._begin_epoch()
                self._log.compact(self._snapshot())
            numbered = tuple(replace(e, sequence=self._sequence + n) for n, e in enumerate(events, 1))
            self._append(
                Record(
                    seq=self._seq + 1,
                    at=self._clock.now(),
                    kind=Kind.SLOT,
                    slot=slot.slot,
                    state=slot.state,
                    operation=slot.operation or "",
                    record=slot,
                    events=numbered,
                )
            )

    def batch(self, limit: int = MAX_EVENTS) -> EventBatch | None:
        """The oldest events that are not delivered, or None."""
        with self._lock:
            return EventBatch(self._epoch, tuple(self._pending[:limit])) if self._pending else None

    def delivered(self, epoch: str, through: int) -> None:
        """The controller has made all events of `epoch` up to and including `through` durable.

        Raises:
            WorldError: MF-5001, MF-3004; then they are sent again, and the controller knows them.
        """
        with self._lock:
            if epoch != self._epoch or not self._pending or through < self._pending[0].sequence:
                return
            through = min(through, self._sequence)
            self._append(
                Record(self._seq + 1, self._clock.now(), Kind.DELIVERED, epoch=epoch, through=through)
            )

    def renew(self) -> None:
        """Begins a new epoch: the controller misses events that are forgotten here (it was restored).

        Raises:
            WorldError: MF-5001, MF-3004.
        """
        with self._lock:
            self._begin_epoch()
            self._log.compact(self._snapshot())

    def close(self) -> None:
        """Closes the log."""
        with self._lock:
            self._log.close()

    def _append(self, record: Record) -> None:
        self._log.append(msgspec.json.encode(record))
        self._apply(record)
        if self._log.size > self._compact_above:
            try:
                self._log.compact(self._snapshot())
                self._compact_above = COMPACT_ABOVE + self._log.size
            except WorldError:
                # The record itself is safe; there may be room later.
                self._compact_above = self._log.size + COMPACT_ABOVE

    def _replay(self, found: Found) -> bool:
        """Applies the records that can be understood; whether there was one."""
        understood = False
        for data in found.records:
            try:
                record = msgspec.json.decode(data, type=Record)
            except msgspec.DecodeError:
                # Intact but not ours: written by another version. What it lacks the other records tell.
                self.damaged += 1
                continue
            understood = True
            self._apply(record)
        return understood

    def _apply(self, record: Record) -> None:
        self._seq = max(self._seq, record.seq)
        if record.kind is Kind.SLOT and record.record is not None:
            self._slots[record.record.slot] = record.record
        if record.kind is Kind.OUTBOX:
            self._epoch = record.epoch
            self._sequence = record.through
            self._pending.clear()
        elif record.kind is Kind.DELIVERED and record.epoch == self._epoch:
            self._pending[:] = [event for event in self._pending if event.sequence > record.through]
        if record.events:
            self._pending.extend(record.events)
            self._sequence = max(self._sequence, record.events[-1].sequence)

    def _begin_epoch(self) -> None:
        self._epoch = new_id("ob", self._clock.now(), self._entropy(10))
        self._pending[:] = [replace(event, sequence=n) for n, event in enumerate(self._pending, 1)]
        self._sequence = len(self._pending)

    def _snapshot(self) -> tuple[bytes, ...]:
        """The records that say all of it: the outbox, then every slot."""
        now = self._clock.now()
        records = [Record(0, now, Kind.OUTBOX, epoch=self._epoch, through=self._sequence)]
        records += [
            Record(0, now, Kind.EVENTS, events=tuple(self._pending[n : n + _CHUNK]))
            for n in range(0, len(self._pending), _CHUNK)
        ]
        records += [
            Record(0, now, Kind.SLOT, slot=s.slot, state=s.state, operation=s.operation or "", record=s)
            for s in self._slots.values()
        ]
        numbered = [replace(record, seq=self._seq + n) for n, record in enumerate(records, 1)]
        self._seq += len(numbered)
        return tuple(msgspec.json.encode(record) for record in numbered)
