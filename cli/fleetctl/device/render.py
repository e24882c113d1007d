"""How people see devices."""

from __future__ import annotations

from datetime import datetime

from fleetctl.output import Block, Cell, Table, age, labels, size, styled
from modelfleet_core.wire.operator import Devices, DeviceView


def devices(view: Devices, now: datetime) -> list[Block]:
    """The fleet, one line per device and slot."""
    rows: list[list[Cell]] = []
    for d in view.items:
        seen = ("revoked", "red") if d.revoked else age(d.last_seen, now)
        shown: Cell = seen
        head: list[Cell] = [d.name or "-", d.id, d.device_class or ("no class", "yellow")]
        if not d.slots:
            rows.append([*head, "-", "-", shown, labels(d.labels)])
        for slot in d.slots:
            runs = slot.incumbent_reference or (slot.incumbent[:16] if slot.incumbent else "-")
            rows.append([*head, runs, styled(slot.state), shown, labels(d.labels)])
    titles = ("NAME", "ID", "CLASS", "RUNS", "STATE", "SEEN", "LABELS")
    return [Table(titles, rows, "no devices; `fleetctl token create` makes a token to enrol one with")]


def device(view: DeviceView, now: datetime) -> list[Block]:
    """One device in full."""
    facts = view.facts

    def fact(name: str, text: str) -> str:
        return f"{text} (overridden)" if name in facts.overridden else text

    runtimes = ", ".join(f"{n} {v}" for n, v in sorted(facts.runtimes.items())) or "none"
    lines = [
        f"device        {view.id}",
        f"name          {view.name or '-'}",
        f"class         {view.device_class or 'none'}",
        f"labels        {labels(view.labels)}",
        f"enrolled      {view.enrolled_at:%Y-%m-%d %H:%M:%S} UTC",
        f"last seen     {age(view.last_seen, now)}{' ago' if view.last_seen else ''}",
        f"revoked       {'yes' if view.revoked else 'no'}",
        f"revision      {view.revision}",
        f"architecture  {fact('architecture', facts.architecture)}",
        f"runtimes      {fact('runtimes', runtimes)}",
        f"memory        {fact('memory_bytes', size(facts.memory_bytes))}",
        f"free disk     {fact('free_disk_bytes', size(facts.free_disk_bytes))}",
        f"processors    {fact('cpus', str(facts.cpus))}",
        f"agent         {facts.agent_version or '-'}",
    ]
    lines += [f"not in class  {reason}" for reason in view.class_reasons]
    rows = [
        (
            s.slot,
            styled(s.state),
            s.incumbent_reference or "-",
            s.incumbent_variant or "-",
            (s.candidate or "-")[:16],
            f"{s.code}: {s.reason}" if s.code else "",
        )
        for s in view.slots
    ]
    titles = ("SLOT", "STATE", "RUNS", "VARIANT", "CANDIDATE", "REASON")
    return ["\n".join(lines), "", Table(titles, rows, "no slots yet")]
