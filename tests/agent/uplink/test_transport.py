"""HTTP as it is: real sockets, real broken connections."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from modelfleet_agent.lifecycle.bandwidth import Bandwidth
from modelfleet_agent.lifecycle.download import Downloader
from modelfleet_agent.uplink.client import ControllerClient, CorrectedClock
from modelfleet_agent.uplink.transport import HttpTransport, Outgoing
from modelfleet_core.clock import ManualClock
from modelfleet_core.errors import WorldError
from modelfleet_core.release.manifest import Artifact
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.trust.policy import policy_of

from tests.agent.fakes import FakeController, entropy
from tests.agent.http_fake import served

pytestmark = pytest.mark.server
DATA = Random(3).randbytes(400_000)


@pytest.fixture
def controller() -> FakeController:
    return FakeController()


@pytest.fixture
def transport(controller: FakeController) -> Iterator[HttpTransport]:
    with served(controller) as url:
        transport = HttpTransport(url)
        yield transport
        transport.close()
    gc.collect()


def client(controller: FakeController, transport: HttpTransport) -> ControllerClient:
    signer = ed25519_from_seed(b"k" * 32)
    controller.keys["dev_1"] = signer.public()
    clock = CorrectedClock(ManualClock(controller.clock.now()))
    return ControllerClient(transport, "dev_1", signer, policy_of(controller.trust()), clock, entropy(4))


def test_answers_of_any_status_come_through(transport: HttpTransport) -> None:
    assert transport.send(Outgoing("GET", "/livez", {})).body == b"ok"
    assert transport.send(Outgoing("GET", "/nothing", {})).status == 400


def test_a_redirect_is_not_followed(transport: HttpTransport) -> None:
    assert transport.send(Outgoing("GET", "/redirect", {})).status == 307


def test_an_answer_beyond_the_limit_is_refused(transport: HttpTransport) -> None:
    with pytest.raises(WorldError, match="MF-5010"):
        transport.send(Outgoing("GET", "/livez", {}), limit=1)


def test_nobody_there_is_one_kind_of_error() -> None:
    with pytest.raises(WorldError, match="MF-5010"):
        HttpTransport("http://127.0.0.1:9").send(Outgoing("GET", "/livez", {}))


def test_a_connection_that_was_left_half_read_is_not_used_again(
    controller: FakeController, transport: HttpTransport
) -> None:
    digest = controller.put_blob(DATA)
    speaking = client(controller, transport)
    with speaking.open(f"/v1/blobs/sha256/{digest}", {}) as stream:
        assert len(stream.read(1000)) == 1000
    assert transport.send(Outgoing("GET", "/livez", {})).body == b"ok"


def test_a_signed_download_through_broken_connections(
    controller: FakeController, transport: HttpTransport, tmp_path: Path
) -> None:
    digest = controller.put_blob(DATA)
    controller.breaks_after = [100_000, 70_000, 1]
    clock = ManualClock()
    downloader = Downloader(client(controller, transport), clock, entropy(1), lambda: False)
    artifact = Artifact("model.onnx", digest, len(DATA))
    downloader.fetch(artifact, tmp_path, Bandwidth(None, clock, lambda: False))
    assert hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest() == digest
    assert [request.headers.get("Range") for request in controller.requests] == [
        None,
        "bytes=100000-",
        "bytes=170000-",
        "bytes=170001-",
    ]
    assert downloader.received == len(DATA)
