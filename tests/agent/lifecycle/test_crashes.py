"""kill -9 before and after every durable or visible effect, in every state; then the agent starts again.

The points are not chosen: a first run counts every write, rename, request and word to serve that it passes,
and then the same story is told once for each of them, with the agent killed there. The table says what must
come out: the same chain, the same events once and in order, nothing left over, and serve never without the
release that was committed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfleet_agent.lifecycle.journal import Journal
from modelfleet_agent.lifecycle.log import RecordLog
from modelfleet_core.error_codes import Code
from modelfleet_core.lifecycle.machine import CANDIDATE_ANSWERS, State
from modelfleet_core.wire.director import Mode

from tests.agent.device import Device, Killed, Reaper
from tests.agent.fakes import FakeController
from tests.agent.releases import Release, release

COMMITTED = ["accepted", "downloaded", "shadowing", "switched", "committed"]
ROUNDS = 60


@dataclass(frozen=True)
class Story:
    """One course of a rollout.

    Attributes:
        events: what the controller hears, in order.
        holds: (incumbent, previous) at the end.
        prepare: what is special about it.
        act: called before every round; makes things happen by looking at where the slot stands.
    """

    name: str
    events: list[str]
    holds: tuple[str | None, str | None]
    prepare: Callable[[Device, Release], None] = lambda device, new: None
    act: Callable[[Device, Release], None] = lambda device, new: None
    installed: bool = True


def live_after_shadow(device: Device, new: Release) -> None:
    if device.record.state is State.SHADOWING and device.controller.assignments[0].mode is Mode.SHADOW:
        device.controller.reassign(mode=Mode.LIVE)


def withdraw_in(state: State) -> Callable[[Device, Release], None]:
    def act(device: Device, new: Release) -> None:
        if state is not State.SHADOWING:
            live_after_shadow(device, new)
        there = device.record.state is state and device.record.operation == "op-2"
        if there and (state is not State.IDLE or device.holds()[0] == "digits:1.1"):
            device.controller.reassign(mode=Mode.WITHDRAWN)

    return act


def fall_on_probation(device: Device, new: Release) -> None:
    live_after_shadow(device, new)
    if device.record.state is State.PROBATION and device.serve.active["digits"] == new.id:
        device.serve.fall("digits")


def tamper(device: Device, new: Release) -> None:
    digest = new.manifest.variants[0].files[2].sha256
    device.controller.blobs[digest] = b"x" * len(device.controller.blobs[digest])


STORIES = [
    Story("first install", COMMITTED, ("digits:1.1", None), act=live_after_shadow, installed=False),
    Story("upgrade", COMMITTED, ("digits:1.1", "digits:1.0"), act=live_after_shadow),
    Story(
        "withdrawn in shadow",
        ["accepted", "downloaded", "shadowing", "rolled_back"],
        ("digits:1.0", None),
        act=withdraw_in(State.SHADOWING),
    ),
    Story(
        "withdrawn on probation",
        ["accepted", "downloaded", "shadowing", "switched", "rolled_back"],
        ("digits:1.0", None),
        act=withdraw_in(State.PROBATION),
    ),
    Story(
        "withdrawn when committed",
        [*COMMITTED, "rolled_back"],
        ("digits:1.0", None),
        act=withdraw_in(State.IDLE),
    ),
    Story(
        "falls back on probation",
        ["accepted", "downloaded", "shadowing", "switched", "rolled_back"],
        ("digits:1.0", None),
        act=fall_on_probation,
    ),
    Story(
        "cannot be loaded",
        ["accepted", "downloaded", "failed"],
        ("digits:1.0", None),
        prepare=lambda device, new: device.serve.broken.update(
            {new.id: (Code.MODEL_LOAD_FAILED.value, "no")}
        ),
    ),
    Story("tampered", ["accepted", "refused"], ("digits:1.0", None), prepare=tamper),
    Story(
        "cut off again and again",
        COMMITTED,
        ("digits:1.1", "digits:1.0"),
        prepare=lambda device, new: device.controller.breaks_after.extend([9999, 9999, 100, 50, 9, 500, 7]),
        act=live_after_shadow,
    ),
]


@contextmanager
def reaped(reaper: Reaper) -> Iterator[None]:
    """Puts a point before and after every effect of the agent."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (os, "replace"),
            (os, "rename"),
            (os, "posix_fallocate"),
            (Path, "unlink"),
            (RecordLog, "append"),
            (RecordLog, "compact"),
            (Journal, "delivered"),
            (FakeController, "open"),
        ):
            patch.setattr(owner, name, _wrapped(getattr(owner, name), name, reaper))
        yield


def _wrapped(real: Callable[..., object], name: str, reaper: Reaper) -> Callable[..., object]:
    def effect(*arguments: object, **named: object) -> object:
        if "status.json" in str(arguments[0]):  # for people; nothing depends on it
            return real(*arguments, **named)
        reaper.point(f"before {name}")
        result = real(*arguments, **named)
        reaper.point(f"after {name}")
        return result

    return effect


def begin(root: Path, story: Story) -> tuple[Device, Release]:
    """A device up to the moment in which the story begins."""
    device = Device(root, FakeController(poll_s=0.5))
    old = release("1.0", device.controller.release_key).put(device.controller)
    new = release("1.1", device.controller.release_key).put(device.controller)
    if story.installed:
        device.controller.assign(old.assignment("op-1", Mode.LIVE, probation_s=0.0))
        device.until(lambda: device.holds()[0] == "digits:1.0")
        device.settle()
        device.controller.events.clear()
    story.prepare(device, new)
    mode = Mode.SHADOW if story.events[2:3] == ["shadowing"] else Mode.LIVE
    device.controller.assign(
        new.assignment("op-2", mode, probation_s=3.0, baseline=old.id if story.installed else None)
    )
    return device, new


def tell(device: Device, new: Release, story: Story, reaper: Reaper) -> list[State]:
    """The story from its beginning to its end, through the death that the reaper holds ready; states
    visited.
    """
    visited: list[State] = []
    ends = 0
    for _ in range(ROUNDS):
        try:
            with reaped(reaper):
                story.act(device, new)
                device.round()
        except Killed:
            device.kill()
            device.serve.reaper = Reaper()
            device.start()
            ends = 0
        if not visited or visited[-1] is not device.record.state:
            visited.append(device.record.state)
        check(device, story)
        quiet = device.record.state is State.IDLE and not device.agent.journal.pending
        ends = ends + 1 if quiet and len(device.controller.events) >= len(story.events) else 0
        if ends > 2:
            break
    return visited


def rounds(device: Device, new: Release) -> None:
    for _ in range(ROUNDS):
        live_after_shadow(device, new)
        device.round()


def check(device: Device, story: Story) -> None:
    """What holds at every moment, whatever died."""
    chain = device.record.chain
    if story.installed:
        assert chain.incumbent is not None
        assert device.serve.active.get("digits") is not None
    for installed in (chain.incumbent, chain.previous):
        if installed is not None:
            assert (device.agent.folder.store / f"{installed.release}.{installed.variant}").is_dir()
    if chain.candidate is not None and device.record.state not in {*CANDIDATE_ANSWERS, State.ROLLING_BACK}:
        assert device.serve.active.get("digits") != chain.candidate.release
    for row in device.serve.rows.values():
        for ref in (row.incumbent, row.candidate, row.previous):
            assert ref is None or Path(ref.folder).is_dir()


def finish(device: Device, story: Story) -> None:
    """What must come out."""
    assert device.record.state is State.IDLE
    assert device.holds() == story.holds
    assert device.controller.kinds() == story.events
    sequences = [event.sequence for event in device.controller.events]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    held = device.record.chain.held()
    kept = {f"{i.release}.{i.variant}{end}" for i in held for end in ("", ".sigstore.json")}
    assert set(device.folders()) == kept
    incumbent = device.record.chain.incumbent
    assert device.serve.active["digits"] == (incumbent.release if incumbent is not None else None)
    left = [path.name for path in device.agent.folder.root.rglob("*.partial")]
    assert left == []


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name.replace(" ", "-"))
def test_killed_at_every_point(story: Story, tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    counted = Reaper()
    device, new = begin(tmp_path / "n", story)
    device.serve.reaper = counted
    tell(device, new, story, counted)
    finish(device, story)
    device.agent.close()
    points = len(counted.passed)
    assert points > 30
    for point in range(points):
        reaper = Reaper(kill_at=point)
        device, new = begin(tmp_path / str(point), story)
        device.serve.reaper = reaper
        try:
            tell(device, new, story, reaper)
            finish(device, story)
        except AssertionError as error:
            error.add_note(f"killed at point {point}: {counted.passed[point]}")
            raise
        finally:
            device.kill()
        assert device.starts == 2


# The table of states: where a start goes on that finds each of them in the journal.

RESUMED = [
    (State.VERIFYING, [State.VERIFYING, State.RESERVING, State.DOWNLOADING, State.CHECKING, State.LOADING]),
    (State.RESERVING, [State.RESERVING, State.DOWNLOADING, State.CHECKING, State.LOADING]),
    (State.DOWNLOADING, [State.RESERVING, State.DOWNLOADING, State.CHECKING, State.LOADING]),
    (State.CHECKING, [State.RESERVING, State.DOWNLOADING, State.CHECKING, State.LOADING]),
    (State.LOADING, [State.LOADING, State.SHADOWING, State.SWITCHING, State.PROBATION]),
    (State.SHADOWING, [State.SHADOWING, State.SWITCHING, State.PROBATION, State.COMMITTING]),
    (State.SWITCHING, [State.SWITCHING, State.PROBATION, State.COMMITTING, State.CLEANING]),
    (State.PROBATION, [State.PROBATION, State.COMMITTING, State.CLEANING, State.IDLE]),
    (State.COMMITTING, [State.COMMITTING, State.CLEANING, State.IDLE]),
    (State.CLEANING, [State.CLEANING, State.IDLE]),
]


@pytest.mark.parametrize(("state", "expected"), RESUMED, ids=[state for state, _ in RESUMED])
def test_killed_in_every_state(
    state: State, expected: list[State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after the record of that state: the list of states that the next start visits."""
    story = STORIES[1]
    device, new = begin(tmp_path, story)
    recorded: list[State] = []
    real = Journal.record

    def record(journal: Journal, slot: object, events: object = ()) -> None:
        real(journal, slot, events)  # type: ignore[arg-type]
        now = slot.state  # type: ignore[attr-defined]
        recorded.append(now)
        if now is state and device.starts == 1:
            raise Killed(state)

    monkeypatch.setattr(Journal, "record", record)
    with pytest.raises(Killed):
        rounds(device, new)
    recorded.clear()
    device.restart()
    rounds(device, new)
    visited = [s for n, s in enumerate(recorded) if n == 0 or recorded[n - 1] is not s]
    assert visited[: len(expected)] == expected
    assert visited[-1] is State.IDLE
    finish(device, story)


def test_killed_in_a_rollback(tmp_path: Path) -> None:
    """ROLLING_BACK is reached by another way than the table above."""
    story = STORIES[3]
    device, _ = begin(tmp_path, story)
    device.until_state(State.SHADOWING)
    device.controller.reassign(mode=Mode.LIVE)
    device.until_state(State.PROBATION)
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.agent.courier.round()
    device.clock.advance(1)
    device.serve.running = device.launcher.works = False
    device.round()
    assert device.record.state is State.ROLLING_BACK
    for _ in range(8):  # more often than the breaker allows elsewhere: a rollback is never given up
        device.restart()
        device.round()
    assert device.record.state is State.ROLLING_BACK
    device.launcher.works = True
    device.settle()
    finish(device, story)
