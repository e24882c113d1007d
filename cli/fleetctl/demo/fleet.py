"""The fleet of the demo: one embedded controller and six agents, each a real process.

What an operator does (tokens, trust file, class list) is done through the REST API; what a device does
(enrol, run) is done by `modelfleet-agent`. The demo stands in for systemd: it starts a supervisor again that
was killed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from .metrics import ServeCounts, parse, serve_counts
from .places import Places
from .processes import Command, Processes, Program, children, program

SITE = "demo"
SLOT = "digits"
POLL_S = 0.5
TICK_S = 0.5
READY_S = 90.0


@dataclass(frozen=True, slots=True)
class Spec:
    """One device as the demo wants it; `architecture` overrides the measured fact."""

    name: str
    runtime: str
    device_class: str
    architecture: str | None = None


SPECS = (
    Spec("ort-1", "onnxruntime", "x86-onnxruntime"),
    Spec("ort-2", "onnxruntime", "x86-onnxruntime"),
    Spec("openvino-1", "openvino", "x86-openvino"),
    Spec("openvino-2", "openvino", "x86-openvino"),
    Spec("litert-1", "litert", "arm-litert", "aarch64"),
    Spec("litert-2", "litert", "arm-litert", "aarch64"),
)


@dataclass(frozen=True, slots=True)
class ServeStatus:
    """Where serve is, as the supervisor publishes it in `status.json`."""

    pid: int
    http: str
    boot_id: str


class Device:
    """One device: its files, its supervisor, and what its serve processes counted, killed ones included."""

    def __init__(self, spec: Spec, folder: Path, processes: Processes, clock: Clock) -> None:
        self.spec = spec
        self.name = spec.name
        self.folder = folder
        self.config = folder / "agent.toml"
        self.state = folder / "state"
        self.socket = self.state / "sdk.sock"
        self.journal = self.state / "journal"
        self.serve_was_killed = False
        self.id = ""
        self._processes = processes
        self._clock = clock
        self._supervisor: Program | None = None
        self._before = ServeCounts()
        """What serve processes counted that are no more."""

    def write_config(self, pair_lock: Path) -> None:
        """The agent's settings; JSON strings are TOML strings."""
        lines = [
            f"state_dir = {json.dumps(str(self.state))}",
            f"name = {json.dumps(self.name)}",
            f"runtimes = [{json.dumps(self.spec.runtime)}]",
            f"pair_lock = {json.dumps(str(pair_lock))}",
            f"poll_floor_s = {POLL_S}",
            "[serve]",
            'listen = "127.0.0.1:0"',
            "threads = 1",
        ]
        if self.spec.architecture:
            lines += ["[facts.override]", f"architecture = {json.dumps(self.spec.architecture)}"]
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.config.write_text("\n".join(lines) + "\n")

    def run(self) -> None:
        """Starts the supervisor (also again after it was killed)."""
        command: Command = [program("modelfleet-agent"), "run", "--config", self.config]
        self._supervisor = self._processes.start(f"agent-{self.name}", command)

    def ready(self) -> None:
        """Waits for the supervisor's readiness line."""
        assert self._supervisor is not None
        self.id = str(self._supervisor.ready(READY_S)["device"])

    @property
    def supervisor(self) -> Program:
        assert self._supervisor is not None
        return self._supervisor

    def kill_supervisor(self) -> None:
        """kill -9, and waits until it is gone, as its own lock demands before another may start."""
        self._processes.kill(self.supervisor.pid)
        self.supervisor.popen.wait(10)

    def status(self) -> dict[str, object]:
        """`status.json`, or {} while there is none."""
        try:
            body = json.loads((self.state / "status.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return body if isinstance(body, dict) else {}

    def serve(self) -> ServeStatus | None:
        """The running serve, or None."""
        body = self.status().get("serve")
        if not isinstance(body, dict) or not body.get("pid"):
            return None
        return ServeStatus(int(body["pid"]), str(body.get("http") or ""), str(body.get("boot_id") or ""))

    def scrape(self) -> ServeCounts | None:
        """What the running serve counted since it started; None when it does not answer."""
        serve = self.serve()
        if serve is None or not serve.http:
            return None
        try:
            answer = httpx.get(f"{serve.http}/metrics", timeout=5.0, trust_env=False)
        except httpx.HTTPError:
            return None
        return serve_counts(answer.text, SLOT) if answer.status_code == 200 else None

    def counts(self) -> ServeCounts:
        """What all serve processes of this device counted, up to now."""
        until = self._clock.monotonic() + 10.0
        while True:
            now = self.scrape()
            if now is not None:
                return self._before.plus(now)
            if self._clock.monotonic() > until:
                raise WorldError(
                    Code.DEMO_TOO_LATE,
                    f"serve of {self.name} does not answer at /metrics",
                    expected="an answer within 10 s",
                    todo=f"read the logs beside {self.supervisor.log}",
                )
            self._clock.wait(0.1)

    def kill_serve(self) -> int:
        """kill -9 of serve after taking down what it counted; its pid."""
        serve, counted = self.serve(), self.scrape()
        if serve is None or counted is None:
            raise WorldError(
                Code.DEMO_PROCESS,
                f"serve of {self.name} is not running",
                expected="a serve to kill",
                todo=f"read the logs beside {self.supervisor.log}",
            )
        self._processes.kill(serve.pid)
        self._before = self._before.plus(counted)
        self.serve_was_killed = True
        return serve.pid

    def newest_worker(self) -> int | None:
        """Process id of the worker that serve started last: the candidate's, while there is one."""
        serve = self.serve()
        workers = children(serve.pid) if serve is not None else []
        return workers[-1] if workers else None

    def partial_bytes(self) -> int:
        """Bytes that unfinished downloads say they have; 0 while there is none."""
        found = 0
        for path in (self.state / "store" / ".incoming").glob("*/.done-*"):
            try:
                text = path.read_text("ascii")
            except FileNotFoundError:  # it was finished while we looked
                continue
            found += int(text) if text.isdecimal() else 0
        return found


class Fleet:
    """The controller's program and the six devices."""

    def __init__(
        self, places: Places, processes: Processes, clock: Clock, specs: Sequence[Spec] = SPECS
    ) -> None:
        self._places = places
        self._processes = processes
        self._clock = clock
        self.url = ""
        self.admin_token = ""
        self._controller: Program | None = None
        self.devices = [Device(spec, places.device(spec.name), processes, clock) for spec in specs]
        self.classes = tuple(dict.fromkeys(spec.device_class for spec in specs))

    def start_controller(self) -> None:
        """Starts the embedded controller; its first admin token comes with the readiness line, once."""
        ready = self._run_controller("127.0.0.1:0")
        self.url, self.admin_token = str(ready["url"]), str(ready["admin_token"])
        self._places.token.touch(mode=0o600)
        self._places.token.write_text(self.admin_token + "\n")

    def kill_controller(self) -> None:
        """kill -9: what it acknowledged is on disk, nothing else."""
        assert self._controller is not None
        self._processes.kill(self._controller.pid)
        self._controller.popen.wait(10)

    def stop_controller(self) -> None:
        """SIGTERM, and waits."""
        assert self._controller is not None
        self._processes.stop(self._controller)

    def restart_controller(self) -> None:
        """The same data at the same address."""
        self._run_controller(self.url.removeprefix("http://"))

    def _run_controller(self, listen: str) -> dict[str, object]:
        command: Command = [program("modelfleet-controller"), "serve"]
        command += ["--data", self._places.controller, "--listen", listen]
        command += ["--poll-s", f"{POLL_S}", "--tick-s", f"{TICK_S}"]
        self._controller = self._processes.start("controller", command)
        return self._controller.ready(READY_S)

    def enrol(self, token: str) -> None:
        """Every device makes its key and introduces it with the token and the pinned trust file; then all
        run."""
        secret = self._places.keys / "enrolment.token"
        secret.touch(mode=0o600)
        secret.write_text(token + "\n")
        enrolling = []
        for device in self.devices:
            device.write_config(self._places.pair_lock)
            enrol: Command = [program("modelfleet-agent"), "enroll", self.url, "--token-file", secret]
            enrol += ["--trust", self._places.trust, "--config", device.config, "--label", f"site={SITE}"]
            enrolling.append(self._processes.start(f"enroll-{device.name}", enrol))
        for started in enrolling:
            if started.popen.wait(READY_S):
                started.ready(0)  # raises with the program's last words
        for device in self.devices:
            device.run()
        for device in self.devices:
            device.ready()

    def device(self, name: str) -> Device:
        return next(device for device in self.devices if device.name == name)

    def of_class(self, device_class: str) -> list[Device]:
        return [device for device in self.devices if device.spec.device_class == device_class]

    def bytes_sent(self) -> int:
        """Blob bytes that the controller has sent since it started."""
        text = httpx.get(f"{self.url}/metrics", timeout=5.0, trust_env=False).text
        return int(sum(s.value for s in parse(text) if s.name == "modelfleet_blob_sent_bytes_total"))
