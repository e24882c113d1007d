"""What a check-in, a report and an event cost the controller: processor time per request, all features on.

A real controller process (Ed25519 on every request, audit, metrics, SQLite with synchronous=FULL) gets
requests that were signed before the clock starts, over 32 kept-alive connections on loopback. Server time
is the process's own user and system time, which a busy machine disturbs far less than requests per second.
The durable rows share group commits.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from modelfleet_core.clock import SystemClock
from modelfleet_core.ids import device_id
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.trust.http_signature import encode_nonce, sign_request
from modelfleet_core.trust.keys import Ed25519Private, ed25519_from_seed
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin, SlotStatus
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.enroll import EnrollRequest
from modelfleet_core.wire.event import DeviceEvent, EventBatch, EventKind
from modelfleet_core.wire.report import Report, ReportBatch

from e2e.support import Process

CONNECTIONS = 32
DEVICES = 200
REQUESTS = 6000
FACTS = DeviceFacts("x86_64", {"onnxruntime": "1.22.0"}, 4 * 1024**3, agent_version="0.1.0")
SLOTS = (SlotStatus("digits", "idle", incumbent="a" * 64, incumbent_reference="digits:1.0"),)


@dataclass
class Device:
    key: Ed25519Private
    id: str
    audience: str
    etag: str = ""

    def request(self, path: str, body: bytes, *, etag: bool = False) -> bytes:
        """One whole signed HTTP/1.1 request."""
        headers = sign_request(
            method="POST",
            path=path,
            query="",
            body=body,
            created=int(time.time()),
            nonce=encode_nonce(os.urandom(16)),
            keyid=self.id,
            signer=self.key,
            audience=self.audience,
        )
        if etag:
            headers["If-None-Match"] = self.etag
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def send_all(port: int, requests: list[bytes], expect: bytes) -> list[float]:
    """Sends every request once over kept-alive connections; seconds that each took."""
    queue = iter(requests)
    took: list[float] = []

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in queue:
            begun = time.perf_counter()
            writer.write(request)
            status = await reader.readline()
            length = 0
            while (line := await reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if length:
                await reader.readexactly(length)
            took.append(time.perf_counter() - begun)
            if expect not in status:
                raise SystemExit(f"unexpected answer: {status!r}")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[worker() for _ in range(CONNECTIONS)])
    return took


def measure(name: str, process: Process, port: int, requests: list[bytes], expect: bytes) -> None:
    asyncio.run(send_all(port, requests[: len(requests) // 10], expect))  # warm
    rest = requests[len(requests) // 10 :]
    cpu, begun = cpu_s(process.pid), time.perf_counter()
    took = sorted(asyncio.run(send_all(port, rest, expect)))
    elapsed, spent = time.perf_counter() - begun, cpu_s(process.pid) - cpu
    print(
        f"  {name:<34} {1e6 * spent / len(rest):8.0f} us server time   {len(rest) / elapsed:7.0f} /s   "
        f"p50 {1e3 * took[len(took) // 2]:6.1f} ms   p99 {1e3 * took[int(0.99 * len(took))]:6.1f} ms",
        flush=True,
    )


def enrol(url: str, admin: dict[str, str], count: int) -> list[Device]:
    with httpx.Client(base_url=url, timeout=60) as http:
        audience = http.get("/v1/trust", headers=admin).json()["audience"]
        token = {"kind": "enrolment", "name": "bench", "ttl_s": 3600.0, "max_uses": count}
        secret = http.post("/v1/tokens", headers=admin, json=token).json()["secret"]
        devices = []
        for index in range(count):
            key = ed25519_from_seed(hashlib.sha256(f"bench {index}".encode()).digest())
            raw = key.public().raw
            device = Device(key, device_id(raw), audience)
            body = codec.encode(
                EnrollRequest(secret, base64.b64encode(raw).decode(), f"bench-{index}", FACTS)
            )
            head, _, _ = device.request("/v1/device/enroll", body).partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            assert http.post("/v1/device/enroll", content=body, headers=headers).status_code == 200
            devices.append(device)
        for device in devices:
            body = codec.encode(Checkin(0, "boot", "0.1.0", SLOTS))
            head, _, _ = device.request("/v1/device/checkin", body).partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            device.etag = http.post("/v1/device/checkin", content=body, headers=headers).headers["etag"]
    return devices


def report(device: Device, window: int) -> bytes:
    made = Report(
        window=window,
        window_s=300.0,
        slot="digits",
        operation="baseline:0123456789abcdef",
        release="a" * 64,
        incumbent=None,
        mode=Mode.LIVE,
        served=200,
        n=200,
    )
    return device.request("/v1/device/reports", codec.encode(ReportBatch((made,))))


def event(device: Device, sequence: int) -> bytes:
    made = DeviceEvent(sequence, SystemClock().now(), EventKind.ALARM, "digits", "op", "a" * 64)
    return device.request("/v1/device/events", codec.encode(EventBatch("epoch", (made,))))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        where = ["--data", f"{folder}/data", "--listen", "127.0.0.1:0", "--log-level", "WARNING"]
        with Process(["modelfleet-controller", "serve", *where], Path(folder)) as process:
            ready = process.ready(120)
            url = ready.text("url")
            port = int(url.rpartition(":")[2])
            devices = enrol(url, {"authorization": f"Bearer {ready.text('admin_token')}"}, DEVICES)
            body = codec.encode(Checkin(1, "boot", "0.1.0", SLOTS))
            print(f"  {DEVICES} devices, {CONNECTIONS} connections, {REQUESTS} requests each")
            turns = [devices[index % len(devices)] for index in range(REQUESTS)]
            checkin = "/v1/device/checkin"
            unchanged = [device.request(checkin, body, etag=True) for device in turns]
            measure("check-in, nothing new (204)", process, port, unchanged, b"204")
            fresh = [device.request(checkin, body) for device in turns]
            measure("check-in, signed statement (200)", process, port, fresh, b"200")
            durable = turns[: REQUESTS // 3]
            reports = [report(device, 1000 + index) for index, device in enumerate(durable)]
            measure("report, durable (group commit)", process, port, reports, b"200")
            events = [event(device, 1 + index // len(devices)) for index, device in enumerate(durable)]
            measure("event, durable (group commit)", process, port, events, b"200")


if __name__ == "__main__":
    main()
