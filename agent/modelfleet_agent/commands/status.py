"""`modelfleet-agent status`."""

from __future__ import annotations

import json

from modelfleet_agent.settings import Settings
from modelfleet_agent.state.folder import StateFolder, holder
from modelfleet_agent.supervisor.status import SlotView, StatusView, read_status
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.lifecycle.chain import Installed
from modelfleet_core.wire import codec


def run(settings: Settings, *, as_json: bool) -> int:
    """Prints the last status; the exit code is 0 even where no agent runs: `running` says so."""
    folder = StateFolder(settings.state_dir)
    view = read_status(folder.status)
    if view is None:
        raise CallerError(
            Code.AGENT_NOT_RUNNING,
            f"no agent has run on {settings.state_dir} yet",
            expected="a state directory on which `modelfleet-agent run` was started",
            todo="start it, or name another one by --state-dir or --config",
        )
    running = holder(folder.lock) is not None
    print(render_json(view, running=running) if as_json else render(view, running=running), end="")
    return 0


def render_json(view: StatusView, *, running: bool) -> str:
    """The view with `running` beside it."""
    return json.dumps({"running": running, **json.loads(codec.encode(view))}, indent=2) + "\n"


def render(view: StatusView, *, running: bool) -> str:
    """The view for people."""
    offset = f", clock {view.clock_offset_s:+.1f} s off" if abs(view.clock_offset_s) > 1 else ""
    contact = view.last_contact.isoformat(timespec="seconds") if view.last_contact is not None else "never"
    alive = f"running as process {view.pid}" if running else "NOT RUNNING"
    lines = [
        f"device      {view.device} ({view.name}), class {view.device_class or 'none'}",
        f"agent       {view.agent_version}, {alive}{offset}",
        f"controller  {view.controller}, last contact {contact}, revision {view.revision}",
        f"serve       {_serve(view)}",
        f"outbox      {view.outbox.events} events, {view.outbox.reports} reports wait",
    ]
    if view.last_error is not None:
        lines.append(f"last error  {view.last_error.code}: {view.last_error.reason}")
    for slot in view.slots:
        lines += _slot(slot)
    if not view.slots:
        lines.append("no slot yet: nothing was assigned to this device")
    return "\n".join(lines) + "\n"


def _serve(view: StatusView) -> str:
    if view.serve.pid is None:
        return f"does not answer ({view.serve.code}: {view.serve.reason})"
    return f"process {view.serve.pid}, {view.serve.http or 'http address unknown'}, {view.serve.socket}"


def _slot(slot: SlotView) -> list[str]:
    lines = [f"slot        {slot.slot}: {slot.state}"]
    lines += [
        f"  {role:<10}{_installed(installed, slot.active)}"
        for role, installed in (
            ("incumbent", slot.incumbent),
            ("candidate", slot.candidate),
            ("previous", slot.previous),
        )
        if installed is not None
    ]
    if slot.code is not None:
        lines.append(f"  {slot.code}: {slot.reason}")
    return lines


def _installed(installed: Installed, active: str | None) -> str:
    answers = "  <- answers" if installed.release == active else ""
    return f"{installed.reference} ({installed.variant}, {installed.release[:12]}){answers}"
