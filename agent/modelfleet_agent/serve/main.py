"""The composition root of serve: locks the state directory, listens, follows the table, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import random
import signal
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from modelfleet_core import logs
from modelfleet_core.clock import SystemClock, system_entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import ModelfleetError, WorldError

from ..control.server import ControlServer
from ..settings import Settings
from .app import WATCHDOG_S, Serve
from .http.routes import Routes
from .http.server import HttpServer
from .pair_lock import PairLock
from .sdk_server import SdkServer

LOCK_NAME: Final = "lock"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Composition:
    """What serve is made of.

    Attributes:
        folder: serve's own folder; holds the table, the control socket and the lock.
        host, port: of HTTP; port 0 = any free one.
        sdk_socket, control_socket: Unix sockets.
        threads: threads for one inference.
        pair_lock: file that serialises latency pairs on this machine.
        watchdog_s: an inference that takes longer is a hang, seconds.
    """

    folder: Path
    host: str
    port: int
    sdk_socket: Path
    control_socket: Path
    threads: int
    pair_lock: Path
    watchdog_s: float = WATCHDOG_S


def run(settings: Settings) -> int:
    """Serve until SIGTERM, SIGINT or a supervisor's `drain`; the exit code.

    Prints one line `{"ready": {"http": ..., "socket": ..., "control": ...}}` on stdout once it listens.

    Raises:
        WorldError: MF-4032 another serve owns the state directory, MF-4033 an address is taken.
    """
    return run_composition(
        Composition(
            folder=settings.serve_dir,
            host=settings.serve.host,
            port=settings.serve.port,
            sdk_socket=settings.serve.socket,
            control_socket=settings.control_socket,
            threads=settings.serve.threads,
            pair_lock=settings.pair_lock or settings.serve_dir / "pair.lock",
        )
    )


def run_composition(parts: Composition) -> int:
    """See `run`."""
    parts.folder.mkdir(parents=True, exist_ok=True)
    parts.sdk_socket.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(parts.folder / LOCK_NAME)
    try:
        asyncio.run(_serve(parts))
    finally:
        os.close(lock)
    return 0


def version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("modelfleet")
    except metadata.PackageNotFoundError:
        return "unknown"


async def _serve(parts: Composition) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lock = PairLock(parts.pair_lock)
    serve = Serve(
        parts.folder,
        lock=lock,
        threads=parts.threads,
        watchdog_s=parts.watchdog_s,
        clock=SystemClock(),
        chance=random.Random(system_entropy(16)),
        boot_id=system_entropy(8).hex(),
    )
    http = HttpServer(Routes(serve, version()).handle)
    sdk, control = SdkServer(serve), ControlServer(serve, stop.set)
    serve.boot()
    host, port = await _listening(http, sdk, control, parts)
    where = {
        "http": f"http://{f'[{host}]' if ':' in host else host}:{port}",
        "socket": str(parts.sdk_socket),
        "control": str(parts.control_socket),
        "pid": os.getpid(),
    }
    print(json.dumps({"ready": where}), flush=True)
    logs.info(log, "serve.ready", **where)
    gc.collect()
    gc.freeze()
    timekeeper = asyncio.create_task(serve.keep_time(), name="time")
    await stop.wait()
    logs.info(log, "serve.draining")
    http.stop_listening()
    sdk.stop_listening()
    await serve.drain()
    timekeeper.cancel()
    sdk.hang_up()
    await http.hang_up()
    await control.stop()
    lock.close()
    logs.info(log, "serve.ended")


async def _listening(
    http: HttpServer, sdk: SdkServer, control: ControlServer, parts: Composition
) -> tuple[str, int]:
    place = ""
    try:
        place = str(parts.control_socket)
        await control.start(parts.control_socket)
        place = str(parts.sdk_socket)
        await sdk.start(parts.sdk_socket)
        place = f"{parts.host}:{parts.port}"
        return await http.start(parts.host, parts.port)
    except OSError as error:
        raise WorldError(
            Code.SERVE_CANNOT_LISTEN,
            f"serve cannot listen on {place}: {error.strerror or error}",
            expected="an address that is free, in a folder that may be written",
            todo="choose another one in the agent's settings ([serve] listen, socket)",
        ) from error


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise WorldError(
            Code.SERVE_ALREADY_RUNS,
            f"another serve runs on {path.parent}",
            expected="one serve for each state directory",
            todo="stop the other one, or give this one a state_dir of its own",
        ) from None
    return handle


def main(settings: Settings) -> int:
    """`run` as a program: structured logs on stderr, errors as three lines, exit code 1."""
    logs.configure(sys.stderr, settings.log_level)
    try:
        return run(settings)
    except ModelfleetError as error:
        print("\n".join(error.diagnostics().lines()), file=sys.stderr)
        return 1
