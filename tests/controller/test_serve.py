"""The program itself: readiness line, real HTTP on loopback, SIGTERM, restart, refusals at the start."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import ssl
import stat
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from modelfleet_controller.bootstrap import serve
from modelfleet_controller.main import main
from modelfleet_controller.settings import Settings
from modelfleet_core.clock import SystemClock
from modelfleet_core.ids import device_id
from modelfleet_core.trust.director import check_statement
from modelfleet_core.trust.http_signature import encode_nonce, sign_request
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.trust.policy import TrustFile, policy_of
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin, CheckinAnswer
from modelfleet_core.wire.enroll import EnrollRequest
from modelfleet_core.wire.operator import TrustView

from .kit import RELEASE_KEY, X86, Counting, build, in_loop
from e2e.support import Process, ProcessDied

pytestmark = pytest.mark.server


def controller(folder: Path, *more: str) -> Process:
    command = [
        "modelfleet-controller",
        "serve",
        "--data",
        str(folder / "data"),
        "--listen",
        "127.0.0.1:0",
        *more,
    ]
    return Process(command, folder / "logs")


class Device:
    """Signs real requests."""

    def __init__(self, url: str, audience: str) -> None:
        self.key = ed25519_from_seed(bytes(range(32)))
        self.id = device_id(self.key.public().raw)
        self.url = url
        self.audience = audience
        self.count = 0
        self.nonce = ""

    def send(self, method: str, path: str, body: bytes, **headers: str) -> httpx.Response:
        self.count += 1
        self.nonce = encode_nonce(hashlib.sha256(f"{self.url}{self.count}".encode()).digest()[:16])
        signed = sign_request(
            method=method,
            path=path,
            query="",
            body=body,
            created=int(SystemClock().now().timestamp()),
            nonce=self.nonce,
            keyid=self.id,
            signer=self.key,
            audience=self.audience,
        )
        return httpx.request(method, self.url + path, content=body, headers={**signed, **headers}, timeout=20)


def test_from_the_first_start_to_a_check_in_and_a_restart(tmp_path: Path) -> None:
    said = codec.encode(Checkin(0, "b", "0.1.0", ()))
    with controller(tmp_path, "--poll-s", "2") as process:
        ready = process.ready(60)
        url, admin = ready.text("url"), {"authorization": f"Bearer {ready.text('admin_token')}"}
        pem = RELEASE_KEY.public().to_pem()
        built = build()
        with httpx.Client(base_url=url, headers=admin, timeout=20) as http:
            view = codec.decode(http.get("/v1/trust").content, TrustView, what="trust")
            assert http.post("/v1/trust/release-keys", json={"pem": pem}).status_code == 201
            for data in built.blobs:
                path = f"/v1/blobs/sha256/{hashlib.sha256(data).hexdigest()}"
                assert http.put(path, content=data).status_code == 201
            assert http.post("/v1/releases", content=codec.encode(built.push)).status_code == 201
            token = {"kind": "enrolment", "name": "d", "ttl_s": 600.0}
            secret = http.post("/v1/tokens", json=token).json()["secret"]
        device = Device(url, view.audience)
        public = base64.b64encode(device.key.public().raw).decode()
        body = codec.encode(EnrollRequest(secret, public, "camera", X86))
        assert device.send("POST", "/v1/device/enroll", body).status_code == 200
        answer = device.send("POST", "/v1/device/checkin", said)
        now = SystemClock().now()
        told = codec.decode(answer.content, CheckinAnswer, what="answer")
        check_statement(
            told.statement,
            policy_of(TrustFile(view.audience, (pem,), view.director_keys, now)),
            device=device.id,
            nonce=device.nonce,
            last_revision=0,
            now_floor=now,
        )
        assert 1.8 <= float(answer.headers["modelfleet-poll-s"]) <= 2.2
        etag = {"if-none-match": answer.headers["etag"]}
        assert device.send("POST", "/v1/device/checkin", said, **etag).status_code == 204
        model = next(data for data in built.blobs if data.startswith(b"model"))
        path = f"/v1/blobs/sha256/{hashlib.sha256(model).hexdigest()}"
        part = device.send("GET", path, b"", range="bytes=5-")
        assert (part.status_code, part.content) == (206, model[5:])
        assert stat.S_IMODE((tmp_path / "data" / "director.key").stat().st_mode) == 0o600
        assert process.terminate() == 0
        events = {json.loads(line)["event"] for line in process.stderr().splitlines()}
        assert {"controller.ready", "controller.stopping", "request.answered"} <= events
        log = process.stderr() + process.stdout().replace(ready.text("admin_token"), "", 1)
        assert ready.text("admin_token") not in log
        assert secret not in log
    with controller(tmp_path) as again:
        fields = again.ready(60).fields
        assert set(fields) == {"url"}
        device.url = str(fields["url"])
        devices = httpx.get(f"{device.url}/v1/devices", headers=admin, timeout=20).json()["items"]
        assert [item["id"] for item in devices] == [device.id]
        assert devices[0]["last_seen"] is not None  # saved at the end
        assert device.send("POST", "/v1/device/checkin", said).status_code == 200


def test_a_download_survives_sigterm_of_the_controller(tmp_path: Path) -> None:
    data = bytes(8_000_000)
    name = hashlib.sha256(data).hexdigest()
    with controller(tmp_path) as process:
        ready = process.ready(60)
        admin = {"authorization": f"Bearer {ready.text('admin_token')}"}
        url = f"{ready.text('url')}/v1/blobs/sha256/{name}"
        assert httpx.put(url, content=data, headers=admin, timeout=20).status_code == 201
        with httpx.stream("GET", url, headers=admin, timeout=20) as download:
            chunks = download.iter_raw(65_536)
            received = len(next(chunks))
            os.kill(process.pid, 15)
            received += sum(len(chunk) for chunk in chunks)
        assert received == len(data)
        assert process.wait(20) == 0


def refusal(process: Process) -> str:
    with pytest.raises(ProcessDied):
        process.ready(60)
    assert process.returncode == 2
    return process.stderr()


def test_a_second_controller_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with controller(tmp_path) as first:
        first.ready(60)
        with controller(tmp_path) as second:
            assert "MF-1663" in refusal(second)
        assert first.running


def test_wrong_settings_end_with_what_to_do(tmp_path: Path) -> None:
    with controller(tmp_path, "--listen", "0.0.0.0:0") as process:
        said = refusal(process)
    assert "MF-1661" in said
    assert "--tls-certificate" in said
    with controller(tmp_path, "--poll-s", "never") as process:
        assert "MF-1662" in refusal(process)


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with controller(tmp_path) as process:
        said = refusal(process)
    assert "MF-1662" in said
    assert "Traceback" not in said
    assert (tmp_path / "data").read_text() == "a file is in the way"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "controller.test")])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.pem", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@in_loop
async def test_tls(tmp_path: Path) -> None:
    public, private = certificate(tmp_path)
    where = {"tls_certificate": public, "tls_key": private, "listen": "127.0.0.1:0"}
    stop, out = asyncio.Event(), io.StringIO()
    settings = Settings(tmp_path / "data", **where)  # type: ignore[arg-type] # each key has its field's type
    serving = asyncio.create_task(serve(settings, SystemClock(), Counting(), out, stop))
    while not out.getvalue():
        await asyncio.sleep(0.01)
        assert not serving.done()
    url = json.loads(out.getvalue())["ready"]["url"]
    assert url.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=str(public))
    async with httpx.AsyncClient(verify=context, base_url=url, timeout=20) as http:
        assert (await http.get("/livez")).text == "ok\n"
    stop.set()
    await serving


def test_migrate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfleet_core.logs.configure", lambda *_: None)
    for expected in ("schema none -> 0003", "schema 0003: nothing to do"):
        assert main(["migrate", "--data", str(tmp_path / "data")]) == 0
        assert expected in capsys.readouterr().out
