"""Builds over the API: orders, refusals, the driver's moves and restarts, results as blobs nobody signed.

The runner is a fake that implements the port in memory and writes what a job would; processes are in
test_build_runner.py, the real builder in tests/cli/test_build_remote.py.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelfleet_build import job as jobs
from modelfleet_controller.bootstrap import compose
from modelfleet_controller.builds.driver import BuildDriver
from modelfleet_controller.builds.port import Phase, RunStatus
from modelfleet_controller.builds.repository import BuildRepository, StoredBuild
from modelfleet_controller.settings import Settings
from modelfleet_core.clock import ManualClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.manifest import Task
from modelfleet_core.wire import codec
from modelfleet_core.wire.build import (
    BuildFile,
    BuildInput,
    BuildOperation,
    BuildOrder,
    BuildOutcome,
    BuildProgress,
    Builds,
    BuildSpec,
    BuildState,
    BuildVerb,
    BuildView,
    InputRole,
)
from modelfleet_core.wire.operator import Decisions, Releases

from .kit import START, URL, Counting, Rig, in_loop, problem
from .test_database import database

DATA = {InputRole.MODEL: b"a model", InputRole.VALIDATION: b"validation data"}
MINE = DeviceClass("mine", ("x86_64",), "onnxruntime")
CANCEL = BuildOperation(BuildVerb.CANCEL, "no longer wanted")


@dataclass
class FakeRunner:
    """Jobs in memory. `end` writes what a job leaves and lets it end; `crash` only ends it."""

    root: Path
    phases: dict[str, RunStatus] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    stubborn: bool = False
    broken: bool = False

    async def start(self, job: str) -> None:
        if self.broken:
            raise WorldError(Code.BUILD_LOST, "no process to spare", expected="one", todo="wait")
        assert (self.root / job / "build.json").is_file()
        self.phases.setdefault(job, RunStatus(Phase.RUNNING))

    async def state(self, job: str) -> RunStatus:
        return self.phases.get(job, RunStatus(Phase.ABSENT))

    async def cancel(self, job: str) -> None:
        self.cancelled.append(job)
        if not self.stubborn and job in self.phases:
            self.phases[job] = RunStatus(Phase.ENDED, "by signal SIGKILL")

    def end(self, job: str, exit_code: int = 0) -> None:
        folder = self.root / job
        (folder / "report.json").write_bytes(b"report")
        release = None
        if exit_code in (0, 3):
            variant = folder / "release" / "variants" / "x86-onnxruntime.fp32"
            variant.mkdir(parents=True)
            (variant / "model.onnx").write_bytes(b"variant")
            (folder / "release" / "release.json").write_bytes(b"manifest")
            (folder / "release" / "build.json").write_bytes(b"report")
            release = hashlib.sha256(b"manifest").hexdigest()
        jobs.write_outcome(folder, BuildOutcome(exit_code, release))
        self.phases[job] = RunStatus(Phase.ENDED)

    def crash(self, job: str, detail: str) -> None:
        self.phases[job] = RunStatus(Phase.ENDED, detail)


@dataclass
class Site:
    """A controller whose builds the test runs step by step."""

    rig: Rig
    runner: FakeRunner

    async def step(self) -> None:
        driver = self.rig.application.builds
        assert isinstance(driver, BuildDriver)
        await driver.step()

    async def order(self, key: str = "k1", expect: int = 201, **spec: Any) -> BuildView:
        answer = await self.post(order(key, **spec))
        assert answer.status_code == expect, answer.text
        return codec.decode(answer.content, BuildView, what="build")

    async def post(self, body: BuildOrder, token: str | None = None) -> httpx.Response:
        return await self.rig.call("POST", "/v1/builds", body, token=token)

    async def show(self, build: str) -> BuildView:
        return codec.decode(
            (await self.rig.call("GET", f"/v1/builds/{build}", expect=200)).content, BuildView, what="b"
        )

    async def cancel(self, build: str, body: object = CANCEL) -> httpx.Response:
        return await self.rig.call("POST", f"/v1/builds/{build}/operations", body)

    async def actions(self) -> list[str]:
        found: Decisions = await self.rig.get("/v1/audit?limit=100", Decisions)
        return [f"{d.action}: {d.sentence}" for d in found.items]

    @property
    def folders(self) -> set[str]:
        return {path.name for path in self.runner.root.iterdir()}


def order(key: str = "k1", **spec: Any) -> BuildOrder:
    inputs = tuple(
        BuildInput(role, f"{role.value}.file", hashlib.sha256(data).hexdigest())
        for role, data in DATA.items()
    )
    fields: dict[str, Any] = {
        "name": "digits",
        "version": "1.0",
        "task": Task.CLASSIFICATION,
        "classes": ("x86-onnxruntime",),
        "inputs": inputs,
    }
    return BuildOrder(BuildSpec(**(fields | spec)), key)


@asynccontextmanager
async def site(
    folder: Path, before: Site | None = None, *, upload: bool = True, **settings: Any
) -> AsyncIterator[Site]:
    """A controller over `folder`; with `before` it is the same one after a restart, and jobs went on."""
    clock = before.rig.clock if before is not None else ManualClock(START)
    runner = before.runner if before is not None else FakeRunner(folder / "builds")
    seed = Counting(seed=f"{folder.name}:{clock.elapsed}")
    application = await compose(Settings(folder, **settings), clock, seed, run=False, runner=runner)
    token = application.admin_token or (before.rig.token if before is not None else "")
    transport = httpx.ASGITransport(application.asgi, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            made = Site(Rig(application, clock, http, token), runner)
            if upload:
                for data in DATA.values():
                    await made.rig.upload(data)
            yield made
    finally:
        await application.close()


@in_loop
async def test_from_the_order_to_blobs_that_nobody_signed(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        made = await one.order()
        assert (made.state, made.created_by, made.progress) == (
            BuildState.QUEUED, "first-admin", BuildProgress(),
        )  # fmt: skip
        assert await one.order(expect=200) == made
        await one.step()
        assert (await one.show(made.id)).state is BuildState.RUNNING
        folder = one.runner.root / made.id
        job = jobs.read_job(folder)
        assert (job.spec, job.nice > 0) == (order().spec, True)
        assert job.limits.memory_bytes == Settings(tmp_path).build_memory
        for item in job.spec.inputs:
            assert jobs.input_path(folder, item).read_bytes() == DATA[item.role]
        line = codec.encode(BuildProgress(0.25, "convert: started"))
        (folder / "progress.jsonl").write_bytes(line + b"\n" + b'{"fraction": 0.5, "li')
        assert (await one.show(made.id)).progress == BuildProgress(0.25, "convert: started")
        one.runner.end(made.id)
        one.rig.clock.advance(5)
        await one.step()
        done = await one.show(made.id)
        release = hashlib.sha256(b"manifest").hexdigest()
        assert (done.state, done.outcome) == (BuildState.SUCCEEDED, BuildOutcome(0, release))
        assert done.progress.fraction == 0.25
        assert done.finished_at == one.rig.clock.now()
        assert [(f.path, f.size) for f in done.files] == [
            ("build.json", 6), ("release.json", 8), ("variants/x86-onnxruntime.fp32/model.onnx", 7),
        ]  # fmt: skip
        blob = await one.rig.call("GET", f"/v1/blobs/sha256/{done.files[2].sha256}", expect=200)
        assert blob.content == b"variant"
        assert one.folders == set()
        listed: Builds = await one.rig.get("/v1/builds", Builds)
        assert listed.items == (replace(done, files=()),)
        releases: Releases = await one.rig.get("/v1/releases", Releases)
        assert releases.items == ()
        assert await one.actions() == [
            "build: ORDERED build of digits:1.0 for x86-onnxruntime by first-admin",
            f"build-end: SUCCEEDED build of digits:1.0: every class was built; release {release}, unsigned",
        ]


@in_loop
async def test_an_order_is_refused_at_the_door(tmp_path: Path) -> None:
    async with site(tmp_path, builds_waiting=1) as one:
        inputs = order().spec.inputs
        other = replace(inputs[1], sha256="0" * 64)
        missing = await one.post(order(inputs=(inputs[0], other)))
        assert problem(missing) == (404, "MF-1621")
        assert "the validation file validation.file" in missing.json()["detail"]
        unknown = await one.post(order(classes=("x86-onnx",)))
        assert problem(unknown) == (422, "MF-1641")
        body = codec.encode(order()).replace(inputs[0].sha256.encode(), b"no digest")
        for wrong in (body, b"{}", codec.encode(order()).replace(b"model.file", b"../../etc/passwd")):
            headers = {"authorization": f"Bearer {one.rig.token}"}
            answer = await one.rig.http.post("/v1/builds", content=wrong, headers=headers)
            assert problem(answer) == (400, "MF-1601")
        assert problem(await one.post(order(), await one.rig.api_token("operator"))) == (403, "MF-1607")
        await one.order()
        assert problem(await one.post(order("k1", version="2.0"))) == (409, "MF-1654")
        full = await one.post(order("k2"))
        assert problem(full) == (503, "MF-5003")
        assert problem(await one.rig.call("GET", "/v1/builds/bld_none")) == (404, "MF-1602")
        assert problem(await one.cancel("bld_none")) == (404, "MF-1602")
        assert len(await one.actions()) == 1


@in_loop
async def test_a_controller_that_builds_nothing_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path / "a", builds=0) as one:
        assert one.rig.application.builds is None
        answer = await one.post(order())
        assert problem(answer) == (409, "MF-1670")
        assert "builds is 0" in answer.json()["detail"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    application = await compose(Settings(tmp_path / "b"), ManualClock(START), Counting(), run=False)
    assert (application.builds, application.controller.builds_offered) == (None, False)
    await application.close()


@pytest.mark.parametrize(
    "spec",
    [
        {"inputs": ()},
        {"inputs": order().spec.inputs[:1]},
        {"inputs": (*order().spec.inputs, order().spec.inputs[0])},
        {"name": "Digits"},
        {"classes": ()},
        {"classes": ("a/b",)},
        {"max_drop_points": float("nan")},
        {"max_drop_points": 101.0},
        {"objective": "beauty"},
        {"search": 1001},
        {"tuning_s": -1.0},
    ],
)
def test_orders_that_cannot_be_meant(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        order(**spec)


@in_loop
async def test_classes_of_the_controller_travel_with_the_job(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        await one.rig.call("PUT", "/v1/classes/mine", MINE, expect=200)
        made = await one.order(classes=("mine", "x86-onnxruntime"))
        assert made.spec.device_classes == (MINE,)
        brought = replace(MINE, runtime="openvino")
        made = await one.order("k2", classes=("mine",), device_classes=(brought,))
        assert made.spec.device_classes == (brought,)


@in_loop
async def test_one_at_a_time_in_the_order_they_came(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        ids = []
        for number in range(3):
            ids.append((await one.order(f"k{number}")).id)
            one.rig.clock.advance(1)

        async def states() -> list[str]:
            return [(await one.show(build)).state.value for build in ids]

        await one.step()
        await one.step()
        assert await states() == ["running", "queued", "queued"]
        one.runner.end(ids[0], 3)
        assert (await one.cancel(ids[1])).status_code == 200
        await one.step()
        assert await states() == ["succeeded", "cancelled", "running"]
        one.runner.end(ids[2], 4)
        await one.step()
        last = await one.show(ids[2])
        assert (last.state, last.outcome) == (BuildState.FAILED, BuildOutcome(4))
        assert [file.path for file in last.files] == ["build.json"]
        assert (await one.show(ids[1])).started_at is None


@in_loop
async def test_cancelling_a_build_that_runs(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        made = await one.order()
        await one.step()
        one.runner.stubborn = True
        for _ in range(2):
            assert (await one.cancel(made.id)).json()["cancelled_by"] == "first-admin"
        await one.step()
        assert (await one.show(made.id)).state is BuildState.RUNNING, "it is not over while a process lives"
        one.runner.stubborn = False
        await one.step()
        done = await one.show(made.id)
        assert done.state is BuildState.CANCELLED
        assert done.outcome is not None
        assert done.outcome.refusal is not None
        assert done.outcome.refusal.code == Code.CANCELLED.value
        assert (done.files, one.folders) == ((), set())
        assert (await one.cancel(made.id)).status_code == 200, "it is as asked"
        assert [text.partition(":")[0] for text in await one.actions()] == [
            "build",
            "build-cancel",
            "build-end",
        ]
        again = await one.order("k2")
        await one.step()
        one.runner.end(again.id)
        await one.step()
        assert problem(await one.cancel(again.id)) == (409, "MF-1653")
        assert problem(await one.cancel(again.id, {"verb": "pause"})) == (400, "MF-1601")


@in_loop
async def test_a_cancelled_build_whose_job_ended_first_is_cancelled(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        made = await one.order()
        await one.step()
        one.runner.end(made.id)
        await one.cancel(made.id)
        await one.step()
        done = await one.show(made.id)
        assert (done.state, done.files) == (BuildState.CANCELLED, ())


@in_loop
async def test_a_crash_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        made = await one.order()
        await one.step()
        one.runner.crash(made.id, "by signal SIGKILL; its last line was: Killed")
        await one.step()
        done = await one.show(made.id)
        assert done.state is BuildState.FAILED
        assert done.outcome is not None
        assert done.outcome.refusal is not None
        assert done.outcome.refusal.code == Code.BUILD_LOST.value
        assert "ended by signal SIGKILL; its last line was: Killed without" in done.outcome.refusal.happened


@in_loop
async def test_a_build_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async with site(tmp_path, build_s=60.0) as one:
        made = await one.order()
        await one.step()
        one.rig.clock.advance(60)
        await one.step()
        assert (await one.show(made.id)).state is BuildState.RUNNING
        one.rig.clock.advance(1)
        await one.step()
        done = await one.show(made.id)
        assert (done.state, one.runner.cancelled) == (BuildState.FAILED, [made.id])
        assert done.outcome is not None
        assert done.outcome.refusal is not None
        assert done.outcome.refusal.code == Code.CONVERSION_TIMEOUT.value


@in_loop
async def test_an_input_that_is_gone_and_a_file_that_is_too_large(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        made = await one.order()
        digest = made.spec.inputs[0].sha256
        path = tmp_path / "blobs" / "sha256" / digest[:2] / digest[2:]
        path.unlink()
        await one.step()
        done = await one.show(made.id)
        assert done.outcome is not None
        assert done.outcome.refusal is not None
        assert (done.state, done.outcome.refusal.code) == (BuildState.FAILED, "MF-1621")
    async with site(tmp_path / "small", blob_limit=1024) as one:
        made = await one.order()
        await one.step()
        one.runner.end(made.id)
        (one.runner.root / made.id / "release" / "large").write_bytes(bytes(2000))
        await one.step()
        done = await one.show(made.id)
        assert done.outcome is not None
        assert done.outcome.refusal is not None
        assert (done.state, done.outcome.refusal.code) == (BuildState.FAILED, "MF-1623")


@in_loop
async def test_trouble_of_the_machine_delays_a_build_and_no_other(tmp_path: Path) -> None:
    async with site(tmp_path, builds=2) as one:
        first = await one.order()
        await one.step()
        one.runner.broken = True
        second = await one.order("k2")
        one.runner.end(first.id)
        await one.step()
        assert (await one.show(first.id)).state is BuildState.SUCCEEDED
        one.runner.broken = False
        await one.step()
        assert (await one.runner.state(second.id)).phase is Phase.RUNNING


@in_loop
async def test_a_restart_finds_builds_where_they_are(tmp_path: Path) -> None:
    async with site(tmp_path, builds=3) as one:
        ended, running, begun = [(await one.order(f"k{n}")).id for n in range(3)]
        await one.step()
        one.runner.end(ended)
        # as if the controller had been killed between its commit and the start of the process
        del one.runner.phases[begun]
        shutil.rmtree(one.runner.root / begun)
        (one.runner.root / "bld_over").mkdir()  # and another time between a commit and the removal
    async with site(tmp_path, one, builds=3) as again:
        await again.step()
        assert (await again.show(ended)).state is BuildState.SUCCEEDED
        assert (await again.show(running)).state is BuildState.RUNNING
        assert (await again.runner.state(begun)).phase is Phase.RUNNING
        assert again.folders == {running, begun}


@in_loop
async def test_the_repository(tmp_path: Path) -> None:
    stored = StoredBuild(
        id="bld_1",
        state=BuildState.QUEUED,
        spec=replace(order().spec, device_classes=(MINE,)),
        idempotency_key="k1",
        order_sha256="0" * 64,
        created_at=START,
        created_by="anna",
    )
    async with (made := database(tmp_path)).write() as connection:
        builds = BuildRepository(connection)
        await builds.add(stored)
        await builds.add(replace(stored, id="bld_2", idempotency_key="k2"))
    async with made.write() as connection:
        builds = BuildRepository(connection)
        assert await builds.get("bld_1") == await builds.by_key("k1") == stored
        assert (await builds.get("bld_3"), await builds.by_key("k3")) == (None, None)
        assert [b.id for b in await builds.unfinished()] == ["bld_1", "bld_2"]
        assert [b.id for b in await builds.newest(1)] == ["bld_2"]
        assert await builds.waiting() == 2
        assert await builds.begin("bld_1", START)
        assert not await builds.begin("bld_1", START), "it is queued no more"
        assert await builds.waiting() == 1
        for person in ("anna", "ben"):
            await builds.ask_cancel("bld_1", person)
        files, outcome = (BuildFile("release.json", "0" * 64, 7),), BuildOutcome(0, "0" * 64)
        end = (BuildState.SUCCEEDED, START, BuildProgress(1.0, "done"), outcome, files)
        assert await builds.finish("bld_1", *end)
        assert not await builds.finish("bld_1", BuildState.FAILED, *end[1:]), "the first end stands"
        found = await builds.get("bld_1")
        assert found == replace(
            stored, state=BuildState.SUCCEEDED, started_at=START, finished_at=START, cancelled_by="anna",
            progress=BuildProgress(1.0, "done"), outcome=outcome, files=files,
        )  # fmt: skip
        assert [b.id for b in await builds.unfinished()] == ["bld_2"]
    await made.close()
