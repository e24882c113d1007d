"""`modelfleet-agent doctor`: looks at everything that can be wrong with a device and says what to do about
it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from modelfleet_agent.control.client import ServeClient
from modelfleet_agent.facts import free_disk
from modelfleet_agent.identity.identity import Enrolled, load
from modelfleet_agent.identity.keys import FileKey
from modelfleet_agent.lifecycle.log import RecordLog
from modelfleet_agent.lifecycle.store import digest_folder
from modelfleet_agent.settings import Settings
from modelfleet_agent.state.folder import SCHEMA, StateFolder, holder
from modelfleet_agent.supervisor.status import read_status
from modelfleet_agent.uplink.client import ControllerClient, CorrectedClock
from modelfleet_agent.uplink.enroll import fingerprint
from modelfleet_agent.uplink.transport import HttpTransport, Outgoing
from modelfleet_core.clock import SystemClock, system_entropy
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.manifest import BUNDLE_SUFFIX
from modelfleet_core.trust.bundle import verify_bundle
from modelfleet_core.trust.statement import check_files
from modelfleet_core.wire import codec
from modelfleet_runtimes import registry

MAX_OFFSET_S: Final = 300.0


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `todo` is empty where it is well."""

    check: str
    level: Level
    detail: str
    todo: str = ""


def run(settings: Settings, *, as_json: bool) -> int:
    """Prints all findings; the exit code is 1 where one of them failed."""
    findings = tuple(examine(settings))
    if as_json:
        print(codec.pretty([asdict(finding) for finding in findings]).decode(), end="")
    else:
        for finding in findings:
            print(f"{finding.level:<8} {finding.check:<12} {finding.detail}")
            if finding.todo:
                print(f"{'':<22}to do: {finding.todo}")
    return 1 if any(finding.level is Level.FAILED for finding in findings) else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, in the order in which things depend on one another."""
    folder = StateFolder(settings.state_dir)
    yield from _checked("state", lambda: _state(folder))
    enrolled: list[Enrolled] = []
    yield from _checked("identity", lambda: _identity(folder, enrolled))
    yield from _checked("disk", lambda: _disk(settings))
    yield from _checked("runtimes", lambda: _runtimes(settings))
    yield from _checked("journal", lambda: _journal(folder))
    yield from _checked("agent", lambda: _agent(folder))
    yield from _checked("serve", lambda: _serve(settings))
    if enrolled:
        yield from _checked("controller", lambda: _controller(enrolled[0]))
        yield from _checked("releases", lambda: _releases(folder, enrolled[0]))


def _checked(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except ModelfleetError as error:
        yield Finding(check, Level.FAILED, f"{error.code.value}: {error.happened}", error.todo)
    except OSError as error:
        yield Finding(check, Level.FAILED, str(error), "run doctor as the user that the agent runs as")


def _state(folder: StateFolder) -> Iterator[Finding]:
    if not folder.root.is_dir():
        yield Finding("state", Level.FAILED, f"{folder.root} does not exist", "enrol the device")
        return
    text = (
        folder.version.read_text(encoding="ascii", errors="replace").strip()
        if folder.version.exists()
        else ""
    )
    if text != str(SCHEMA):
        yield Finding(
            "state",
            Level.FAILED,
            f"layout {text or 'none'}, this agent knows {SCHEMA}",
            "use the agent it belongs to",
        )
    loose = [
        path
        for path in (folder.root, folder.key, folder.identity, folder.trust, folder.serve)
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    for path in loose:
        yield Finding(
            "state",
            Level.FAILED if path == folder.key else Level.WARNING,
            f"others may read {path}",
            f"run: chmod go= {path}",
        )
    if text == str(SCHEMA) and not loose:
        yield Finding("state", Level.OK, f"{folder.root}, layout {SCHEMA}, readable by its owner alone")


def _identity(folder: StateFolder, found: list[Enrolled]) -> Iterator[Finding]:
    enrolled = load(folder, FileKey(folder.key, system_entropy))
    found.append(enrolled)
    identity = enrolled.identity
    yield Finding("identity", Level.OK, f"{identity.device} at {identity.controller}")
    if identity.device_class is None:
        yield Finding("identity", Level.WARNING, "no device class fits", "see `fleetctl device show`")
    keys = f"{len(enrolled.trust.release_keys)} release keys, fingerprint {fingerprint(enrolled.trust)}"
    if identity.trusted_on_first_use:
        yield Finding(
            "trust",
            Level.WARNING,
            f"{keys}, taken from the controller itself",
            "compare it with `fleetctl trust status`",
        )
    else:
        yield Finding("trust", Level.OK, keys)


def _disk(settings: Settings) -> Iterator[Finding]:
    free = free_disk(settings.state_dir)
    if free < settings.min_free_bytes:
        yield Finding(
            "disk",
            Level.FAILED,
            f"{free} bytes free, less than min_free_bytes",
            "free space: no release can come",
        )
    else:
        yield Finding("disk", Level.OK, f"{free} bytes free")


def _runtimes(settings: Settings) -> Iterator[Finding]:
    survey = registry.survey()
    offered = survey.available if settings.runtimes is None else settings.runtimes
    for name in offered:
        if name in survey.available:
            yield Finding("runtimes", Level.OK, f"{name} {survey.available[name]}")
        else:
            extra = survey.absent.get(name)
            todo = f"pip install 'modelfleet[{extra}]'" if extra else "correct `runtimes` in the settings"
            yield Finding("runtimes", Level.FAILED, f"{name} is not installed", todo)
    for name, reason in survey.broken.items():
        yield Finding(
            "runtimes", Level.WARNING, f"{name} is broken: {reason}", "update or remove that plug-in"
        )
    if not offered:
        yield Finding("runtimes", Level.FAILED, "none is installed", "pip install 'modelfleet[onnxruntime]'")


def _journal(folder: StateFolder) -> Iterator[Finding]:
    found, _ = RecordLog.look(folder.journal)
    if found.damaged:
        yield Finding(
            "journal",
            Level.WARNING,
            f"{found.damaged} damaged records",
            "look at the disk: what was written has changed",
        )
    else:
        yield Finding("journal", Level.OK, f"{len(found.records)} records")


def _agent(folder: StateFolder) -> Iterator[Finding]:
    pid = holder(folder.lock)
    if pid is None:
        yield Finding("agent", Level.WARNING, "does not run", "start it: modelfleet-agent run")
        return
    view = read_status(folder.status)
    yield Finding("agent", Level.OK, f"runs as process {pid}")
    if view is not None and view.last_error is not None:
        yield Finding(
            "agent",
            Level.WARNING,
            f"last error {view.last_error.code}: {view.last_error.reason}",
            "see its log",
        )


def _serve(settings: Settings) -> Iterator[Finding]:
    client = ServeClient(settings.control_socket)
    try:
        actual = client.actual()
    finally:
        client.close()
    yield Finding("serve", Level.OK, f"answers as process {actual.pid}, {len(actual.slots)} slots")
    for slot in actual.slots:
        for model in slot.models:
            if model.code is not None:
                yield Finding(
                    "serve", Level.WARNING, f"{slot.slot}: {model.code}: {model.reason}", "see serve's log"
                )


def _controller(enrolled: Enrolled) -> Iterator[Finding]:
    identity, clock = enrolled.identity, CorrectedClock(SystemClock())
    transport = HttpTransport(identity.controller, enrolled.trust.controller_ca)
    transport.send(Outgoing("GET", "/livez", {}))
    yield Finding("controller", Level.OK, f"{identity.controller} answers")
    client = ControllerClient(
        transport, identity.device, enrolled.signer, enrolled.policy, clock, system_entropy
    )
    # No events, so nothing changes; but signature, clock and revocation are checked.
    client.exchange("POST", "/v1/device/events", b'{"epoch":"doctor","events":[]}')
    yield Finding("controller", Level.OK, "knows this device and takes its signature")
    if abs(clock.offset_s) > MAX_OFFSET_S:
        yield Finding(
            "clock",
            Level.WARNING,
            f"the device's clock is {-clock.offset_s:.0f} s off; the agent corrects for it",
            "set the clock, or let it follow a time server",
        )
    else:
        yield Finding("clock", Level.OK, f"within {MAX_OFFSET_S:.0f} s of the controller's")


def _releases(folder: StateFolder, enrolled: Enrolled) -> Iterator[Finding]:
    """Everything in the store once more against its signature: what a disk has changed since shows here."""
    for path in sorted(p for p in folder.store.iterdir() if p.is_dir() and not p.name.startswith(".")):
        bundle = Path(f"{path}{BUNDLE_SUFFIX}").read_bytes()
        check_files(verify_bundle(bundle, enrolled.policy).statement, digest_folder(path))
        yield Finding("releases", Level.OK, f"{path.name} is as it was signed")
