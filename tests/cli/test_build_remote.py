"""`fleetctl build --remote` and its sisters: with the real controller and builder, and with a false one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fleetctl.client.api import Api
from fleetctl.client.transport import Target, Transport
from modelfleet_build import job as jobs
from modelfleet_build.report import read_report
from modelfleet_core.clock import ManualClock
from modelfleet_core.release.manifest import Task
from modelfleet_core.wire.build import (
    BuildFile,
    BuildInput,
    BuildOutcome,
    BuildProgress,
    BuildRefusal,
    BuildSpec,
    BuildState,
    BuildView,
    InputRole,
)

from e2e.support import eventually
from tests.build.test_job import descendants, ended
from tests.cli.kit import NOW, Cli
from tests.cli.test_server import Server

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def arguments(to: Path, *more: object, model: Path = DIGITS / "digits-1.0.onnx") -> list[object]:
    return [
        "build", model, "--name", "digits", "--version", "1.0", "--precision", "fp32", "--remote",
        "--class", "x86-onnxruntime", "--validation", DIGITS / "validation.npz",
        "--golden", DIGITS / "golden.npz", "-O", to, *more,
    ]  # fmt: skip


# --------------------------------------------------------------------------- the real thing, over loopback


class Waits(ManualClock):
    """A clock on which waiting lets the other process work."""

    act: Callable[[], None] | None = None

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        if self.act is not None:
            self.act()
        with pytest.raises(AssertionError):
            eventually(lambda: False, timeout=0.1)


@dataclass
class Site:
    """A person at the command line and a controller that builds."""

    cli: Cli
    data: Path

    @property
    def running(self) -> list[int]:
        """Processes that build, and theirs."""
        leaders = [pid for f in (self.data / "builds").iterdir() if (pid := jobs.worker(f)) is not None]
        return [pid for leader in leaders for pid in (leader, *descendants(leader))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home, data = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("site") / "data"
    cli = Cli(home, clock=Waits(NOW))
    opened: list[Transport] = []

    def connect(target: Target) -> Api:
        opened.append(Transport(target))
        return Api(opened[-1])

    cli.connect = connect  # type: ignore[method-assign] # the same person, over the real network
    with Server(home, data) as server:
        assert cli("login", server.view["url"], "--token-stdin", stdin=server.view["admin_token"]).code == 0
        yield Site(cli, data)
    for transport in opened:
        transport.close()


@pytest.mark.server
def test_a_build_from_the_order_to_a_signed_release(site: Site, tmp_path: Path) -> None:
    cli, to = site.cli, tmp_path / "release"
    ended = cli(*arguments(to))
    assert ended.code == 0, ended.err
    assert "x86-onnxruntime.fp32  chosen" in ended.out
    assert f"next: fleetctl release sign {to} --key FILE" in ended.out
    assert "build digits:1.0 100/100: write release: done" in ended.err
    report = read_report(to)
    assert report.model == str(DIGITS / "digits-1.0.onnx"), "as after a build here, for build explain"
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
    listed = json.loads(cli("build", "list", "-o", "json").out)["items"][0]
    assert (listed["state"], listed["outcome"]["release"]) == ("succeeded", report.release)
    assert site.data.joinpath("builds").exists()
    assert list(site.data.joinpath("builds").iterdir()) == []
    again = tmp_path / "again"
    assert cli("build", "fetch", listed["id"], "-O", again).code == 0
    names = {p.relative_to(again) for p in again.rglob("*") if p.is_file()}
    assert names == {p.relative_to(to) for p in to.rglob("*") if p.is_file()}
    for name in names - {Path("build.json")}:
        assert (again / name).read_bytes() == (to / name).read_bytes()
    assert json.loads(cli("release", "list", "-o", "json").out)["items"] == [], (
        "the controller registers none"
    )

    key = tmp_path / "release.key"
    assert cli("release", "keygen", "--key", key).code == 0
    assert cli("trust", "init", "--release-key", f"{key}.pub").code == 0
    assert cli("release", "push", to).code == 1, "it came unsigned"
    assert cli("release", "sign", to, "--key", key).code == 0
    pushed = cli("release", "push", to)
    assert pushed.code == 0, pushed.err


@pytest.mark.server
def test_a_model_that_is_none_reads_as_it_does_here(site: Site, tmp_path: Path) -> None:
    ended = site.cli(*arguments(tmp_path / "r", model=DIGITS / "live.npz"))
    assert (ended.code, "MF-1401" in ended.err) == (1, True), ended.err
    assert str(site.data) not in ended.err
    assert "live.npz" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.server
def test_leaving_a_build_and_ending_it(site: Site, tmp_path: Path) -> None:
    clock = site.cli.clock
    assert isinstance(clock, Waits)

    def leave() -> None:
        if site.running:
            raise KeyboardInterrupt

    clock.act = leave
    left = site.cli(*arguments(tmp_path / "r", "--search", "500"))
    clock.act = None
    assert left.code == 130, left.err
    build = left.err.partition("fleetctl build show ")[2].split()[0]
    assert f"fleetctl build fetch {build} -O {tmp_path / 'r'}" in left.err
    processes = site.running
    assert processes, "it goes on"
    shown = site.cli("build", "show", build)
    assert f"{build}  digits:1.0  running" in shown.out, shown
    assert site.cli("build", "cancel", build, "--reason", "a test").code == 0
    gone = site.cli("build", "fetch", build, "-O", tmp_path / "r")
    assert (gone.code, "MF-5012" in gone.err) == (1, True), gone.err
    eventually(lambda: all(map(ended, processes)), timeout=10)
    assert "CANCELLED build of digits:1.0 by first-admin: a test" in site.cli("audit", "list").out
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- a controller that is told


SPEC = BuildSpec(
    "digits",
    "1.0",
    Task.CLASSIFICATION,
    ("x86-onnxruntime",),
    (BuildInput(InputRole.MODEL, "m.onnx", "0" * 64), BuildInput(InputRole.VALIDATION, "v.npz", "1" * 64)),
)
QUEUED = BuildView("bld_1", BuildState.QUEUED, SPEC, NOW, "anna")
RUNNING = replace(QUEUED, state=BuildState.RUNNING, progress=BuildProgress(0.5, "convert: started"))


def blob(person: Cli, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    person.controller.blobs[digest] = data
    return digest


def result(person: Cli, **files: bytes) -> BuildView:
    listed = tuple(BuildFile(name, blob(person, data), len(data)) for name, data in files.items())
    outcome = BuildOutcome(0, hashlib.sha256(b"manifest").hexdigest())
    return replace(RUNNING, state=BuildState.SUCCEEDED, outcome=outcome, files=listed)


FILES: dict[str, bytes] = {"release.json": b"manifest", "variants/v/m.onnx": b"model"}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda p, v: p.controller.blobs.update({v.files[1].sha256: b"other"}), "MF-2040"),
        (lambda p, v: p.controller.blobs.update({v.files[1].sha256: b"longer than it"}), "MF-6003"),
        (lambda p, v: replace(v, files=v.files[1:]), "MF-2036"),
        (
            lambda p, v: replace(v, files=(replace(v.files[0], sha256=v.files[1].sha256), v.files[1])),
            "MF-2036",
        ),
        (lambda p, v: replace(v, files=()), "MF-2032"),
        (lambda p, v: replace(v, files=(*v.files, v.files[0])), "MF-2032"),
        *(
            (lambda p, v, path=path: replace(v, files=(*v.files, replace(v.files[1], path=path))), "MF-2032")
            for path in ("../evil", "/etc/evil", "a/../b", "variants//x", ".hidden", "a/b/c/d", "")
        ),
    ],
)
def test_a_false_controller_writes_nothing(
    person: Cli, tmp_path: Path, spoil: Callable[[Cli, BuildView], Any], code: str
) -> None:
    view = result(person, **FILES)
    changed = spoil(person, view)
    person.controller.builds = [changed if isinstance(changed, BuildView) else view]
    ended = person("build", "fetch", "bld_1", "-O", tmp_path / "out" / "r")
    assert (ended.code, code in ended.err) == (1, True), ended.err
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "out" in p.parts] == []


def test_only_missing_inputs_are_sent_and_a_taken_folder_is_told_before(person: Cli, tmp_path: Path) -> None:
    refusal = BuildRefusal("MF-1401", "the file is no model", "an ONNX file", "export it")
    failed = replace(RUNNING, state=BuildState.FAILED, outcome=BuildOutcome(1, None, refusal))
    blob(person, (DIGITS / "validation.npz").read_bytes())
    person.controller.builds = [QUEUED, QUEUED, RUNNING, RUNNING, failed]
    model = tmp_path / "my model.onnx"
    model.write_bytes(b"a model")
    ended = person(*arguments(tmp_path / "r", model=model))
    assert (ended.code, "MF-1401: the file is no model" in ended.err) == (1, True)
    sent = {s.path.rpartition("/")[2] for s in person.controller.bodies("PUT")}
    assert sent == {
        hashlib.sha256(data).hexdigest() for data in (b"a model", (DIGITS / "golden.npz").read_bytes())
    }
    (order,) = person.controller.bodies("POST", "/builds")
    assert json.loads(order.body)["spec"]["inputs"][0]["name"] == "my_model.onnx"
    assert ended.err.count("convert: started") == 1, "a line for each change"
    (tmp_path / "r").mkdir()
    person.controller.sent.clear()
    taken = person(*arguments(tmp_path / "r"))
    assert (taken.code, "MF-6005" in taken.err, person.controller.sent) == (1, True, [])


def test_what_is_refused_before_anything_is_sent(person: Cli, tmp_path: Path) -> None:
    missing = person(*arguments(tmp_path / "r", model=tmp_path / "none.onnx"))
    assert (missing.code, "MF-6004" in missing.err) == (1, True)
    odd = person(*arguments(tmp_path / "r", "--max-drop", "101pt"))
    assert (odd.code, "MF-6011" in odd.err) == (1, True), odd.err
    assert person(*arguments(tmp_path / "r", "--jobs", "2")).code == 2
    assert person.controller.sent == []


def test_a_controller_that_restarts_is_waited_for(person: Cli, tmp_path: Path) -> None:
    person.controller.builds = [RUNNING]
    looks = 0

    class Away(ManualClock):
        def wait(self, seconds: float) -> None:
            nonlocal looks
            looks += 1
            self.advance(10)
            person.controller.reachable = not 2 <= looks < 5
            if looks == 6:
                person.controller.builds = [replace(QUEUED, state=BuildState.CANCELLED, cancelled_by="ben")]

    person.clock = Away(NOW)
    ended = person("build", "fetch", "bld_1", "-O", tmp_path / "r")
    assert (ended.code, "cancelled by ben" in ended.err, looks) == (1, True, 6), ended.err


def test_builds_as_people_see_them(person: Cli) -> None:
    done = result(person, **FILES)
    person.controller.builds = [replace(RUNNING, cancelled_by="ben"), done]
    listed = person("build", "list").out.splitlines()
    assert listed[1].split() == ["bld_1", "ending", "50", "%", "digits:1.0", "x86-onnxruntime", "0s", "anna"]
    person.controller.builds = [done]
    shown = person("build", "show", "bld_1").out
    assert "variants/v/m.onnx" in shown
    assert "not signed" in shown
    assert json.loads(person("build", "show", "bld_1", "-o", "json").out)["state"] == "succeeded"
