"""A newcomer enrols a first device: every command of docs/guides/first-device.md, in the page's order."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest

from e2e.support import Process, eventually

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "guides" / "first-device.md"
SERVING = ("fleetctl server start", "modelfleet-agent run", "python examples/camera.py")
"""Commands that go on running; the page says them in terminals of their own."""


def commands() -> list[str]:
    """The commands that the page shows, continued lines joined."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [
        line for block in blocks for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", ""), re.MULTILINE)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Newcomer:
    """Types commands in one folder, with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.serving: list[Process] = []
        self.address = f"127.0.0.1:{free_port()}"
        self.token = ""
        self.env = {
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "MODELFLEET_AGENT_SERVE_LISTEN": "127.0.0.1:0",
        }

    def types(self, line: str) -> str:
        """Runs a command and returns what it printed; one that serves is left running."""
        words = shlex.split(line.replace("127.0.0.1:8080", self.address).replace("TOKEN", self.token))
        if words[0] == "python":
            words[0] = sys.executable
        process = Process(
            words,
            self.folder / "log",
            name=f"{len(list(self.folder.glob('log/*.stderr'))):02d}-{Path(words[0]).name}",
            env=self.env,
            cwd=self.folder,
        )
        if line.startswith(SERVING):
            self.serving.append(process)
            return ""
        with process:
            assert process.wait(240) == 0, f"{line}\n{process.stdout()}\n{process.stderr()}"
        return process.stdout()

    def ends(self) -> None:
        for process in reversed(self.serving):
            if process.running:
                process.terminate()
        for pid in self._outliving():
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: not self._outliving(), timeout=30, what="the end of serve")

    def _outliving(self) -> list[int]:
        """Serve outlives the supervisor that started it, by design: found by its state directory."""
        mine = f"{self.folder}/".encode()
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue  # it ended meanwhile
            if b"modelfleet_agent" in words and any(word.startswith(mine) for word in words):
                found.append(int(entry.parent.name))
        return found


def admin_token(server: Process) -> str:
    found = eventually(lambda: re.findall(r"admin token: (\S+)", server.stdout()), what="the admin token")
    return str(found[0])


@pytest.fixture
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    folder = tmp_path_factory.mktemp("n")
    (folder / "examples").symlink_to(ROOT / "examples")
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "agent.toml").write_text(toml)
    return Newcomer(folder)


def test_the_page_leads_to_a_serving_device(newcomer: Newcomer) -> None:
    try:
        for line in commands():
            if line.startswith("pip "):
                continue  # this environment has it
            shown = newcomer.types(line)
            if line.startswith("fleetctl server start"):
                # instead of typing it when `login` asks
                newcomer.env["MODELFLEET_TOKEN"] = admin_token(newcomer.serving[-1])
            elif line.startswith("fleetctl login"):
                del newcomer.env["MODELFLEET_TOKEN"]
            elif line.startswith("fleetctl token create"):
                newcomer.token = re.findall(r"\bmf\w*_\S+", shown)[-1]
            elif line.startswith("modelfleet-agent run"):
                newcomer.serving[-1].ready()
            elif line.startswith("fleetctl device list"):
                assert re.search(r"desk-1.*x86-onnxruntime", shown)
            elif line.startswith("fleetctl rollout status"):
                assert "completed" in shown
            elif line.startswith("modelfleet-agent status"):
                assert "digits:1.0" in shown
                assert "http://127.0.0.1:" in shown
    finally:
        newcomer.ends()
