"""Serve's own life: boots alone, one per state directory, drains, dies without leaving workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from modelfleet_agent.control.framing import LENGTH, frame
from modelfleet_agent.control.protocol import PROTOCOL, Desired, Kind, Request
from modelfleet_agent.serve import table
from modelfleet_agent.serve.model import Model
from modelfleet_agent.serve.shared import FellBack
from modelfleet_agent.worker.priority import Priority
from modelfleet_core.clock import SystemClock
from modelfleet_core.errors import IntegrityError

from e2e.support import Process, eventually
from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.process import ServeProcess, live, only, shadowing
from tests.agent.serve.support.truth import logits
from tests.agent.serve.support.variants import Images
from tests.agent.serve.test_answering import alive

pytestmark = pytest.mark.server


def test_serve_boots_from_its_table_without_a_supervisor(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    serve.want(shadowing(incumbent, candidate))
    pids = [serve.until_state(ref).pid for ref in (incumbent, candidate)]
    boot = serve.ask(Request(Kind.HELLO)).boot_id
    serve.kill()
    eventually(lambda: not any(alive(pid) for pid in pids if pid), 10, what="workers die with serve")
    with ServeProcess(serve.state.parent, "again") as again:
        with again.sdk(30) as model:
            answer = model(live_images.inputs[0])
        assert np.array_equal(answer, logits(incumbent, live_images.inputs[:1])[0])
        assert again.ask(Request(Kind.HELLO)).boot_id != boot
        reply = again.ask(Request(Kind.ACTUAL))
        assert reply.actual is not None
        assert reply.actual.generation == 1
        again.until_state(candidate)


def test_a_damaged_table_is_set_aside_until_the_supervisor_comes(
    serve: ServeProcess, variants: Variants
) -> None:
    serve.want(only(variants("1.1")))
    path = serve.state / "serve" / table.TABLE_NAME
    serve.stop()
    path.write_bytes(path.read_bytes()[:-20])
    with ServeProcess(serve.state.parent, "again") as again:
        reply = again.ask(Request(Kind.ACTUAL))
        assert reply.actual is not None
        assert reply.actual.slots == ()
        again.want(only(variants("1.1")))
        again.until_state(variants("1.1"))
    assert table.load(path.parent) is not None


def test_the_table_comes_back_as_it_was_saved(tmp_path: Path, variants: Variants) -> None:
    assert table.load(tmp_path) is None
    wanted = Desired(7, (live(variants("1.0"), variants("1.1")),))
    saved = table.SavedTable(wanted, {"digits": FellBack("a" * 64, "op-1", None, "MF-4026", "hung")})
    table.save(tmp_path, saved)
    table.save(tmp_path, saved)
    assert table.load(tmp_path) == saved
    assert [path.name for path in tmp_path.iterdir()] == [table.TABLE_NAME]
    raw = json.loads((tmp_path / table.TABLE_NAME).read_bytes())
    (tmp_path / table.TABLE_NAME).write_text(json.dumps(raw | {"schema": 2}))
    with pytest.raises(IntegrityError, match="MF-4034"):
        table.load(tmp_path)


def test_one_serve_per_state_directory(serve: ServeProcess) -> None:
    command = [
        sys.executable,
        "-m",
        "modelfleet_agent.serve",
        "--config",
        str(serve.state.parent / "agent.toml"),
    ]
    with Process(command, serve.state.parent / "logs", name="second") as second:
        assert second.wait(20) == 1
        assert "MF-4032" in second.stderr()
    assert serve.ask(Request(Kind.HELLO)).error is None


def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = tmp_path / "agent.toml"
        config.write_text(
            f'state_dir = "{tmp_path / "s"}"\n[serve]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        )
        command = [sys.executable, "-m", "modelfleet_agent.serve", "--config", str(config)]
        with Process(command, tmp_path) as process:
            assert process.wait(20) == 1
            assert "MF-4033" in process.stderr()


def test_sigterm_finishes_what_was_begun(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    pid = serve.until_state(incumbent).pid
    assert pid is not None
    answers: list[object] = []
    with serve.sdk() as warm:
        warm(live_images.inputs[0])
    os.kill(pid, signal.SIGSTOP)
    model = serve.sdk()
    thread = threading.Thread(target=lambda: answers.append(model(live_images.inputs[0])))
    thread.start()
    eventually(lambda: serve.metric("modelfleet_requests_under_way"), 5)
    serve.process.signal(signal.SIGTERM)
    eventually(lambda: "serve.draining" in serve.process.stderr(), 10)
    os.kill(pid, signal.SIGCONT)
    thread.join(20)
    model.close()
    assert len(answers) == 1
    assert serve.process.wait(20) == 0
    assert not alive(pid)


def test_a_supervisor_may_ask_serve_to_go(serve: ServeProcess) -> None:
    assert serve.ask(Request(Kind.DRAIN)).error is None
    assert serve.process.wait(20) == 0


def test_other_protocols_are_told_which_one_is_spoken(serve: ServeProcess, variants: Variants) -> None:
    hello = serve.ask(Request(Kind.HELLO, protocol=99))
    assert (hello.protocol, hello.error) == (PROTOCOL, None)
    refused = serve.ask(Request(Kind.DESIRED, protocol=99, desired=Desired(5, (only(variants("1.1")),))))
    assert refused.error is not None
    assert "99" in refused.error
    reply = serve.ask(Request(Kind.ACTUAL))
    assert reply.actual is not None
    assert reply.actual.slots == ()


def test_an_older_table_changes_nothing(serve: ServeProcess, variants: Variants) -> None:
    serve.want(only(variants("1.1")))
    serve.want(only(variants("1.1")))
    stale = serve.ask(Request(Kind.DESIRED, desired=Desired(1, ())))
    assert stale.actual is not None
    assert (stale.actual.generation, len(stale.actual.slots)) == (2, 1)


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 64, LENGTH.pack(1 << 31), b"".join(map(bytes, frame(b"\xc1")))]
)
def test_garbage_on_the_control_socket_hurts_nobody(serve: ServeProcess, garbage: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(serve.control))
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert serve.ask(Request(Kind.HELLO)).error is None


def test_sockets_are_private(serve: ServeProcess) -> None:
    assert serve.control.stat().st_mode & 0o777 == 0o600
    assert serve.socket.stat().st_mode & 0o777 == 0o660


def test_a_model_that_is_retired_takes_no_more_orders(variants: Variants) -> None:
    """Else whoever still holds it (the mirror does) would order from a worker that has gone."""

    async def life() -> None:
        model = Model(variants("1.1"), threads=1, watchdog_s=10, clock=SystemClock(), changed=lambda: None)
        model.start(Priority.NORMAL)
        while not model.ready:
            await model.moved()
        retiring = asyncio.create_task(model.retire())
        await asyncio.sleep(0)
        seen = [model.ready]
        await retiring
        assert [*seen, model.ready] == [False, False]

    asyncio.run(life())
