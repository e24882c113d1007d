"""Rollouts as a device lives them: the real agent, a controller and a serve in memory."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_agent.lifecycle import slot as slot_module
from modelfleet_agent.lifecycle.work import Job, Task
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.trust.keys import generate_ecdsa_p256
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.event import EventKind
from modelfleet_core.wire.report import Report

from tests.agent.device import Device
from tests.agent.fakes import FakeController
from tests.agent.releases import Release, release

COMMITTED = ["accepted", "downloaded", "shadowing", "switched", "committed"]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    controller = FakeController(poll_s=1.0)
    return Device(tmp_path, controller)


def put(device: Device, version: str, **more: object) -> Release:
    made = release(version, device.controller.release_key, **more)  # type: ignore[arg-type]
    return made.put(device.controller)


def commit(device: Device, version: str, operation: str) -> Release:
    made = put(device, version)
    device.controller.assign(made.assignment(operation, Mode.LIVE))
    device.until(lambda: device.holds()[0] == f"digits:{version}")
    device.settle()
    return made


def last(device: Device) -> tuple[str, str | None, bool]:
    event = device.controller.events[-1]
    return event.kind.value, event.code, event.hard


# The good way.


def test_a_first_install_goes_through_shadow_and_probation(device: Device) -> None:
    made = put(device, "1.0")
    device.controller.assign(made.assignment("op-1"))
    device.until_state(State.SHADOWING)
    assert device.serve.active.get("digits") is None
    device.round(100)
    assert device.record.state == "shadowing"
    device.controller.reassign(mode=Mode.LIVE)
    device.until_state(State.PROBATION)
    assert device.serve.active["digits"] == made.id
    device.round(5)
    assert device.record.state is State.PROBATION
    device.settle()
    assert device.holds() == ("digits:1.0", None)
    assert device.controller.kinds() == COMMITTED
    assert [event.sequence for event in device.controller.events] == [1, 2, 3, 4, 5]
    total = len(made.manifest_bytes) + len(made.bundle) + sum(len(data) for data in made.files.values())
    assert device.controller.events[1].numbers == {"bytes_received": total}
    folder = device.agent.folder.store / f"{made.id}.x86-onnxruntime.fp32"
    assert {p.name for p in folder.iterdir()} == {*made.files, "release.json"}
    assert Path(f"{folder}.sigstore.json").read_bytes() == made.bundle


def test_an_upgrade_keeps_the_previous_warm_and_goes_on_comparing(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = commit(device, "1.1", "op-2")
    assert device.holds() == ("digits:1.1", "digits:1.0")
    row = device.serve.rows["digits"]
    assert row.previous is not None
    assert (row.active, row.previous.release) == (two.id, one.id)
    assert (row.operation, row.mirror_to, row.mirror_share) == ("op-2", one.id, 0.05)
    assert device.serve.history == [("digits", one.id), ("digits", two.id)]
    device.controller.assign(two.assignment("baseline:x", Mode.LIVE, rollout=None))
    device.round()
    device.round()
    assert device.serve.rows["digits"].operation is None
    assert device.controller.kinds() == COMMITTED * 2


def test_shadow_mirrors_everything_and_the_incumbent_answers(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2", baseline=one.id))
    device.until_state(State.SHADOWING)
    row = device.serve.rows["digits"]
    assert (row.active, row.mirror_to, row.mirror_share, row.probation) == (one.id, two.id, 1.0, False)
    assert row.golden_folder is not None
    assert one.id in row.golden_folder
    device.controller.reassign(mode=Mode.LIVE, reverse_share=0.02)
    device.until_state(State.PROBATION)
    row = device.serve.rows["digits"]
    assert (row.active, row.mirror_to, row.mirror_share, row.probation) == (two.id, one.id, 0.02, True)


def test_only_three_releases_stay_on_the_disk(device: Device) -> None:
    made = [commit(device, f"1.{n}", f"op-{n}") for n in range(5)]
    assert device.holds() == ("digits:1.4", "digits:1.3")
    # The third is what a withdrawal of the last operation would make the previous again.
    kept = {f"{m.id}.x86-onnxruntime.fp32{end}" for m in made[2:] for end in ("", ".sigstore.json")}
    assert set(device.folders()) == kept


def test_what_is_on_the_disk_is_not_downloaded_again(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    commit(device, "1.1", "op-2")
    sent = device.controller.bytes_sent
    device.controller.assign(one.assignment("op-3", Mode.LIVE))
    device.until(lambda: device.holds() == ("digits:1.0", "digits:1.1"))
    device.settle()
    assert device.controller.bytes_sent - sent == len(one.bundle) + len(one.manifest_bytes)


def test_the_running_operation_is_not_begun_twice(device: Device) -> None:
    made = put(device, "1.0")
    device.controller.assign(made.assignment("op-1"))
    for _ in range(10):
        device.controller.revision += 1
        device.round()
    assert device.controller.kinds() == ["accepted", "downloaded", "shadowing"]


def test_a_slot_that_disappears_from_the_statement_stays_as_it_is(device: Device) -> None:
    commit(device, "1.0", "op-1")
    device.controller.assign()
    for _ in range(5):
        device.round()
    assert device.holds() == ("digits:1.0", None)
    assert device.serve.active["digits"] is not None


def test_two_slots_live_side_by_side(device: Device) -> None:
    one = put(device, "1.0")
    two = put(device, "2.0", name="faces")
    device.controller.assign(one.assignment("op-1", Mode.LIVE), two.assignment("op-2", Mode.LIVE))
    device.until(lambda: device.agent.journal.slot("faces").chain.incumbent is not None)
    device.settle()
    assert device.serve.active == {"digits": one.id, "faces": two.id}
    assert len(device.folders()) == 4


# Ways back.


@pytest.mark.parametrize("state", [State.SHADOWING, State.PROBATION])
def test_a_withdrawn_operation_goes_back_and_never_comes_again(device: Device, state: State) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    mode = Mode.SHADOW if state is State.SHADOWING else Mode.LIVE
    device.controller.assign(two.assignment("op-2", mode, probation_s=1e6))
    device.until_state(state)
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.until_state(State.IDLE)
    device.settle()
    assert device.holds() == ("digits:1.0", None)
    assert device.serve.active["digits"] == one.id
    assert last(device) == ("rolled_back", "MF-3033", False)
    assert device.record.chain.rejected == (two.id,)
    assert not [name for name in device.folders() if two.id in name]
    count = len(device.controller.events)
    device.controller.reassign(mode=Mode.LIVE)
    for _ in range(5):
        device.round()
    assert len(device.controller.events) == count
    device.controller.reassign(operation="op-3")
    device.until_state(State.PROBATION)


def test_a_committed_operation_is_withdrawn_to_the_chain_before_it(device: Device) -> None:
    commit(device, "1.0", "op-1")
    one = commit(device, "1.1", "op-2")
    commit(device, "1.2", "op-3")
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.until(lambda: device.serve.active["digits"] == one.id)
    device.settle()
    assert device.holds() == ("digits:1.1", "digits:1.0")
    assert last(device) == ("rolled_back", "MF-3033", False)


def test_a_first_install_that_is_withdrawn_leaves_the_slot_empty(device: Device) -> None:
    commit(device, "1.0", "op-1")
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.until(lambda: device.holds() == (None, None))
    device.settle()
    assert device.serve.active["digits"] is None
    assert device.folders() == []


def test_a_withdrawal_of_something_unknown_is_answered_once(device: Device) -> None:
    commit(device, "1.0", "op-1")
    other = put(device, "1.1")
    device.controller.assign(other.assignment("op-9", Mode.WITHDRAWN))
    for _ in range(5):
        device.round()
    assert device.controller.kinds() == [*COMMITTED, "rolled_back"]
    assert device.controller.events[-1].operation == "op-9"
    assert device.holds() == ("digits:1.0", None)


def test_a_rollout_of_what_runs_already_is_told_so(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    device.controller.assign(one.assignment("op-2"))
    for _ in range(3):
        device.round()
    device.controller.reassign(mode=Mode.LIVE)
    for _ in range(3):
        device.round()
    assert device.controller.kinds() == [*COMMITTED, "accepted", "committed"]
    assert device.holds() == ("digits:1.0", None)


def test_a_newer_operation_replaces_the_running_one(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two, three = put(device, "1.1"), put(device, "1.2")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    device.controller.assign(three.assignment("op-3", Mode.LIVE))
    device.until(lambda: device.holds()[0] == "digits:1.2")
    device.settle()
    kinds = device.controller.kinds()[5:]
    assert kinds == ["accepted", "downloaded", "shadowing", "failed", *COMMITTED]
    assert device.controller.events[8].code == "MF-3034"
    assert device.holds() == ("digits:1.2", "digits:1.0")


def test_a_rejected_release_does_not_come_back_as_baseline(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.settle()
    device.controller.assign(two.assignment("baseline:1.1", Mode.LIVE, rollout=None))
    for _ in range(4):
        device.round()
    assert last(device) == ("refused", "MF-3023", False)
    assert device.holds() == ("digits:1.0", None)


# Local rollback: nobody is needed.


def test_serve_falling_back_on_probation_ends_the_operation(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2", Mode.LIVE, probation_s=100.0))
    device.until_state(State.PROBATION)
    device.controller.reachable = False
    device.serve.fall("digits", Code.OUTPUT_NOT_FINITE, "3 of 40 requests had no finite answer")
    device.until_state(State.IDLE)
    assert device.serve.active["digits"] == one.id
    assert device.holds() == ("digits:1.0", None)
    device.controller.reachable = True
    device.settle()
    event = device.controller.events[-1]
    assert (event.kind, event.code, event.hard) == (EventKind.ROLLED_BACK, "MF-4028", True)
    assert event.reason == "3 of 40 requests had no finite answer"
    assert event.operation == "op-2"


def test_serve_giving_the_committed_release_up_is_honoured(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = commit(device, "1.1", "op-2")
    device.serve.fall("digits", Code.WORKER_CRASH_LOOP, "it died 3 times")
    device.until(lambda: device.holds() == ("digits:1.0", None))
    device.settle()
    assert device.serve.active["digits"] == one.id
    assert last(device) == ("rolled_back", "MF-4027", True)
    assert device.record.chain.rejected == (two.id,)
    for _ in range(5):
        device.round()
    assert device.holds() == ("digits:1.0", None)


@pytest.mark.parametrize("state", [State.SHADOWING, State.PROBATION, State.IDLE])
def test_somebody_at_the_device_rolls_back_without_a_controller(device: Device, state: State) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    mode = Mode.SHADOW if state is State.SHADOWING else Mode.LIVE
    device.controller.assign(two.assignment("op-2", mode, probation_s=10.0 if state is State.IDLE else 1e6))
    device.until(
        lambda: device.record.state is state and (state is not State.IDLE or device.holds()[1] is not None)
    )
    device.controller.reachable = False
    (device.agent.folder.requests / "rollback.digits").write_text("")
    device.until(lambda: device.record.state is State.IDLE and device.holds() == ("digits:1.0", None))
    assert device.serve.active["digits"] == one.id
    assert list(device.agent.folder.requests.iterdir()) == []
    device.controller.reachable = True
    device.clock.advance(400)
    device.settle()
    assert last(device) == ("rolled_back", "MF-3032", False)
    assert device.controller.events[-1].operation == "op-2"
    for _ in range(5):
        device.round()
    assert device.holds() == ("digits:1.0", None)


def test_a_rollback_with_nothing_to_go_back_to_is_refused(device: Device) -> None:
    folder = device.agent.folder.requests
    (folder / "rollback.digits").write_text("")
    device.round()
    assert json.loads((folder / "rollback.digits.refused").read_text())["code"] == "MF-3037"
    made = put(device, "1.0")
    device.controller.assign(made.assignment("op-1"))
    device.until_state(State.SHADOWING)
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.settle()
    (folder / "rollback.digits").write_text("")
    device.round()
    assert json.loads((folder / "rollback.digits.refused").read_text())["code"] == "MF-3036"
    assert not (folder / "rollback.digits").exists()


# Faults of the candidate.


def test_a_candidate_that_fails_its_self_test_is_a_hard_stop(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.serve.self_test_failed.add(two.id)
    device.controller.assign(two.assignment("op-2"))
    device.until(lambda: "failed" in device.controller.kinds())
    device.settle()
    assert last(device) == ("failed", "MF-4030", True)
    assert device.serve.active["digits"] == one.id
    assert device.serve.history == [("digits", one.id)]


def test_a_candidate_that_cannot_be_loaded_is_a_hard_stop(device: Device) -> None:
    two = put(device, "1.1")
    device.serve.broken[two.id] = (Code.MODEL_LOAD_FAILED.value, "no such operator")
    device.controller.assign(two.assignment("op-2"))
    device.until(lambda: "failed" in device.controller.kinds())
    assert last(device) == ("failed", "MF-4003", True)
    assert device.holds() == (None, None)


def test_a_candidate_that_crash_loops_in_shadow_is_a_hard_stop(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    device.serve.crash_loop.add(two.id)
    device.until(lambda: "failed" in device.controller.kinds())
    assert last(device) == ("failed", "MF-4027", True)


def test_a_candidate_that_never_gets_ready_is_given_up(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.serve.slow.add(two.id)
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.LOADING)
    device.round(200)
    assert device.record.state is State.LOADING
    device.round(200)
    device.until(lambda: "failed" in device.controller.kinds())
    assert last(device) == ("failed", "MF-3030", True)


def test_time_without_serve_is_not_held_against_the_candidate(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.serve.slow.add(two.id)
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.LOADING)
    device.serve.running = device.launcher.works = False
    for _ in range(5):
        device.round(1000)
    assert device.record.state is State.LOADING
    device.launcher.works = True
    device.serve.slow.clear()
    device.until_state(State.SHADOWING)


def test_a_switch_that_does_not_come_is_given_up(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    device.serve.never_switches = True
    device.controller.reassign(mode=Mode.LIVE)
    device.until_state(State.SWITCHING)
    device.until(lambda: "rolled_back" in device.controller.kinds(), seconds=10)
    assert last(device) == ("rolled_back", "MF-3039", True)
    assert device.serve.active["digits"] == one.id


def test_a_golden_drop_blocks_the_switch_and_says_so_once(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.serve.golden = {one.id: 90, two.id: 87}
    device.controller.assign(two.assignment("op-2", Mode.LIVE, baseline=one.id))
    device.until_state(State.SHADOWING)
    for _ in range(5):
        device.round()
    assert device.record.state is State.SHADOWING
    assert device.controller.kinds()[5:] == ["accepted", "downloaded", "shadowing", "alarm"]
    assert last(device) == ("alarm", "MF-3031", False)
    (status,) = device.agent.board.slots
    assert status.code == "MF-3031"
    assert "3.0 points" in (status.reason or "")
    device.serve.golden[two.id] = 88
    device.until_state(State.PROBATION)


def test_without_an_incumbent_the_float_parent_is_the_floor(device: Device) -> None:
    made = put(device, "1.0", golden_value=0.95)
    device.controller.assign(made.assignment("op-1", Mode.LIVE))
    device.until_state(State.SHADOWING)
    device.round()
    device.round()
    assert last(device) == ("alarm", "MF-3031", False)
    device.serve.golden[made.id] = 94
    device.settle()
    assert device.holds() == ("digits:1.0", None)


def test_an_unlabelled_golden_set_judges_nothing(device: Device) -> None:
    made = put(device, "1.0", golden_value=None)
    device.serve.golden[made.id] = 0
    device.controller.assign(made.assignment("op-1", Mode.LIVE))
    device.until(lambda: device.holds()[0] == "digits:1.0")


# What is refused before it is downloaded, or because of what was.


def refusal(device: Device) -> tuple[str, str | None, bool]:
    device.until(lambda: device.controller.kinds()[-1:] in (["refused"], ["failed"]))
    device.settle()
    return last(device)


@pytest.fixture
def upgraded(device: Device) -> Device:
    """A device that serves 1.0 and shall get 1.1."""
    commit(device, "1.0", "op-1")
    device.controller.events.clear()
    return device


def unharmed(device: Device) -> None:
    assert device.holds() == ("digits:1.0", None)
    assert device.serve.active["digits"] == device.record.chain.incumbent.release  # type: ignore[union-attr]
    assert len(device.serve.history) == 1
    assert len(device.folders()) == 2


def test_a_tampered_file_is_refused_and_dropped(upgraded: Device) -> None:
    two = put(upgraded, "1.1")
    digest = two.manifest.variants[0].files[2].sha256
    data = bytearray(upgraded.controller.blobs[digest])
    data[len(data) // 2] ^= 1
    upgraded.controller.blobs[digest] = bytes(data)
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("refused", "MF-2040", True)
    assert "model.onnx" in (upgraded.controller.events[-1].reason or "")
    unharmed(upgraded)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("change", ["longer", "shorter"])
def test_a_file_of_another_length_is_refused(upgraded: Device, change: str, told: bool) -> None:
    upgraded.controller.tells_lengths = told
    two = put(upgraded, "1.1")
    digest = two.manifest.variants[0].files[2].sha256
    data = upgraded.controller.blobs[digest]
    upgraded.controller.blobs[digest] = data + b"x" if change == "longer" else data[:-1]
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("refused", "MF-2040", True)
    unharmed(upgraded)


@pytest.mark.parametrize("which", ["bundle", "manifest"])
def test_a_tampered_bundle_or_manifest_is_refused(upgraded: Device, which: str) -> None:
    two = put(upgraded, "1.1")
    order = two.assignment("op-2")
    digest = order.bundle if which == "bundle" else order.release
    upgraded.controller.blobs[digest] = upgraded.controller.blobs[digest].replace(b"e", b"f", 1)
    upgraded.controller.assign(order)
    assert refusal(upgraded) == ("refused", "MF-2040", True)
    unharmed(upgraded)


def test_a_release_of_a_stranger_is_refused(upgraded: Device) -> None:
    two = release("1.1", generate_ecdsa_p256()).put(upgraded.controller)
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("refused", "MF-2014", True)
    unharmed(upgraded)
    # Of a release that nobody trusted has signed nothing else is fetched.
    assert upgraded.controller.bytes_sent < 2 * (len(two.bundle) + len(two.manifest_bytes)) + 3500


@pytest.mark.parametrize(
    ("bundle", "code"), [(None, "MF-2023"), (b"{}", "MF-2020"), (b"not json", "MF-2020")]
)
def test_an_unsigned_release_is_refused(upgraded: Device, bundle: bytes | None, code: str) -> None:
    two = put(upgraded, "1.1")
    digest = upgraded.controller.put_blob(bundle) if bundle is not None else "0" * 64
    upgraded.controller.assign(two.assignment("op-2", bundle=digest))
    assert refusal(upgraded) == ("refused", code, True)
    unharmed(upgraded)


def test_the_signature_of_another_release_is_refused(upgraded: Device) -> None:
    two, three = put(upgraded, "1.1"), put(upgraded, "1.2")
    upgraded.controller.assign(two.assignment("op-2", bundle=three.assignment("x").bundle))
    assert refusal(upgraded) == ("refused", "MF-2036", True)
    unharmed(upgraded)


@pytest.mark.parametrize(
    ("variant", "word"),
    [
        ({"device_class": "arm-litert"}, "built for class arm-litert"),
        ({"min_memory_bytes": 1 << 60}, "memory"),
    ],
)
def test_a_variant_that_does_not_fit_is_refused_but_no_hard_stop(
    upgraded: Device, variant: dict[str, object], word: str
) -> None:
    two = put(upgraded, "1.1", **variant)
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("refused", "MF-3020", False)
    assert word in (upgraded.controller.events[-1].reason or "")
    unharmed(upgraded)


def test_a_release_in_a_foreign_slot_is_refused(upgraded: Device) -> None:
    faces = put(upgraded, "1.1", name="faces")
    upgraded.controller.assign(faces.assignment("op-2", slot="digits"))
    assert refusal(upgraded) == ("refused", "MF-3022", False)
    unharmed(upgraded)


def test_a_blob_that_the_controller_lost_fails_the_operation(upgraded: Device) -> None:
    two = put(upgraded, "1.1")
    del upgraded.controller.blobs[two.manifest.variants[0].files[2].sha256]
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("failed", "MF-1602", False)
    unharmed(upgraded)


# The disk.


def test_a_disk_that_is_too_small_fails_before_the_first_byte(
    upgraded: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = put(upgraded, "1.1")
    monkeypatch.setattr("modelfleet_agent.lifecycle.store.free_disk", lambda folder: 2000)
    before = upgraded.controller.bytes_sent
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("failed", "MF-5001", False)
    reason = upgraded.controller.events[-1].reason or ""
    assert "the release needs 3215 more bytes; 2000 are free" in reason
    assert upgraded.controller.bytes_sent - before == len(two.bundle) + len(two.manifest_bytes)
    unharmed(upgraded)


@pytest.mark.parametrize("call", ["posix_fallocate", "fdatasync", "replace"])
def test_a_disk_that_fills_up_on_the_way_fails_and_leaves_nothing(
    upgraded: Device, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    two = put(upgraded, "1.1", size=9_000_000)
    real = getattr(os, call)

    def full(*arguments: object) -> object:
        if call != "replace" or ".part-" in str(arguments[0]):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, call, full)
    upgraded.controller.assign(two.assignment("op-2"))
    assert refusal(upgraded) == ("failed", "MF-5001", False)
    unharmed(upgraded)


def test_a_failed_operation_can_be_repeated_by_a_new_one(
    upgraded: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = put(upgraded, "1.1")
    with monkeypatch.context() as patch:
        patch.setattr("modelfleet_agent.lifecycle.store.free_disk", lambda folder: 10)
        upgraded.controller.assign(two.assignment("op-2", Mode.LIVE))
        refusal(upgraded)
    for _ in range(3):
        upgraded.round()
    assert upgraded.holds() == ("digits:1.0", None)
    upgraded.controller.reassign(operation="op-3")
    upgraded.until(lambda: upgraded.holds()[0] == "digits:1.1")


# The network and the statement.


def test_a_controller_away_for_the_whole_rollout(device: Device) -> None:
    """Probation, commit and a later local rollback need nobody; the events come in order when it is back."""
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2", Mode.LIVE, probation_s=20.0))
    device.until_state(State.PROBATION)
    device.controller.reachable = False
    device.until(lambda: device.holds() == ("digits:1.1", "digits:1.0"))
    device.restart()
    device.serve.fall("digits", Code.WORKER_CRASH_LOOP, "it died 3 times")
    device.until(lambda: device.holds() == ("digits:1.0", None))
    for _ in range(30):
        device.round(86_400)
    assert device.serve.active["digits"] == one.id
    device.controller.reachable = True
    device.round(400)
    device.settle()
    assert device.controller.kinds() == [*COMMITTED, *COMMITTED, "rolled_back"]
    assert [event.sequence for event in device.controller.events] == list(range(1, 12))


def test_an_expired_statement_starts_no_install_and_no_switch(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.life_s = 1000.0
    device.controller.assign(two.assignment("op-2", Mode.LIVE))
    device.serve.slow.add(two.id)
    device.until_state(State.LOADING)
    device.controller.reachable = False
    device.clock.advance(2000)
    device.serve.slow.clear()
    for _ in range(5):
        device.round()
    assert device.record.state is State.SHADOWING
    device.controller.reachable = True
    device.clock.advance(400)
    device.until_state(State.PROBATION)


def test_an_expired_statement_begins_nothing(device: Device) -> None:
    two = put(device, "1.1")
    device.controller.life_s = 5.0
    device.controller.assign(two.assignment("op-2"))
    device.agent.courier.round()
    device.controller.reachable = False
    device.clock.advance(6)
    device.agent.tick()
    assert device.record.state is State.IDLE


def test_a_revoked_device_goes_on_serving_and_says_so(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    device.controller.revoked.add(device.agent.enrolled.identity.device)
    for _ in range(3):
        device.round(60)
    error = device.agent.status().last_error
    assert error is not None
    assert error.code == "MF-1611"
    assert device.serve.active["digits"] == one.id
    device.restart()
    device.round()
    assert device.serve.active["digits"] == one.id


def test_a_clock_an_hour_off_does_not_keep_a_release_away(device: Device) -> None:
    from datetime import timedelta

    device.clock.instant += timedelta(hours=1)
    commit(device, "1.0", "op-1")
    skew = abs((device.controller.events[-1].at - device.controller.clock.now()).total_seconds())
    assert skew < 60
    device.restart()
    device.clock.instant -= timedelta(hours=2)
    commit(device, "1.1", "op-2")


# Evidence.


def test_windows_of_serve_reach_the_controller_once(device: Device) -> None:
    two = put(device, "1.0")
    device.controller.assign(two.assignment("op-1"))
    device.until_state(State.SHADOWING)
    for window in range(100):
        device.serve.close_window(Report(window, 60.0, "digits", "op-1", two.id, None, Mode.SHADOW, n=window))
    device.controller.reachable = False
    device.round()
    assert len(device.agent.spool) == 100
    assert device.serve.windows_closed == []
    device.restart()
    assert len(device.agent.spool) == 100
    device.controller.reachable = True
    device.clock.advance(400)
    device.round()
    assert [report.n for report in device.controller.reports] == list(range(100))
    assert len(device.agent.spool) == 0


def test_a_long_download_is_not_silence(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    two = put(device, "1.0")
    device.controller.assign(two.assignment("op-1", window_s=10.0))
    # The work of a state takes for ever.
    monkeypatch.setattr(device.worker, "start", lambda name, task: Job(), raising=True)
    device.until_state(State.VERIFYING)
    for _ in range(50):
        device.round(1.0)
    windows = [report.window for report in device.controller.reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    assert len(windows) >= 4
    assert {(r.n, r.operation, r.release, r.incumbent) for r in device.controller.reports} == {
        (0, "op-1", two.id, None)
    }


# Work beside the loop.


class Patient:
    """A worker whose tasks run when the test says so, as if a thread were slow."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Job, Task]] = []

    def start(self, name: str, task: Task) -> Job:
        job = Job()
        self.waiting.append((job, task))
        return job

    def finish(self) -> None:
        for job, task in self.waiting:
            job.run(task)
        self.waiting.clear()


def test_a_slow_download_is_given_up_when_it_is_withdrawn(tmp_path: Path) -> None:
    device = Device(tmp_path, FakeController(poll_s=1.0))
    patient = Patient()
    device.agent.close()
    device.worker = patient  # type: ignore[assignment]
    device.start()
    made = put(device, "1.0", size=200_000)
    device.controller.assign(made.assignment("op-1"))
    for _ in range(3):  # VERIFYING, RESERVING are done; the download hangs
        device.until(lambda: bool(patient.waiting))
        if device.record.state == "downloading":
            break
        patient.finish()
        device.round()
    assert device.record.state == "downloading"
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.round()
    for _ in range(5):
        device.round()
    # The thread may still write there: nothing is deleted, nothing new begins.
    assert device.record.state == "cleaning"
    assert device.folders() != []
    second = device.controller.assignments[0]
    device.controller.assign(replace(second, mode=Mode.SHADOW, operation="op-2"))
    for _ in range(5):
        device.round()
    assert device.record.state == "cleaning"
    patient.finish()
    device.until(lambda: device.record.operation == "op-2")
    assert device.controller.kinds() == ["accepted", "rolled_back", "accepted"]


def test_supervision_goes_on_while_a_download_hangs(tmp_path: Path) -> None:
    device = Device(tmp_path, FakeController(poll_s=1.0))
    one = commit(device, "1.0", "op-1")
    device.agent.close()
    device.worker = Patient()  # type: ignore[assignment]
    device.start()
    made = put(device, "1.1")
    device.controller.assign(made.assignment("op-2"))
    device.until_state(State.VERIFYING)
    device.serve.running = False
    device.serve.rows, device.serve.active, device.serve.generation = {}, {}, 0
    for _ in range(3):
        device.round()
    assert device.serve.active == {"digits": one.id}


# Serve.


def test_serve_is_started_when_it_is_away_and_told_everything_again(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    device.serve.running = False
    device.serve.rows, device.serve.active, device.serve.generation = {}, {}, 0
    device.round()
    device.round()
    assert device.launcher.asked == 1
    assert device.serve.active == {"digits": one.id}


def test_a_running_serve_with_a_newer_table_is_adopted(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    device.serve.generation = 500
    device.restart()
    device.round()
    assert device.serve.generation > 500
    assert device.serve.active == {"digits": one.id}
    assert device.launcher.asked == 0


def test_a_serve_that_cannot_save_its_table_stops_nothing_else(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.serve.refuses = True
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)


def test_a_serve_of_another_protocol_is_drained_and_replaced(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(device, "1.0", "op-1")
    device.kill()
    old = device.serve.hello

    def hello() -> str:
        if device.serve.boot == 1:
            raise CallerError(Code.CONTROL_PROTOCOL, "protocol 0", expected="1", todo="")
        return old()

    monkeypatch.setattr(device.serve, "hello", hello)
    device.start()
    device.round()
    device.round()
    assert device.serve.drains == 1
    assert device.serve.boot == 2
    assert device.agent.loop.actual is not None


def test_nothing_is_deleted_that_serve_may_still_load(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    device.controller.reassign(mode=Mode.WITHDRAWN)
    device.agent.courier.round()
    device.clock.advance(2)
    device.agent.courier.round()
    device.agent.tick()
    device.agent.tick()  # serve has gone back
    assert device.record.state is State.CLEANING
    device.serve.running = device.launcher.works = False
    for _ in range(5):
        device.round()
    assert [name for name in device.folders() if two.id in name]
    device.launcher.works = True
    device.settle()
    assert not [name for name in device.folders() if two.id in name]


# Crash-loops of the agent itself.


def test_an_agent_that_crashes_again_and_again_gives_the_operation_up(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    for _ in range(slot_module.MAX_RESTARTS):
        device.restart()
        assert device.record.state is State.SHADOWING
    device.restart()
    device.settle()
    assert last(device) == ("rolled_back", "MF-3035", True)
    assert device.serve.active["digits"] == one.id


def test_starts_that_last_are_no_crash_loop(device: Device) -> None:
    commit(device, "1.0", "op-1")
    two = put(device, "1.1")
    device.controller.assign(two.assignment("op-2"))
    device.until_state(State.SHADOWING)
    for _ in range(3 * slot_module.MAX_RESTARTS):
        device.restart()
        device.round(slot_module.SETTLED_S + 1)
        device.round()
    assert device.record.state is State.SHADOWING
    for _ in range(3 * slot_module.MAX_RESTARTS):
        device.agent.close()
        device.start()
    assert device.record.state is State.SHADOWING


def test_status_says_where_everything_stands(device: Device) -> None:
    one = commit(device, "1.0", "op-1")
    view = device.agent.status()
    assert view.slots[0].active == one.id
    assert view.serve.pid == 4242
    assert view.outbox.events == 0
    written = json.loads(device.agent.folder.status.read_text())
    assert written["slots"][0]["incumbent"]["reference"] == "digits:1.0"
    assert written["facts"]["runtimes"] == {"onnxruntime": "1.22.0"}
    assert replace(view, at=view.at).device == written["device"]
