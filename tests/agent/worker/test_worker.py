"""A real worker process at the end of a socket pair: what it says to each order, and when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from modelfleet_agent.control.framing import MAX_SPLIT, Buffer, Channel, open_split, split_frame
from modelfleet_agent.control.protocol import ModelRef, ModelState
from modelfleet_agent.control.tensors import TensorHead
from modelfleet_agent.worker.priority import Priority
from modelfleet_agent.worker.protocol import Answer, GoldenPart, Op, Open, Opened, Order, Role, Run, Status

from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.truth import compared, logits
from tests.agent.serve.support.variants import Images
from tests.build.edge import tflm

HEAD = (TensorHead("image", (1, 1, 32, 32)),)
LOGITS = (TensorHead("logits", (1, 10)),)


@dataclass(slots=True)
class Worker:
    process: subprocess.Popen[bytes]
    channel: Channel

    def ask(self, order: Order, *bodies: Buffer) -> tuple[Answer, memoryview]:
        self.channel.send(split_frame(msgspec.msgpack.encode(order), bodies))
        payload = self.channel.receive(MAX_SPLIT)
        assert payload is not None, "the worker ended"
        head, body = open_split(payload)
        return msgspec.msgpack.decode(head, type=Answer), body

    def open(self, ref: ModelRef, *, self_test: bool = True) -> list[Answer]:
        answers = [self.ask(Order(Op.OPEN, open=Open(ref.folder, ref.variant, 1, self_test)))[0]]
        while answers[-1].status is Status.PROGRESS:
            payload = self.channel.receive(MAX_SPLIT)
            assert payload is not None
            answers.append(msgspec.msgpack.decode(open_split(payload)[0], type=Answer))
        return answers

    def run(self, image: Buffer, theirs: Buffer = b"", role: Role | None = None) -> tuple[Answer, memoryview]:
        run = Run(HEAD, LOGITS if theirs else (), role)
        return self.ask(Order(Op.RUN, run=run), image, *([theirs] if theirs else []))


@pytest.fixture
def worker() -> Iterator[Worker]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "modelfleet_agent.worker", str(theirs.fileno()), str(os.getpid())]
    process = subprocess.Popen([*command, "loading"], pass_fds=(theirs.fileno(),))
    theirs.close()
    ours.settimeout(60)
    yield Worker(process, Channel(ours))
    ours.close()
    assert process.wait(20) == 0, "a worker ends when serve closes the socket"


def steps(answers: list[Answer]) -> list[ModelState]:
    return [answer.opened.state for answer in answers if answer.opened is not None]


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "openvino", pytest.param("tflm", marks=tflm)])
def test_a_variant_is_loaded_tested_and_warmed(
    worker: Worker, variants: Variants, live_images: Images, runtime: str
) -> None:
    ref = variants("1.1", runtime)
    answers = worker.open(ref)
    assert steps(answers) == [
        ModelState.STARTING,
        ModelState.TESTING,
        ModelState.WARMING,
        ModelState.READY,
    ]
    opened = answers[-1].opened
    assert opened is not None
    assert opened.runtime.startswith(runtime)
    assert opened.self_test is not None
    assert (opened.self_test.passed, opened.self_test.samples) == (True, 64)
    assert 0 < opened.warm_ns < 1e9
    assert opened.golden_samples == 64
    answer, body = worker.run(live_images.inputs[0].tobytes())
    assert (answer.status, answer.outputs) == (Status.OK, LOGITS)
    assert 0 < answer.compute_ns <= answer.busy_ns
    assert np.array_equal(np.frombuffer(body, np.float32), logits(ref, live_images.inputs[:1])[0])


def test_the_self_test_may_be_left_out(worker: Worker, variants: Variants) -> None:
    answers = worker.open(variants("1.1", spoil=1.0), self_test=False)
    assert steps(answers) == [ModelState.STARTING, ModelState.WARMING, ModelState.READY]


def test_a_spoilt_record_fails_the_self_test(worker: Worker, variants: Variants) -> None:
    opened = worker.open(variants("1.1", spoil=1.0))[-1].opened
    assert opened is not None
    assert opened.state is ModelState.FAILED
    assert opened.self_test is not None
    assert not opened.self_test.passed
    assert abs(opened.self_test.worst_error - 1.0) < 1e-4


def test_comparison_by_role(worker: Worker, variants: Variants, live_images: Images) -> None:
    ours, other = variants("1.2"), variants("1.1")
    worker.open(ours)
    inputs = live_images.inputs[:40]
    mine, theirs = logits(ours, inputs), logits(other, inputs)
    for role, expected in (
        (Role.CANDIDATE, compared(mine, theirs)),
        (Role.INCUMBENT, compared(theirs, mine)),
    ):
        total = [0, 0, 0]
        for number, image in enumerate(inputs):
            answer, _ = worker.run(image.tobytes(), theirs[number].tobytes(), role)
            seen = answer.compared
            assert seen is not None
            assert (len(seen.candidate_scores), len(seen.incumbent_scores)) == (1, 1)
            total = [total[0] + seen.compared, total[1] + seen.agreed, total[2] + seen.close]
        assert total == [expected.compared, expected.agreed, expected.close]


def test_nan_is_a_status_of_its_own(worker: Worker, variants: Variants, live_images: Images) -> None:
    ref = variants("1.5")
    worker.open(ref)
    broken = ~np.isfinite(logits(ref, live_images.inputs[:100])).all(axis=1)
    assert broken.any()
    image = live_images.inputs[:100][broken][0]
    answer, body = worker.run(image.tobytes())
    assert (answer.status, answer.code, len(body)) == (Status.NOT_FINITE, "MF-4028", 0)
    answer, _ = worker.run(image.tobytes(), np.zeros(10, np.float32).tobytes(), Role.CANDIDATE)
    assert answer.compared is not None
    assert (answer.compared.compared, answer.compared.candidate_failed) == (0, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0, 7.0])
def test_values_outside_the_contract_are_refused(worker: Worker, variants: Variants, value: float) -> None:
    worker.open(variants("1.1"))
    answer, _ = worker.run(np.full((1, 1, 32, 32), value, np.float32).tobytes())
    assert (answer.status, answer.code) == (Status.REFUSED, "MF-4005")


def test_golden_answers_are_counted_in_parts(worker: Worker, variants: Variants) -> None:
    worker.open(variants("1.2"))
    folder = variants("1.0").folder
    right = 0.0
    for start in range(0, 64, 10):
        answer, _ = worker.ask(Order(Op.GOLDEN, Priority.IDLE, golden=GoldenPart(folder, start, 10)))
        assert (answer.status, answer.length) == (Status.OK, 64)
        assert answer.total == min(10, 64 - start)
        right += answer.right
    assert right == 48
    answer, _ = worker.ask(Order(Op.GOLDEN, golden=GoldenPart("/nowhere", 0, 10)))
    assert (answer.status, answer.code) == (Status.FAILED, "MF-4012")


def test_golden_inputs_are_handed_out(worker: Worker, variants: Variants) -> None:
    worker.open(variants("1.1"))
    first, first_body = worker.ask(Order(Op.SAMPLE, sample=0))
    again, again_body = worker.ask(Order(Op.SAMPLE, sample=64))
    assert first.outputs == again.outputs == HEAD
    assert bytes(first_body) == bytes(again_body)


def test_orders_that_make_no_sense(worker: Worker, variants: Variants) -> None:
    assert worker.run(bytes(4096))[0].code == "MF-4036", "nothing is open"
    answer, _ = worker.ask(Order(Op.OPEN, open=Open("/nowhere", "v", 1, True)))
    assert (answer.status, answer.code) == (Status.FAILED, "MF-4038")
    worker.open(variants("1.1"))
    assert worker.ask(Order(Op.RUN))[0].code == "MF-4036"
    assert worker.ask(Order(Op.RUN, run=Run(HEAD)), b"too short")[0].code == "MF-4036"
    other = (TensorHead("picture", (1, 1, 32, 32)),)
    assert worker.ask(Order(Op.RUN, run=Run(other)), bytes(4096))[0].code == "MF-4005"
    twice = (TensorHead("image", (1, 1, 32, 32)),) * 2
    assert worker.ask(Order(Op.RUN, run=Run(twice)), bytes(8192))[0].status is Status.FAILED
    assert worker.run(bytes(4096))[0].status is Status.OK


def test_signals_to_the_group_do_not_end_a_worker(worker: Worker, variants: Variants) -> None:
    worker.open(variants("1.1"))
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGINT)
    assert worker.run(bytes(4096))[0].status is Status.OK


def test_a_worker_dies_with_its_parent(variants: Variants) -> None:
    """The parent is killed and its end of the socket stays open: only the kernel can tell the worker."""
    ours, theirs = socket.socketpair()
    code = (
        "import os, signal, subprocess, sys\n"
        "end = sys.argv[1]\n"
        "command = [sys.executable, '-P', '-m', 'modelfleet_agent.worker', end, str(os.getpid()), 'normal']\n"
        "child = subprocess.Popen(command, pass_fds=(int(end),))\n"
        "print(child.pid, flush=True)\n"
        "signal.pause()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdout=subprocess.PIPE,
    )
    theirs.close()
    ours.settimeout(30)
    channel = Channel(ours)
    with parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        probe = Worker(parent, channel)
        assert probe.run(bytes(4096))[0].code == "MF-4036", "it listens"
        parent.kill()
    assert channel.receive(MAX_SPLIT) is None, "the kernel closed its socket"
    channel.close()


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "openvino"])
def test_every_thread_of_a_worker_follows_the_priority(
    worker: Worker, variants: Variants, runtime: str
) -> None:
    """It was started at loading priority; a runtime's own threads must not stay there."""
    opened: Opened | None = worker.open(variants("1.1", runtime))[-1].opened
    assert opened is not None
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    for priority, policy in ((Priority.IDLE, os.SCHED_IDLE), (Priority.NORMAL, os.SCHED_OTHER)):
        run = Run(HEAD, measure=True)
        answer, _ = worker.ask(Order(Op.RUN, priority, run=run), bytes(4096))
        assert answer.status is Status.OK
        threads = [int(name) for name in os.listdir(f"/proc/{worker.process.pid}/task")]
        seen = {(os.sched_getscheduler(item), os.getpriority(os.PRIO_PROCESS, item)) for item in threads}
        if not opened.can_lower:
            assert seen == {(os.SCHED_OTHER, ours)}
        elif priority is Priority.NORMAL:
            assert seen == {(policy, ours)}
        else:
            assert {item[0] for item in seen} == {policy}


def test_without_the_right_to_come_back_nothing_is_lowered() -> None:
    """The process gives CAP_SYS_NICE away first: what any ordinary user's worker is like."""
    code = (
        "import ctypes, os, resource\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "assert libc.capget(head, data) == 0\n"
        "for index in (0, 1):\n"
        "    data[index] &= ~(1 << 23)\n"
        "assert libc.capset(head, data) == 0\n"
        "resource.setrlimit(resource.RLIMIT_NICE, (0, 0))\n"
        "from modelfleet_agent.worker.priority import Priority, Scheduler\n"
        "scheduler = Scheduler()\n"
        "scheduler.set(Priority.IDLE)\n"
        "print(scheduler.can_lower, os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))\n"
    )
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(os.SCHED_OTHER), str(nice)]
