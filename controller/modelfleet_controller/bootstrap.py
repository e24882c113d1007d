"""The composition root: the one place where the controller's parts are made and put together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, TextIO

import uvicorn

from modelfleet_core import logs
from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.wire import codec

from .app import build_asgi
from .auth.request_verifier import Ed25519RequestVerifier
from .auth.service import TokenService
from .blobs.local import LocalBlobs
from .builds.driver import BuildDriver
from .builds.folders import BuildFolders
from .builds.local import LocalRunner
from .builds.port import BuildRunner
from .controller import Controller
from .db.database import Connection, Database
from .db.group_commit import GroupCommit, Lane
from .db.upgrade import Upgraded, upgrade
from .devices.repository import DeviceRepository, DeviceRow
from .devices.service import DeviceService
from .hot.app import Lanes
from .hot.asgi import Asgi
from .hot.load import load_board
from .metrics import Metrics
from .settings import Settings
from .telemetry.service import Telemetry
from .ticker.service import Ticker
from .trust.director_key import load_or_make
from .trust.repository import TrustRepository

_log = logging.getLogger(__name__)

DATABASE: Final = "modelfleet.db"
BLOBS: Final = "blobs"
BUILDS: Final = "builds"
DIRECTOR_KEY: Final = "director.key"
LOCK: Final = "lock"
FLUSH_S: Final = 2.0
FIRST_ADMIN_S: Final = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Application:
    """A composed controller: its ASGI application, its tasks, and the first admin's token (first start
    only). `builds` is None where builds are not offered.
    """

    controller: Controller
    asgi: Asgi
    ticker: Ticker
    builds: BuildDriver | None
    admin_token: str | None
    tasks: list[asyncio.Task[None]]
    stopping: asyncio.Event

    async def flush(self) -> None:
        """Saves what devices said since the last time."""
        board = self.controller.board
        rows = board.take_unsaved()
        if not rows:
            return
        try:
            async with self.controller.database.write() as connection:
                await DeviceRepository(connection).save_statuses(rows)
        except ModelfleetError:
            board.put_back(rows)
            raise

    async def close(self) -> None:
        """Ends the tasks, writes what is waiting, closes the database."""
        self.stopping.set()
        self.controller.commits.close()
        await asyncio.gather(*self.tasks)
        with contextlib.suppress(ModelfleetError):
            await self.flush()
        await self.controller.database.close()


async def compose(
    settings: Settings,
    clock: Clock,
    entropy: Entropy,
    *,
    run: bool = True,
    runner: BuildRunner | None = None,
) -> Application:
    """Opens the data directory and puts the parts together.

    Args: run: start the ticker, the flush of last_seen and the builds as tasks; tests that own the clock call
        them themselves. runner: runs builds; None = child processes, where the builder is installed.

    Raises:
        CallerError: MF-1660, a schema this program does not know.
        WorldError: the disk is full or the data directory cannot be used.
    """
    make_data(settings.data)
    upgraded = await asyncio.to_thread(upgrade, settings.data / DATABASE)
    # token hashes and what devices said are for the owner alone; SQLite gives its side files the same mode
    (settings.data / DATABASE).chmod(0o600)
    _tell_upgrade(upgraded)
    director = load_or_make(settings.data / DIRECTOR_KEY)
    blobs = LocalBlobs(settings.data / BLOBS, entropy)
    blobs.sweep()
    runner, build_root = _builds(settings, runner)
    database = Database(settings.data / DATABASE)
    try:
        audience, admin_token = await _first_start(database, clock, entropy)
        board = await load_board(database)
        commits = GroupCommit(database)
        controller = Controller(
            settings=settings,
            clock=clock,
            entropy=entropy,
            database=database,
            blobs=blobs,
            audience=audience,
            director=director,
            verifier=Ed25519RequestVerifier(board, audience, clock),
            board=board,
            commits=commits,
            metrics=Metrics(),
            started_at=clock.now(),
            build_root=build_root,
            builds_offered=runner is not None,
        )
        asgi = build_asgi(controller, _lanes(controller), version("modelfleet"))
    except BaseException:
        await database.close()
        raise
    stopping = asyncio.Event()
    ticker = Ticker(controller)
    builds = BuildDriver(controller, runner, BuildFolders(build_root)) if runner is not None else None
    application = Application(controller, asgi, ticker, builds, admin_token, [], stopping)
    application.tasks.append(asyncio.create_task(commits.run()))
    if run:
        beat = _tick(controller, ticker)
        application.tasks.append(asyncio.create_task(_every(settings.tick_s, stopping, "tick", beat)))
        application.tasks.append(asyncio.create_task(_every(FLUSH_S, stopping, "flush", application.flush)))
        if builds is not None:
            look = _every(settings.tick_s, stopping, "builds", builds.step)
            application.tasks.append(asyncio.create_task(look))
    return application


def _builds(settings: Settings, given: BuildRunner | None) -> tuple[BuildRunner | None, Path]:
    """The runner of builds, None = none are taken; and where their folders are."""
    root = settings.data / BUILDS
    root.mkdir(mode=0o700, exist_ok=True)
    missing = [name for name in ("numpy", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if settings.builds == 0 or (given is None and missing):
        return None, root
    return given or LocalRunner(root, settings.build_memory), root


async def _first_start(database: Database, clock: Clock, entropy: Entropy) -> tuple[str, str | None]:
    async with database.write() as connection:
        trust = TrustRepository(connection)
        itself = await trust.self()
        if itself is None:
            audience = f"mfc-{entropy(12).hex()}"
            await trust.found(audience, clock.now())
        else:
            audience = itself.audience
        token = await TokenService(connection, clock, entropy).first_admin(FIRST_ADMIN_S)
    return audience, token


def _lanes(controller: Controller) -> Lanes:
    telemetry = Telemetry(controller)

    async def facts(connection: Connection, items: Sequence[tuple[str, DeviceFacts]]) -> Sequence[DeviceRow]:
        service = DeviceService(connection, controller.clock)
        return [await service.new_facts(device, found) for device, found in items]

    return Lanes(
        reports=Lane("reports", telemetry.reports),
        events=Lane(
            "events", telemetry.events, lambda item, answer: telemetry.committed(*item, answer.through)
        ),
        facts=Lane("facts", facts, lambda item, row: controller.board.put_device(row)),
    )


def _tick(controller: Controller, ticker: Ticker) -> Callable[[], Awaitable[None]]:
    async def tick() -> None:
        with controller.metrics.tick_seconds.time():
            try:
                await ticker.tick()
            except Exception:
                controller.metrics.tick_failures.inc()
                raise

    return tick


async def _every(
    seconds: float, stopping: asyncio.Event, name: str, work: Callable[[], Awaitable[None]]
) -> None:
    """Does `work` again and again until `stopping`; a failure is logged and the next turn tries again."""
    while not stopping.is_set():
        try:
            await work()
        except Exception:
            logs.error(_log, f"{name}.failed", trace=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)


def _tell_upgrade(upgraded: Upgraded) -> None:
    if upgraded.before != upgraded.after:
        logs.info(
            _log,
            "database.upgraded",
            before=upgraded.before,
            after=upgraded.after,
            backup=None if upgraded.backup is None else upgraded.backup.name,
        )


# -------------------------------------------------------------------------------------------- serving


def make_data(data: Path) -> None:
    """Makes the data directory, readable by its owner alone.

    Raises:
        CallerError: MF-1662, it cannot be made or written.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / LOCK).touch()
    except OSError as error:
        raise CallerError(
            Code.SETTINGS_INVALID,
            f"the data directory {data} cannot be used: {os.strerror(error.errno or 0)}",
            expected="a folder that can be made and written",
            todo="correct --data, or the rights on the folder",
        ) from error


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keeps a second controller off the data directory (two of them would both decide).

    Raises:
        CallerError: MF-1663; MF-1662, as `make_data`.
    """
    make_data(data)
    with (data / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CallerError(
                Code.DATA_IN_USE,
                f"another controller runs on {data}",
                expected="one controller per data directory",
                todo="stop the other one, or name another --data",
            ) from None
        yield


class Server(uvicorn.Server):
    """uvicorn that tells when it is ready and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts serving, then calls `ready`."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Installs nothing: `serve` has its own handlers, and cleans up after the server has ended."""
        yield


async def serve(settings: Settings, clock: Clock, entropy: Entropy, out: TextIO, stop: asyncio.Event) -> None:
    """Serves until `stop` is set; running answers are finished, what is waiting is written.

    Prints one line on `out` when ready: {"ready": {"url": ..., "admin_token": ...}} (the token once, at
    first start).

    Raises:
        ModelfleetError: it cannot start.
    """
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    listener = _listen(settings)
    try:
        with locked(settings.data):
            application = await compose(settings, clock, entropy)
            try:
                await _serve(settings, application, listener, out, stop)
            finally:
                await application.close()
    finally:
        listener.close()


async def _serve(
    settings: Settings, application: Application, listener: socket.socket, out: TextIO, stop: asyncio.Event
) -> None:
    def ready() -> None:
        told: dict[str, str] = {"url": _url(settings, listener)}
        if application.admin_token is not None:
            told["admin_token"] = application.admin_token
        out.write(codec.encode({"ready": told}).decode() + "\n")
        out.flush()
        logs.info(_log, "controller.ready", url=told["url"])

    config = uvicorn.Config(
        application.asgi,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_s)),
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )
    server = Server(config, ready)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    logs.info(_log, "controller.stopping")
    server.should_exit = True
    stopped.cancel()
    await serving


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CallerError(
            Code.SETTINGS_INVALID,
            f"cannot listen on {settings.listen}: {os.strerror(error.errno or 0)}",
            expected="a free address of this machine",
            todo="name another --listen, or port 0 for any free one",
        ) from error
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_certificate else 'http'}://{shown}:{port}"
