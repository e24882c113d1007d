"""`modelfleet-agent`: enrol, run, serve, status, rollback, doctor.

Only parses and prints; what the commands do is in the modules they name. Exit codes: 0 well, 1 an error
(three lines on stderr), 2 wrong usage."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelfleet_core import logs
from modelfleet_core.errors import ModelfleetError

from . import settings as agent_settings
from .settings import Settings

_EXAMPLES: Final = """\
examples:
  modelfleet-agent enroll https://fleet.example --token mfe_... --trust trust.json --label site=north
  modelfleet-agent run --config /etc/modelfleet/agent.toml
  modelfleet-agent status -o json
  modelfleet-agent rollback digits
"""


def _parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="modelfleet-agent",
        description="Everything that runs on a device of a Modelfleet fleet.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        command.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML)")
        command.add_argument("--state-dir", metavar="DIR", help="state directory, in place of the settings'")
        return command

    enroll = add("enroll", "introduce this device to its controller, once")
    enroll.add_argument("url", metavar="URL", help="address of the controller: https://host[:port]")
    token = enroll.add_mutually_exclusive_group(required=True)
    token.add_argument("--token", help="enrolment token (`fleetctl token create`)")
    token.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the token; - = standard input"
    )
    trust = enroll.add_mutually_exclusive_group()
    trust.add_argument("--trust", type=Path, metavar="FILE", help="trust file (`fleetctl trust export`)")
    trust.add_argument(
        "--trust-on-first-use",
        action="store_true",
        help="believe whoever answers at URL, and pin what it says",
    )
    enroll.add_argument("--ca", type=Path, metavar="FILE", help="PEM certificates to trust for TLS")
    enroll.add_argument("--label", action="append", default=[], metavar="K=V", help="label of the device")
    enroll.add_argument("--name", help="display name of the device")
    enroll.add_argument("--insecure", action="store_true", help="allow http:// to another machine")

    add("run", "run the supervisor until SIGTERM; serve goes on without it")
    add("serve", "run the data plane until SIGTERM")

    status = add("status", "where this device and its slots stand")
    status.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="for people or scripts"
    )

    rollback = add("rollback", "take a slot back to its previous release, without a controller")
    rollback.add_argument("slot", metavar="SLOT", help="name of the slot (= of the release)")
    rollback.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for it (default 60)")

    doctor = add("doctor", "look for what is wrong with this device")
    doctor.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="for people or scripts"
    )
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        flags: dict[str, object] = {}
        if arguments.state_dir is not None:
            flags["state_dir"] = arguments.state_dir
        if getattr(arguments, "name", None) is not None:
            flags["name"] = arguments.name
        settings = agent_settings.load(arguments.config, flags=flags)
        return _run(arguments, settings)
    except ModelfleetError as error:
        print("\n".join(error.diagnostics().lines()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Imports what the command needs, and no more: serve must not pay for the supervisor, nor status for
    either.
    """
    if arguments.command == "run":
        return _supervise(settings)
    if arguments.command == "serve":
        from .serve.main import main as serve

        return serve(settings)
    if arguments.command == "enroll":
        from .commands.enroll import run as enroll

        return enroll(arguments, settings)
    if arguments.command == "status":
        from .commands.status import run as status

        return status(settings, as_json=arguments.output == "json")
    if arguments.command == "rollback":
        from .commands.rollback import run as rollback

        return rollback(settings, arguments.slot, arguments.timeout)
    from .commands.doctor import run as doctor

    return doctor(settings, as_json=arguments.output == "json")


def _supervise(settings: Settings) -> int:
    from .bootstrap import Agent, ready_line, real_world

    logs.configure(sys.stderr, settings.log_level)
    stop = threading.Event()
    agent = Agent(settings, real_world(settings))

    def end(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            agent.wake_loop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    print(ready_line(agent), flush=True)
    agent.run(stop)
    return 0
