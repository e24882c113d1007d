"""Check-ins: signed statements, 204, half of a statement's life, revisions, poll intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_controller.hot.polling import poll_s
from modelfleet_controller.hot.statement import digest_of, still_holds
from modelfleet_core.wire.director import Mode, SlotAssignment

from .kit import START, in_loop, rig

SLOT = SlotAssignment("digits", "ro_1/1", "a" * 64, "digits:1.0", "v", "b" * 64, Mode.SHADOW, rollout="ro_1")


@in_loop
async def test_a_first_check_in_gets_a_statement_and_then_none(tmp_path: Path) -> None:
    async with rig(tmp_path, statement_life_s=1000.0) as one:
        device = await one.device("d")
        statement = await device.check_in()  # signature, device, nonce, revision and expiry are checked
        assert statement is not None
        assert statement.slots == ()
        assert (statement.expires_at - statement.issued_at).total_seconds() == 1000.0
        assert statement.revision == one.controller.board.revision
        one.clock.advance(499)
        assert await device.check_in() is None
        one.clock.advance(2)
        renewed = await device.check_in()
        assert renewed is not None
        assert renewed.issued_at == one.clock.now()


@in_loop
async def test_an_etag_of_somebody_else_means_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d")
        await device.check_in()
        for etag in (
            '"x"',
            "",
            '"0-' + "0" * 32 + '"',
            'W/"1-2"',
            '"fffffffffff-' + (device.etag or "")[-33:],
        ):
            device.etag = etag
            assert await device.check_in() is not None


@in_loop
async def test_a_statement_holds_across_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d")
        await device.check_in()
        clock, revision = one.clock, device.revision
    clock.advance(1)
    async with rig(tmp_path, clock) as again:
        device.rig = again
        assert await device.check_in() is None
        device.etag = None
        statement = await device.check_in()
        assert statement is not None
        assert statement.revision >= revision


@in_loop
async def test_unrelated_changes_raise_the_revision_but_send_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device, other = await one.device("d"), await one.device("other")
        await device.check_in()
        await one.call("PUT", f"/v1/devices/{other.id}/labels", {"a": "b"}, expect=200)
        assert await device.check_in() is None
        assert device.revision == one.controller.board.revision - 1


@in_loop
async def test_a_device_that_holds_a_higher_revision_is_not_believed(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d")
        before = one.controller.board.revision
        device.revision = 1 << 40
        answer = await device.send("/v1/device/checkin", device.checkin_body())
        assert answer.status_code == 200
        assert one.controller.board.revision == before


@in_loop
async def test_the_poll_interval_is_dictated(tmp_path: Path) -> None:
    async with rig(tmp_path, poll_s=60.0) as one:
        device = await one.device("d")
        seen = set()
        for _ in range(20):
            await device.check_in()
            seen.add(device.poll_s)
        assert all(54.0 <= seconds <= 66.0 for seconds in seen)
        assert len(seen) > 15


@pytest.mark.parametrize(
    ("base", "window", "low", "high"),
    [
        (60.0, None, 54.0, 66.0),
        (60.0, 300.0, 13.5, 16.5),
        (60.0, 20.0, 4.5, 5.5),
        (60.0, 2.0, 0.9, 1.1),
        (1.0, 2.0, 0.9, 1.1),
        (0.2, 2.0, 0.18, 0.22),
    ],
)
def test_poll_inside_and_outside_of_a_rollout(
    base: float, window: float | None, low: float, high: float
) -> None:
    slots = () if window is None else (replace(SLOT, window_s=window),)
    drawn = [poll_s(base, slots, str(nonce)) for nonce in range(200)]
    assert low - 0.001 <= min(drawn) < low + 0.02 * base
    assert high + 0.001 >= max(drawn)
    assert poll_s(base, slots, "n") == poll_s(base, slots, "n")


def test_a_baseline_is_no_rollout() -> None:
    baseline = SlotAssignment("digits", "baseline:a", "a" * 64, "digits:1.0", "v", "b" * 64, Mode.LIVE)
    assert 54.0 <= poll_s(60.0, (baseline,), "n") <= 66.0


def test_etags() -> None:
    digest = digest_of((SLOT,))
    assert digest != digest_of(())
    tag = f'"{int(START.timestamp()):x}-{digest}"'
    assert still_holds(tag, digest, START, 10.0)
    assert not still_holds(tag, digest_of(()), START, 10.0)
    assert not still_holds(None, digest, START, 10.0)
    assert not still_holds(f'"{int(START.timestamp()) + 60:x}-{digest}"', digest, START, 10.0)
    assert not still_holds(f'"{int(START.timestamp()) - 5:x}-{digest}"', digest, START, 10.0)
