"""modelfleet-controller: `serve` and `migrate`.

modelfleet-controller serve --data /var/lib/modelfleet --listen 127.0.0.1:8470
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelfleet_core import logs
from modelfleet_core.clock import SystemClock, system_entropy
from modelfleet_core.errors import CallerError, ModelfleetError

from .settings import Settings, load

# What is heavy to import (FastAPI, SQLAlchemy, Alembic) is imported once the settings are known to be right.

_FLAGS: Final = {
    "--data": "folder of database, blobs and director key",
    "--listen": "HOST:PORT (default 127.0.0.1:8470; port 0 takes a free one)",
    "--poll-s": "seconds between check-ins of idle devices (default 60)",
    "--tick-s": "seconds between two looks at active rollouts (default 1)",
    "--tls-certificate": "PEM file",
    "--tls-key": "PEM file",
    "--statement-life-s": "life of a director statement (default 86400)",
    "--report-days": "how long raw reports are kept (default 14)",
    "--blob-limit": "largest blob in bytes (default 4 GiB)",
    "--builds": "builds that run at once (default 1; 0 takes none)",
    "--builds-waiting": "builds that may wait (default 20)",
    "--build-s": "how long one build may take (default 14400)",
    "--build-memory": "memory of one build in bytes (default 8 GiB)",
    "--log-level": "DEBUG, INFO, WARNING or ERROR",
    "--shutdown-s": "time for running answers at the end (default 10)",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelfleet-controller",
        description="The cloud service of Modelfleet: releases, devices, rollouts.",
        epilog="Every setting also as MODELFLEET_CONTROLLER_<NAME>, or in a TOML file (--config).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser(
        "serve",
        help="serve until SIGTERM",
        epilog="example: modelfleet-controller serve --data /var/lib/modelfleet --listen 127.0.0.1:8470",
    )
    for flag, text in _FLAGS.items():
        serving.add_argument(flag, help=text)
    serving.add_argument("--config", type=Path, help="TOML file of settings")
    serving.add_argument(
        "--insecure",
        action="store_const",
        const="true",
        help="listen beyond this machine without TLS (behind an ingress that ends it)",
    )
    migrating = commands.add_parser(
        "migrate",
        help="bring the database to this version's schema and end",
        epilog="example: modelfleet-controller migrate --data /var/lib/modelfleet",
    )
    migrating.add_argument("--data", required=True, help="folder of the database")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; exit code 0, 2 for wrong settings, 1 for anything else."""
    given = _parser().parse_args(arguments)
    logs.configure(sys.stderr)
    try:
        if given.command == "migrate":
            return _migrate(Path(given.data))
        flags = {name: value for name, value in vars(given).items() if name not in ("command", "config")}
        settings = load(flags, os.environ, given.config)
        logs.configure(sys.stderr, settings.log_level)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except ModelfleetError as error:
        for line in error.diagnostics().lines():
            print(line, file=sys.stderr)
        return 2 if isinstance(error, CallerError) else 1
    return 0


async def _serve(settings: Settings) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it talks while it is imported
    from .bootstrap import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, SystemClock(), system_entropy, sys.stdout, stop)


def _migrate(data: Path) -> int:
    from .bootstrap import DATABASE, locked
    from .db.upgrade import upgrade

    with locked(data):
        done = upgrade(data / DATABASE)
    if done.before == done.after:
        print(f"schema {done.after}: nothing to do")
    else:
        kept = "" if done.backup is None else f", backup in {done.backup}"
        print(f"schema {done.before or 'none'} -> {done.after}{kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
