"""Carries everything between device and controller: events first, then reports, then the check-in.

One round does what is due and says when the next one is. It never blocks the control loop and never gives
up: failures are waited out with a jittered backoff, and what serves goes on serving meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from modelfleet_agent.board import Board
from modelfleet_agent.facts import same
from modelfleet_agent.lifecycle.journal import Journal
from modelfleet_agent.outbox.reports import ReportSpool
from modelfleet_core import logs
from modelfleet_core.clock import Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin, CheckinAnswer
from modelfleet_core.wire.event import EventAnswer
from modelfleet_core.wire.report import ReportAnswer

from .backoff import Backoff
from .client import ControllerClient, CorrectedClock
from .director import Director
from .transport import Answer

_log = logging.getLogger(__name__)

POLL_HEADER: Final = "modelfleet-poll-s"
LONGEST_POLL_S: Final = 86_400.0
REFUSED_POLL_S: Final = 300.0
"""How often a device that the controller does not want (revoked, unknown) asks again, at least."""
FIRST_POLL_S: Final = 60.0
_UNWANTED: Final = frozenset({Code.DEVICE_REVOKED, Code.REQUEST_KEY_UNKNOWN})


class Courier:
    """Speaks with the controller. Runs in a thread of its own; `round` is not safe for several.

    Args:
        client: signs and sends.
        journal: holds the events.
        spool: holds the reports.
        director: judges statements.
        board: where the slots stand.
        clock: corrected.
        entropy: for the jitter.
        boot_id: identity of this start of the agent.
        agent_version: of this program.
        poll_floor_s: least time between two check-ins, seconds.
        arrived: called when a new statement has come.
    """

    def __init__(
        self,
        client: ControllerClient,
        journal: Journal,
        spool: ReportSpool,
        director: Director,
        board: Board,
        *,
        clock: CorrectedClock,
        entropy: Entropy,
        boot_id: str,
        agent_version: str,
        poll_floor_s: float,
        arrived: Callable[[], None],
    ) -> None:
        self._client = client
        self._journal = journal
        self._spool = spool
        self._director = director
        self._board = board
        self._clock = clock
        self._boot_id = boot_id
        self._agent_version = agent_version
        self._poll_floor_s = poll_floor_s
        self._arrived = arrived
        self._backoff = Backoff(entropy)
        self._etag: str | None = None
        self._told: DeviceFacts | None = None
        self._due = clock.monotonic()
        self._not_before = clock.monotonic()

    def round(self) -> float:
        """Does what is due; seconds until the next round (events that come up before may call for one
        sooner).
        """
        now = self._clock.monotonic()
        if now < self._not_before:
            return self._not_before - now
        try:
            self._deliver_events()
            self._deliver_reports()
            if self._clock.monotonic() >= self._due:
                self._check_in()
            self._backoff.succeeded()
        except ModelfleetError as error:
            return self._failed(error)
        return max(0.0, self._due - self._clock.monotonic())

    def _deliver_events(self) -> None:
        """Semantics section 4, "Exactly once": what is acknowledged is forgotten, everything else is sent
        again.
        """
        while (batch := self._journal.batch()) is not None:
            body = self._client.exchange("POST", "/v1/device/events", codec.encode(batch)).answer.body
            answer = codec.decode(body, EventAnswer, what="the answer to events")
            self._board.answered(self._clock.now())
            if answer.epoch == batch.epoch and 0 <= answer.through < batch.events[0].sequence - 1:
                # The controller misses events that are forgotten here: it was restored from a backup.
                logs.warning(_log, "outbox.renewed", through=answer.through)
                self._journal.renew()
                continue
            if answer.epoch != batch.epoch or answer.through < batch.events[0].sequence:
                raise CallerError(
                    Code.CONTROLLER_ANSWER,
                    f"of the events from {batch.events[0].sequence} on none was taken",
                    expected="at least the first",
                    todo="nothing: they are sent again; look at the controller's log if it lasts",
                )
            self._journal.delivered(answer.epoch, answer.through)

    def _deliver_reports(self) -> None:
        while (batch := self._spool.batch()) is not None:
            # By which clock the windows were cut: the controller shifts them by the difference to its own.
            told = replace(batch, sent_unix_s=self._clock.uncorrected().timestamp())
            try:
                body = self._client.exchange("POST", "/v1/device/reports", codec.encode(told)).answer.body
                codec.decode(body, ReportAnswer, what="the answer to reports")
            except CallerError as error:
                if error.code in _UNWANTED or error.code is Code.REQUEST_CLOCK:
                    raise
                # Evidence that the controller cannot read would block all that comes after it.
                logs.warning(_log, "reports.refused", code=error.code.value, reason=error.happened)
            self._board.answered(self._clock.now())
            self._spool.sent(batch)

    def _check_in(self) -> None:
        facts = self._board.facts
        changed = self._told is None or not same(facts, self._told)
        checkin = Checkin(
            revision=self._director.revision,
            boot_id=self._boot_id,
            agent_version=self._agent_version,
            slots=self._board.slots,
            facts=facts if changed else None,
            outbox_epoch=self._journal.epoch,
        )
        # A statement that does not hold any more must be replaced, whatever the controller thinks of its age.
        headers = {"If-None-Match": self._etag} if self._etag and self._director.holds() else {}
        signed = self._client.exchange("POST", "/v1/device/checkin", codec.encode(checkin), headers)
        answer = signed.answer
        poll_s = _poll_s(answer)
        if answer.status != 204:
            said = codec.decode(answer.body, CheckinAnswer, what="the answer to the check-in")
            poll_s = said.poll_s if poll_s is None else poll_s
            try:
                statement = self._director.accept(said.statement, signed.nonce)
            except IntegrityError:
                self._etag = None
                raise
            self._etag = answer.headers.get("etag")
            logs.info(_log, "statement.accepted", revision=statement.revision, slots=len(statement.slots))
            self._arrived()
        self._told = facts
        poll_s = min(max(FIRST_POLL_S if poll_s is None else poll_s, self._poll_floor_s), LONGEST_POLL_S)
        self._backoff.within(poll_s)
        self._board.answered(self._clock.now(), poll_s)
        self._due = self._clock.monotonic() + poll_s

    def _failed(self, error: ModelfleetError) -> float:
        wait_s = max(self._poll_floor_s, self._backoff.failed())
        if error.code in _UNWANTED:
            wait_s = max(wait_s, REFUSED_POLL_S)
        if self._backoff.failures == 1 or error.code is not Code.CONTROLLER_UNREACHABLE:
            logs.warning(
                _log, "controller.failed", code=error.code.value, reason=error.happened, wait_s=wait_s
            )
        self._board.not_answered(self._clock.now(), error, self._backoff.failures)
        self._not_before = self._clock.monotonic() + wait_s
        return wait_s


def _poll_s(answer: Answer) -> float | None:
    """Seconds that the header asks for; None where it does not, or not in numbers."""
    try:
        seconds = float(answer.headers.get(POLL_HEADER, "")[:32])
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None
