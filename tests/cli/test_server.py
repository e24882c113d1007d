"""`fleetctl server start` with the real controller, and the operator's whole way through it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

from modelfleet_core.trust.policy import read_trust_file

from e2e.support import eventually
from tests.cli.kit import Cli
from tests.cli.releases import make_release

pytestmark = pytest.mark.server


class Server:
    """A `fleetctl server start` of our own, ended by SIGTERM."""

    def __init__(self, home: Path, data: Path, *more: str) -> None:
        self.errors = (home / "server.err").open("ab")
        self.child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fleetctl",
                "server",
                "start",
                "--data",
                str(data),
                "--listen",
                "127.0.0.1:0",
                "-o",
                "json",
                *more,
            ],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={"HOME": str(home), "PATH": os.defpath},
        )

    def __enter__(self) -> Self:
        assert self.child.stdout is not None
        text = b""
        while b"\n}\n" not in text:
            line = self.child.stdout.readline()
            assert line, f"ended with {self.child.wait()}"
            text += line
        self.view = json.loads(text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.child.stdout is not None
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        self.child.wait(30)
        self.child.stdout.close()
        self.errors.close()


@pytest.fixture
def network(cli: Cli) -> Iterator[Cli]:
    """The person, over the real network."""
    from fleetctl.client.api import Api
    from fleetctl.client.transport import Target, Transport

    opened: list[Transport] = []

    def connect(target: Target) -> Api:
        opened.append(Transport(target))
        return Api(opened[-1])

    cli.connect = connect  # type: ignore[method-assign]
    yield cli
    for transport in opened:
        transport.close()


def test_an_operator_s_way_through_a_real_controller(network: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cli = network
    with Server(cli.home, data) as server:
        url, token = server.view["url"], server.view["admin_token"]
        assert server.view["data"] == str(data)
        assert token.startswith("mf_")
        assert cli("login", url, "--token-stdin", stdin=token).code == 0
        assert cli("login", url, "--token-stdin", stdin="mf_wrong").code == 1

        key, trust = tmp_path / "release.key", tmp_path / "trust.json"
        folder = make_release(tmp_path / "digits-1.1")
        assert cli("release", "keygen", "--key", key).code == 0
        assert cli("release", "sign", folder, "--key", key).code == 0
        assert "MF-2014" in cli("release", "push", folder).err
        assert cli("trust", "init", "--release-key", f"{key}.pub").code == 0
        assert cli("trust", "export", "-o", trust).code == 0
        read_trust_file(trust.read_bytes())

        pushed = cli("release", "push", folder, "-o", "json")
        assert pushed.code == 0, pushed.err
        assert json.loads(pushed.out)["blobs_sent"] == 13
        again = json.loads(cli("release", "push", folder, "-o", "json").out)
        assert again["blobs_sent"] == 0
        other = make_release(tmp_path / "other", "1.1")
        (other / "release.json").write_bytes(
            (other / "release.json").read_bytes().replace(b'"labels": []', b'"labels": ["x"]')
        )
        for place in (other / "variants").iterdir():
            (place / "release.json").write_bytes((other / "release.json").read_bytes())
        assert cli("release", "sign", other, "--key", key).code == 0
        assert "MF-1630" in cli("release", "push", other).err, "a version is never replaced"

        assert "digits:1.1" in cli("release", "list").out
        assert cli("release", "show", "digits:1.1").code == 0
        assert "MF-1602" in cli("release", "show", "digits:9").err
        made = json.loads(cli("token", "create", "--name", "n", "--label", "site=north", "-o", "json").out)
        assert made["secret"]
        assert made["id"] in cli("token", "list").out
        assert cli("token", "revoke", made["id"], "--yes").code == 0
        assert "revoked" in cli("token", "list").out
        viewer = json.loads(cli("token", "create", "--kind", "api", "-o", "json").out)["secret"]
        assert "x86-openvino" in cli("class", "list").out
        assert cli("device", "list").out.startswith("no devices")
        assert "MF-1651" in cli("rollout", "create", "digits:1.1", "--to", "all").err
        assert "MF-1602" in cli("rollout", "status", "nothing").err
        assert cli("rollout", "list").out.startswith("no rollouts")
        assert cli("audit", "verify").code == 0
        assert cli("doctor").code == 0

        assert cli("login", url, "--name", "viewer", "--token-stdin", stdin=viewer).code == 0
        assert cli("release", "list").code == 0
        assert "MF-1607" in cli("token", "create").err, "a viewer makes no tokens"
        assert "MF-1607" in cli("trust", "init", "--release-key", f"{key}.pub").err
        assert cli("context", "use", url.removeprefix("http://")).code == 0
    assert server.child.returncode == 0
    assert "MF-5010" in cli("release", "list").err

    with Server(cli.home, data) as server:
        assert server.view["admin_token"] is None, "shown once"
        assert cli("login", server.view["url"], "--token-stdin", stdin=token).code == 0
        assert "digits:1.1" in cli("release", "list").out


def test_signals_reach_the_controller(cli: Cli, tmp_path: Path) -> None:
    with Server(cli.home, tmp_path / "data") as server:
        pid = server.view["pid"]
        os.kill(server.child.pid, signal.SIGINT)
        assert server.child.wait(30) == 0
    assert eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the controller has ended")
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.view["url"] + "/livez")


def test_a_controller_that_is_killed_is_told(cli: Cli, tmp_path: Path) -> None:
    with Server(cli.home, tmp_path / "data") as server:
        os.kill(server.view["pid"], signal.SIGKILL)
        assert server.child.wait(30) == 128 + signal.SIGKILL
    assert "ended by signal 9" in (cli.home / "server.err").read_text()


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999"])
def test_a_controller_that_cannot_start(cli: Cli, tmp_path: Path, listen: str) -> None:
    ended = cli("server", "start", "--data", tmp_path / "data", "--listen", listen)
    assert ended.code != 0
    assert "MF-6008" in ended.err


def test_a_missing_program_is_named(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = cli("server", "start", "--data", tmp_path / "data")
    assert ended.code == 1
    assert "MF-6007" in ended.err
    assert "modelfleet[controller]" in ended.err
    states = {c["name"]: c["state"] for c in json.loads(cli("doctor", "-o", "json").out)["checks"]}
    assert states["modelfleet-controller"] == "warn"


def test_a_missing_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    real = importlib.util.find_spec

    def without_fastapi(name: str, package: str | None = None) -> object:
        return None if name in ("fastapi", "onnx") else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_fastapi)
    ended = cli("server", "start", "--data", tmp_path / "data")
    assert (ended.code, "MF-6007" in ended.err, "modelfleet[controller]" in ended.err) == (1, True, True)
    ended = cli(
        "build", "m.onnx", "--name", "n", "--version", "1", "--validation", "v.npz", "-O", tmp_path / "o"
    )
    assert (ended.code, "MF-6007" in ended.err, "modelfleet[build]" in ended.err) == (1, True, True)
