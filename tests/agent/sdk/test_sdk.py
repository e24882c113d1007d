"""The SDK against a real serve that comes and goes."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from modelfleet_agent.control.framing import LENGTH, split_frame
from modelfleet_agent.sdk import Answer, CallerError, Model, WorldError
from modelfleet_agent.sdk.settings import SOCKET_VARIABLE, socket_path
from modelfleet_core.clock import ManualClock

from e2e.support import eventually
from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.process import SLOT, ServeProcess, only
from tests.agent.serve.support.truth import logits
from tests.agent.serve.support.variants import Images


def test_calls_survive_a_serve_that_is_killed_and_started_again(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    inputs = live_images.inputs[:30]
    expected = logits(incumbent, inputs)
    wrong: list[str] = []
    asked = [0]
    stop = threading.Event()

    def application() -> None:
        with serve.sdk(timeout_s=60) as model:
            while not stop.is_set():
                row = asked[0] % len(inputs)
                try:
                    if not np.array_equal(model(inputs[row]), expected[row]):
                        wrong.append(f"image {row}")
                except (CallerError, WorldError) as error:
                    wrong.append(str(error))
                asked[0] += 1

    thread = threading.Thread(target=application)
    thread.start()
    try:
        eventually(lambda: asked[0] > 20, 30)
        serve.kill()
        before = asked[0]
        with ServeProcess(serve.state.parent, "second") as second:
            eventually(lambda: asked[0] > before + 20, 30)
            assert second.stop() == 0
            with ServeProcess(serve.state.parent, "third"):
                later = asked[0]
                eventually(lambda: asked[0] > later + 20, 30)
                stop.set()
                thread.join()
    finally:
        stop.set()
        thread.join()
    assert wrong == []


def test_nobody_there(tmp_path: Path) -> None:
    clock = ManualClock()
    model = Model(SLOT, socket=tmp_path / "none.sock", timeout_s=7.0, clock=clock)
    with pytest.raises(WorldError) as caught:
        model(np.zeros((1, 32, 32), np.float32))
    assert caught.value.code.value == "MF-4035"
    assert "none.sock" in caught.value.happened
    assert 7.0 <= clock.elapsed < 7.1


@pytest.mark.parametrize("answer", [b"", LENGTH.pack(1 << 31), b"".join(map(bytes, split_frame(b"\xc1")))])
def test_a_stranger_on_the_socket_is_no_serve(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        stop = threading.Event()

        def stranger() -> None:
            while not stop.is_set():
                connection, _ = listener.accept()
                with connection, contextlib.suppress(ConnectionError):
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

        thread = threading.Thread(target=stranger)
        thread.start()
        try:
            with (
                Model(SLOT, socket=tmp_path / "s", timeout_s=0.3) as model,
                pytest.raises((WorldError, CallerError)) as caught,
            ):
                model(np.zeros((1, 32, 32), np.float32))
            assert caught.value.code.value in ("MF-4035", "MF-4036")
        finally:
            stop.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(tmp_path / "s"))
            thread.join()


def test_threads_may_share_a_model(serve: ServeProcess, variants: Variants, live_images: Images) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    expected = logits(incumbent, live_images.inputs[:8])
    wrong: list[int] = []
    with serve.sdk(30) as model:

        def application(row: int) -> None:
            for _ in range(20):
                if not np.array_equal(model(live_images.inputs[row]), expected[row]):
                    wrong.append(row)

        threads = [threading.Thread(target=application, args=(row,)) for row in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_many_connections_at_once(serve: ServeProcess, variants: Variants, live_images: Images) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    expected = logits(incumbent, live_images.inputs[:1])[0]
    models = [serve.sdk(30) for _ in range(40)]
    answers: list[Answer] = []
    threads = [
        threading.Thread(
            target=lambda model=model: answers.append(model.ask({"image": live_images.inputs[:1]}))
        )
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        model.close()
    assert len(answers) == 40
    assert all(np.array_equal(answer.first[0], expected) for answer in answers)


def test_metadata(serve: ServeProcess, variants: Variants) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    serve.until_state(incumbent)
    with serve.sdk() as model:
        about = model.metadata()
    assert (about.reference, about.variant, about.ready) == ("digits:1.1", "onnxruntime.fp32", True)
    assert [tensor.name for tensor in about.inputs] == ["image"]
    assert about.outputs[0].shape == (-1, 10)


def test_float64_and_strided_images_are_fine(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent = variants("1.1")
    serve.want(only(incumbent))
    image = live_images.inputs[0]
    flipped = np.ascontiguousarray(image[:, :, ::-1])
    with serve.sdk(30) as model:
        assert np.array_equal(model(image.astype(np.float64)), model(image))
        assert np.array_equal(model(flipped[:, :, ::-1]), model(image))
        assert model.infer({"image": image[None]})["logits"].flags.writeable


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 64,
        LENGTH.pack(1 << 31),
        b"".join(map(bytes, split_frame(b"\xc1"))),
        b"".join(map(bytes, split_frame(b"\x80"))),
        LENGTH.pack(2) + b"ab",
        LENGTH.pack(100) + b"torn",
    ],
)
def test_garbage_closes_the_connection_and_nothing_else(
    serve: ServeProcess, variants: Variants, live_images: Images, garbage: bytes
) -> None:
    serve.want(only(variants("1.1")))
    with serve.sdk(30) as model:
        model(live_images.inputs[0])
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(serve.socket))
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        model(live_images.inputs[0])
    assert (serve.actual().served, serve.actual().failed) == (2, 0)


def test_where_serve_is_looked_for(tmp_path: Path) -> None:
    assert socket_path({SOCKET_VARIABLE: "/run/a.sock"}) == Path("/run/a.sock")
    assert socket_path({"XDG_STATE_HOME": str(tmp_path)}).name == "sdk.sock"
