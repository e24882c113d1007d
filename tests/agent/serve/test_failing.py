"""Crashes, hangs and NaN of real workers: whose failure it is, who answers instead, when serve goes back by
itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from modelfleet_agent.control.application import Ask, Question, Reply
from modelfleet_agent.control.framing import MAX_SPLIT, Channel, open_split, split_frame
from modelfleet_agent.control.protocol import ModelRef, ModelState, SlotDesired
from modelfleet_agent.control.tensors import TensorHead
from modelfleet_agent.sdk import Answer, WorldError
from modelfleet_agent.serve.slot import MAX_UNDER_WAY
from modelfleet_core.wire.report import Report

from e2e.support import eventually
from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.process import SLOT, ServeProcess, live, only, shadowing
from tests.agent.serve.support.truth import logits
from tests.agent.serve.support.variants import Images

HOUR_S = 3600.0

pytestmark = pytest.mark.server


def on_probation(serve: ServeProcess, incumbent: ModelRef, candidate: ModelRef) -> int:
    """The candidate answers; its worker's pid."""
    serve.want(replace(live(incumbent, candidate, window_s=HOUR_S, share=1.0), compute_budget=1.0))
    serve.until_state(incumbent)
    pid = pid_of(serve, candidate)
    eventually(lambda: serve.actual().active == candidate.release, 10)
    calm(serve)
    return pid


def calm(serve: ServeProcess) -> None:
    """Wait until the golden pairs of this hour are done: what a worker does next is what the test asks
    for."""
    seen: list[float] = []

    def unchanged() -> bool:
        seen.append(serve.metric("modelfleet_mirror_total", outcome="pairs"))
        return len(seen) > 2 and len(set(seen[-3:])) == 1

    eventually(unchanged, 30, interval=0.3)


def end_of_operation(serve: ServeProcess, incumbent: ModelRef) -> list[Report]:
    """Closes the open window."""
    serve.want(only(incumbent))
    return serve.reports()


def pid_of(serve: ServeProcess, ref: ModelRef) -> int:
    pid = serve.until_state(ref).pid
    assert pid is not None
    return pid


def kill_worker(serve: ServeProcess, ref: ModelRef) -> None:
    """SIGKILL, and wait until serve has seen it."""
    before = serve.model(ref)
    assert before is not None
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: (seen := serve.model(ref)) is not None and seen.restarts > before.restarts, 10)


def test_a_worker_killed_in_the_middle_of_a_request_costs_the_application_nothing(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    pid = on_probation(serve, incumbent, candidate)
    image = live_images.inputs[:1]
    expected = logits(incumbent, image)
    answers: list[Answer] = []

    def application() -> None:
        with serve.sdk() as model:
            answers.append(model.ask({"image": image}))

    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=application)
    thread.start()
    eventually(lambda: serve.metric("modelfleet_requests_under_way"), 5)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    answer = answers[0]
    assert answer.release == incumbent.release
    assert np.array_equal(answer.first, expected)
    serve.until_state(candidate)
    slot = serve.actual()
    assert (slot.served, slot.failed, slot.dropped) == (1, 0, 0)
    assert (slot.active, slot.fell_back) == (candidate.release, None), "one death is no crash-loop"
    with serve.sdk() as model:
        assert model.ask({"image": image}).release == candidate.release
    report = end_of_operation(serve, incumbent)[-1]
    assert (report.answered_by_fallback, report.candidate_only_failed, report.candidate_answers) == (1, 1, 1)


def test_a_hang_on_probation_is_answered_by_the_incumbent_and_goes_back(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    pid = on_probation(serve, incumbent, candidate)
    os.kill(pid, signal.SIGSTOP)
    with serve.sdk() as model:
        answer = model.ask({"image": live_images.inputs[:1]})
    assert answer.release == incumbent.release
    slot = serve.actual()
    assert (slot.active, slot.fell_back_code) == (incumbent.release, "MF-4026")
    assert slot.fell_back
    assert (slot.served, slot.failed) == (1, 0)


def test_nan_answers_come_from_the_incumbent_and_go_back_for_good(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.1"), variants("1.5")
    inputs = live_images.inputs[:200]
    broken = ~np.isfinite(logits(candidate, inputs)).all(axis=1)
    assert broken.sum() >= 5
    expected = logits(incumbent, inputs[broken])
    on_probation(serve, incumbent, candidate)
    with serve.sdk() as model:
        for number, image in enumerate(inputs[broken]):
            answer = model.ask({"image": image[None]})
            assert answer.release == incumbent.release
            assert np.array_equal(answer.first[0], expected[number])
    slot = serve.actual()
    assert (slot.active, slot.fell_back_code) == (incumbent.release, "MF-4028")
    assert (slot.served, slot.failed) == (int(broken.sum()), 0)
    serve.want(live(incumbent, candidate))
    assert serve.actual().active == incumbent.release, "the same operation gets no second try"
    serve.kill()
    with ServeProcess(serve.state.parent, "again") as again:
        again.until_state(candidate)
        slot = again.actual()
        assert (slot.active, slot.fell_back_code) == (incumbent.release, "MF-4028"), "nor after a restart"
        again.want(live(incumbent, candidate, operation="op-2"))
        assert again.actual().fell_back is None
        eventually(lambda: again.actual().active == candidate.release, 10)


def test_a_crash_loop_on_probation_goes_back_and_gives_the_candidate_up(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    on_probation(serve, incumbent, candidate)
    for _ in range(2):
        kill_worker(serve, candidate)
        serve.until_state(candidate)
    assert serve.actual().active == candidate.release
    kill_worker(serve, candidate)
    model = serve.until_state(candidate, ModelState.FAILED)
    assert (model.code, model.crash_loop, model.restarts) == ("MF-4027", True, 3)
    slot = serve.actual()
    assert (slot.active, slot.fell_back_code) == (incumbent.release, "MF-4027")
    with serve.sdk() as application:
        assert application.ask({"image": live_images.inputs[:1]}).release == incumbent.release


def test_a_committed_model_that_crash_loops_gives_way_to_the_previous(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    previous, incumbent = variants("1.0"), variants("1.1")
    serve.want(replace(only(incumbent), previous=previous))
    serve.until_state(previous)
    for _ in range(3):
        pid_of(serve, incumbent)
        kill_worker(serve, incumbent)
    slot = serve.actual()
    assert (slot.active, slot.fell_back_code) == (previous.release, "MF-4027")
    with serve.sdk() as model:
        assert model.ask({"image": live_images.inputs[:1]}).release == previous.release


def test_the_only_model_comes_back_within_the_callers_deadline(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    first = pid_of(serve, incumbent)
    with serve.sdk(30) as model:
        model(live_images.inputs[0])
        for _ in range(4):
            kill_worker(serve, incumbent)
            model(live_images.inputs[1])
    actual = serve.until_state(incumbent)
    assert actual.pid != first
    assert (actual.restarts, actual.crash_loop) == (4, True), "said so, and still never given up"
    assert (serve.actual().served, serve.actual().failed) == (5, 0)


def test_a_crashing_candidate_in_shadow_disturbs_nobody(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    serve.want(replace(shadowing(incumbent, candidate, window_s=HOUR_S), compute_budget=1.0))
    pid = pid_of(serve, candidate)
    calm(serve)
    os.kill(pid, signal.SIGSTOP)
    with serve.sdk() as model:
        model(live_images.inputs[0])
        eventually(lambda: serve.metric("modelfleet_mirror_total", outcome="offered") == 1, 5)
        os.kill(pid, signal.SIGKILL)
        serve.until_state(candidate)
        for image in live_images.inputs[1:5]:
            assert model.ask({"image": image[None]}).release == incumbent.release
        eventually(lambda: serve.metric("modelfleet_mirror_total", outcome="run") == 5, 10)
    report = end_of_operation(serve, incumbent)[-1]
    assert (report.n, report.candidate_only_failed, report.incumbent_failed) == (5, 1, 0)
    assert serve.actual().failed == 0


def test_a_self_test_that_fails_keeps_the_candidate_out(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1", spoil=1.0)
    serve.want(live(incumbent, candidate))
    model = serve.until_state(candidate, ModelState.FAILED)
    assert model.code == "MF-4030"
    assert model.self_test is not None
    assert not model.self_test.passed
    assert "differs" in model.self_test.reason
    assert (model.pid, model.crash_loop) == (None, False)
    assert serve.actual().active == incumbent.release
    with serve.sdk() as application:
        assert application.ask({"image": live_images.inputs[:1]}).release == incumbent.release


def test_a_committed_model_goes_on_in_spite_of_its_self_test(serve: ServeProcess, variants: Variants) -> None:
    incumbent = variants("1.1", spoil=1.0)
    serve.want(only(incumbent))
    model = serve.until_state(incumbent)
    assert model.self_test is not None
    assert not model.self_test.passed


@pytest.mark.parametrize(
    ("missing", "code"), [("model.onnx", "MF-4003"), ("golden.npz", "MF-4012"), ("release.json", "MF-4038")]
)
def test_an_incomplete_folder_fails_with_its_reason(
    serve: ServeProcess, variants: Variants, missing: str, code: str
) -> None:
    source = variants("1.1")
    place = serve.state / "broken"
    place.mkdir()
    for name in os.listdir(source.folder):
        if name != missing:
            os.link(f"{source.folder}/{name}", place / name)
    broken = ModelRef("f" * 64, source.reference, source.variant, str(place))
    serve.want(SlotDesired(SLOT, variants("1.0").release, variants("1.0"), broken, None))
    model = serve.until_state(broken, ModelState.FAILED)
    assert model.code == code
    assert model.reason
    serve.until_state(variants("1.0"))


def test_a_request_later_than_its_deadline_is_dropped_and_says_so(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    pid = pid_of(serve, incumbent)
    with serve.sdk(timeout_s=0.3) as model:
        model(live_images.inputs[0])
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(WorldError) as caught:
            model(live_images.inputs[0])
        os.kill(pid, signal.SIGCONT)
        assert caught.value.code.value == "MF-4023"
        eventually(lambda: model(live_images.inputs[0]) is not None, 10, ignoring=(WorldError,))
    assert serve.actual().dropped >= 1
    assert serve.actual().models[0].restarts == 0


def test_more_requests_than_serve_accepts_are_refused_at_the_door(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    pid = pid_of(serve, incumbent)
    os.kill(pid, signal.SIGSTOP)
    question = Question(Ask.INFER, 1, SLOT, 20.0, (TensorHead("", (1, 1, 32, 32)),))
    message = split_frame(msgspec.msgpack.encode(question), [live_images.inputs[0].tobytes()])
    channels: list[Channel] = []
    for _ in range(6):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)
        connection.connect(str(serve.socket))
        channels.append(Channel(connection))
        for _ in range(16):
            channels[-1].send(message)
    eventually(lambda: serve.actual().dropped == 96 - MAX_UNDER_WAY, 10)
    os.kill(pid, signal.SIGCONT)
    codes: list[str | None] = []
    for channel in channels:
        for _ in range(16):
            payload = channel.receive(MAX_SPLIT)
            assert payload is not None
            reply = msgspec.msgpack.decode(open_split(payload)[0], type=Reply)
            codes.append(reply.trouble.code if reply.trouble is not None else None)
        channel.close()
    assert sorted(codes, key=str) == ["MF-4022"] * (96 - MAX_UNDER_WAY) + [None] * MAX_UNDER_WAY
    assert serve.actual().served == MAX_UNDER_WAY


def test_a_death_in_the_middle_of_a_request_is_answered_by_the_same_model_again(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    pid = pid_of(serve, incumbent)
    answers: list[Answer] = []

    def application() -> None:
        with serve.sdk(60) as model:
            answers.append(model.ask({"image": live_images.inputs[:1]}))

    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=application)
    thread.start()
    eventually(lambda: serve.metric("modelfleet_requests_under_way"), 10)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert np.array_equal(answers[0].first, logits(incumbent, live_images.inputs[:1]))
    assert (serve.actual().served, serve.actual().failed) == (1, 0)
    assert pid_of(serve, incumbent) != pid
