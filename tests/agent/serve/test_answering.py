"""Real requests: the active model's own answer, refusals by name, swaps that nobody notices."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from modelfleet_agent.control.protocol import Kind, ModelState, Request, SlotDesired
from modelfleet_agent.sdk import CallerError, Model, WorldError

from e2e.support import eventually
from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.process import SLOT, ServeProcess, live, only, shadowing
from tests.agent.serve.support.truth import logits
from tests.agent.serve.support.variants import Images


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "openvino"])
def test_an_answer_is_the_models_own(
    serve: ServeProcess, variants: Variants, live_images: Images, runtime: str
) -> None:
    ref = variants("1.1", runtime)
    serve.want(only(ref))
    inputs = live_images.inputs[:20]
    expected = logits(ref, inputs)
    with serve.sdk(30) as model:
        single = model(inputs[0])
        batch = model(inputs)
        answer = model.ask({"image": inputs[1:2]})
    assert single.shape == (10,)
    assert np.array_equal(single, expected[0])
    assert batch.shape == (20, 10)
    np.testing.assert_allclose(batch, expected, rtol=1e-4, atol=1e-4)
    assert np.array_equal(answer.first, expected[1:2])
    assert (answer.release, answer.variant) == (ref.release, ref.variant)
    assert 0 < answer.compute_s < 5
    slot = serve.actual()
    assert (slot.active, slot.served, slot.failed, slot.dropped) == (ref.release, 3, 0, 0)
    assert slot.answers == {ref.release: 3}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda image: image[:, :16], "shape"),
        (lambda image: image + 2.0, "holds values"),
        (lambda image: np.where(image > 2, image, np.float32("nan")), "NaN"),
        (lambda image: (image * 255).astype(np.uint8), "uint8"),
    ],
)
def test_an_input_that_breaks_the_contract_is_refused_and_counts_for_nothing(
    serve: ServeProcess, variants: Variants, live_images: Images, spoil: object, says: str
) -> None:
    assert callable(spoil)
    incumbent, candidate = variants("1.0"), variants("1.1")
    serve.want(shadowing(incumbent, candidate, window_s=0.5))
    serve.until_state(candidate)
    with serve.sdk() as model, pytest.raises(CallerError) as caught:
        model(spoil(live_images.inputs[0]))
    assert caught.value.code.value == "MF-4005"
    assert says in str(caught.value)
    slot = serve.actual()
    assert (slot.served, slot.failed, slot.dropped) == (0, 0, 0)
    reports = eventually(serve.reports, 10)
    assert sum(report.n + report.served + report.served_failed for report in reports) == 0


def test_unknown_and_empty_slots_say_so(serve: ServeProcess, variants: Variants, live_images: Images) -> None:
    candidate = variants("1.1")
    serve.want(SlotDesired(SLOT, None, None, candidate, None, operation="op-1"))
    serve.until_state(candidate)
    for name in (SLOT, "nobody"):
        with Model(name, socket=serve.socket) as model, pytest.raises(WorldError) as caught:
            model.infer({"image": live_images.inputs[:1]})
        assert caught.value.code.value == "MF-4020"
        assert name in caught.value.happened
    assert serve.actual().answers == {}, "a candidate that is not active answers nobody"


def test_a_swap_under_load_fails_and_drops_nothing(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    inputs = live_images.inputs[:40]
    truth = {ref.release: logits(ref, inputs) for ref in (incumbent, candidate)}
    serve.want(shadowing(incumbent, candidate))
    serve.until_state(candidate)
    stop = threading.Event()
    wrong: list[str] = []
    asked = [0] * 3

    def application(number: int) -> None:
        with serve.sdk() as model:
            while not stop.is_set():
                row = asked[number] % len(inputs)
                try:
                    answer = model.ask({"image": inputs[row : row + 1]})
                except (CallerError, WorldError) as error:
                    wrong.append(str(error))
                    return
                if not np.array_equal(answer.first[0], truth[answer.release][row]):
                    wrong.append(f"image {row} by {answer.release[:8]}")
                asked[number] += 1

    threads = [threading.Thread(target=application, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            serve.want((live if turn % 2 == 0 else shadowing)(incumbent, candidate))
            goal = sum(asked) + 60
            eventually(partial(reached, asked, goal), 20, what="60 more answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    slot = serve.actual()
    assert slot.swaps == 6
    assert (slot.served, slot.failed, slot.dropped) == (sum(asked), 0, 0)
    assert set(slot.answers) == {incumbent.release, candidate.release}
    assert min(slot.answers.values()) > 50
    assert 0 < slot.worst_swap_gap_ms < 500


def reached(asked: list[int], goal: int) -> bool:
    return sum(asked) > goal


def test_a_commit_keeps_both_workers_and_the_evidence(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    serve.want(live(incumbent, candidate, window_s=0.5, share=1.0))
    serve.until_state(candidate)
    eventually(lambda: serve.actual().active == candidate.release, 10)
    pids = {model.release: model.pid for model in serve.actual().models}
    committed = replace(
        live(incumbent, candidate, window_s=0.5, share=1.0),
        incumbent=candidate,
        candidate=None,
        previous=incumbent,
        probation=False,
    )
    serve.want(committed)
    with serve.sdk() as model:
        for image in live_images.inputs[:10]:
            model(image)
    assert {model.release: model.pid for model in serve.actual().models} == pids
    reports = eventually(
        lambda: [report for report in serve.reports() if report.candidate_answers], 10, what="a live report"
    )
    assert {(report.release, report.incumbent) for report in reports} == {
        (candidate.release, incumbent.release)
    }
    assert serve.actual().swaps == 0, "the first model of a slot is no swap"


def test_a_model_that_is_no_longer_wanted_leaves(serve: ServeProcess, variants: Variants) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    serve.want(shadowing(incumbent, candidate))
    pid = serve.until_state(candidate).pid
    serve.want(only(incumbent))
    assert serve.model(candidate) is None
    assert pid is not None
    eventually(lambda: not alive(pid), 10)
    assert serve.until_state(incumbent).state is ModelState.READY
    serve.want()
    reply = serve.ask(Request(Kind.ACTUAL))
    assert reply.actual is not None
    assert reply.actual.slots == ()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
