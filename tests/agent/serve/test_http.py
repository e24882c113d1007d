"""The HTTP side against a real serve: Triton's own client unchanged, plain JSON, and clients that mean no
good."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from e2e.support import eventually
from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.process import SLOT, ServeProcess, only
from tests.agent.serve.support.truth import logits
from tests.agent.serve.support.variants import Images

pytestmark = pytest.mark.server

FOREIGN = Path(__file__).parent / "support" / "triton_application.py"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, variants: Variants) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("http")) as process:
        process.want(only(variants("1.1")))
        process.until_state(variants("1.1"))
        yield process


def ask(
    serve: ServeProcess,
    path: str,
    body: object = None,
    *,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    assert data is None or isinstance(data, bytes)
    request = urllib.request.Request(f"{serve.http}{path}", data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_tritons_client_works_unchanged(warm: ServeProcess, variants: Variants, live_images: Images) -> None:
    """In a process of its own: the client brings an event loop that changes the interpreter."""
    done = subprocess.run(
        [sys.executable, str(FOREIGN), warm.http.removeprefix("http://"), SLOT],
        input=live_images.inputs[:3].tobytes(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    expected = logits(variants("1.1"), live_images.inputs[:3])
    assert np.array_equal(np.array(seen["binary"], np.float32), expected[0])
    assert np.array_equal(np.array(seen["json"], np.float32), expected[1])
    assert np.array_equal(np.array(seen["compressed"], np.float32), expected[2])
    assert seen["live"] is seen["ready"] is seen["model_ready"] is True
    assert seen["absent"] is False
    assert seen["metadata"] == {
        "name": "digits",
        "versions": ["1.1"],
        "platform": "modelfleet_onnxruntime",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 32, 32]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
    }
    assert seen["version"] == "1.1"
    assert "binary_tensor_data" in seen["extensions"]
    assert "MF-4005" in seen["refused"]


def test_plain_json(warm: ServeProcess, variants: Variants, live_images: Images) -> None:
    image = live_images.inputs[:1]
    body = {
        "id": "one",
        "inputs": [{"name": "image", "shape": [1, 1, 32, 32], "datatype": "FP32", "data": image.tolist()}],
    }
    for path in (f"/v2/models/{SLOT}/infer", f"/v2/models/{SLOT}/versions/1.1/infer"):
        status, data = ask(warm, path, body)
        assert status == 200
        answer = json.loads(data)
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("one", SLOT, "1.1")
        got = np.array(answer["outputs"][0]["data"], np.float32)
        assert np.array_equal(got, logits(variants("1.1"), image)[0])


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v2/models/nobody/infer", {"inputs": []}, 404, "MF-4020"),
        (f"/v2/models/{SLOT}/infer", b"{", 400, "MF-4021"),
        (f"/v2/models/{SLOT}/infer", {"inputs": []}, 400, "MF-4005"),
        (f"/v2/models/{SLOT}/versions/9/infer", {"inputs": []}, 400, "version"),
        (f"/v2/models/{SLOT}/explain", None, 404, "nothing at"),
        ("/v3", None, 404, "nothing at"),
        ("/", None, 404, "nothing at"),
        (f"/v2/models/{SLOT}", b"{}", 405, "POST"),
        ("/metrics", b"{}", 405, "POST"),
        (f"/v2/models/{SLOT}/infer", None, 405, "POST"),
    ],
)
def test_errors_say_what_was_wrong(
    warm: ServeProcess, path: str, body: object, status: int, says: str
) -> None:
    seen, data = ask(warm, path, body)
    assert (seen, says in json.loads(data)["error"]) == (status, True), data


def test_health_status_and_metrics(warm: ServeProcess, variants: Variants) -> None:
    assert ask(warm, "/v2/health/live")[0] == 200
    assert ask(warm, "/v2/health/ready")[0] == 200
    status = json.loads(ask(warm, "/status")[1])
    assert status["slots"][0]["active"] == variants("1.1").release
    text = ask(warm, "/metrics")[1].decode()
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(set(families)) == len(families)
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name.partition("{")[0] in families
            assert float(value) >= 0


def test_a_body_that_is_compressed(warm: ServeProcess) -> None:
    status, data = ask(
        warm, f"/v2/models/{SLOT}/infer", gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}
    )
    assert (status, b"MF-4021" in data) == (400, True)
    status, _ = ask(warm, f"/v2/models/{SLOT}/infer", b"not gzip", headers={"Content-Encoding": "gzip"})
    assert status == 400
    status, _ = ask(warm, f"/v2/models/{SLOT}/infer", b"{}", headers={"Content-Encoding": "br"})
    assert status == 415
    bomb = gzip.compress(bytes(80 * 1024 * 1024))
    status, _ = ask(warm, f"/v2/models/{SLOT}/infer", bomb, headers={"Content-Encoding": "gzip"})
    assert status == 413


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (b"POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST /v2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"400"),
        (b"", b""),
        (b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n", b""),
    ],
)
def test_clients_that_do_not_speak_http_hurt_nobody(warm: ServeProcess, raw: bytes, expected: bytes) -> None:
    host, _, port = warm.http.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert expected in answer.partition(b"\r\n")[0]
    assert ask(warm, "/v2/health/live")[0] == 200


def test_one_connection_many_requests(warm: ServeProcess) -> None:
    host, _, port = warm.http.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_serve_whose_model_is_not_ready_says_so(serve: ServeProcess, variants: Variants) -> None:
    assert ask(serve, "/v2/health/ready")[0] == 200, "nothing is wanted, nothing is missing"
    serve.want(only(variants("1.3")))
    eventually(lambda: ask(serve, f"/v2/models/{SLOT}/ready")[0] == 200, 30)
    assert ask(serve, "/v2/health/ready")[0] == 200
