"""How people see releases."""

from __future__ import annotations

from datetime import datetime

from fleetctl.output import Block, Table, age, size, styled
from fleetctl.release.folder import SignatureView
from fleetctl.release.header import HeaderView
from fleetctl.release.keys import KeyView
from fleetctl.release.push import PushView
from modelfleet_core.release.manifest import Measurements
from modelfleet_core.wire.operator import Releases, ReleaseView


def key(view: KeyView) -> list[Block]:
    """A new key pair."""
    lines = [
        f"private key  {view.private_key}{' (encrypted)' if view.encrypted else ''}",
        f"public key   {view.public_key}",
        f"fingerprint  {view.fingerprint}",
        f"next: fleetctl trust init --release-key {view.public_key}",
    ]
    return ["\n".join(lines)]


def signatures(view: SignatureView) -> list[Block]:
    """What was signed, or found about signatures."""
    rows = [
        (
            v.variant,
            styled("ok" if v.ok else "refused"),
            v.signed_by[:16] or "-",
            str(v.files),
            _why(v.code, v.reason),
        )
        for v in view.variants
    ]
    state = "ok" if view.ok else "refused"
    return [
        f"{view.release}  {view.id[:16]}  {state}",
        Table(("VARIANT", "STATE", "SIGNED BY", "FILES", "REASON"), rows, "no variants", ("FILES",)),
    ]


def _why(code: str | None, reason: str | None) -> str:
    return f"{code}: {reason}" if code else ""


def header(view: HeaderView) -> list[Block]:
    """The C header that was written."""
    arena = f", arena {size(view.arena_bytes)}" if view.arena_bytes is not None else ""
    lines = [
        f"{view.path}  {view.release} {view.variant}: {size(view.model_bytes)}{arena}",
        f"sha256 {view.model_sha256}",
        f"signed by {view.signed_by[:16]}"
        if view.signed_by
        else "signature not checked; give --trust or --public-key to check it",
    ]
    return ["\n".join(lines)]


def pushed(view: PushView) -> list[Block]:
    """What was sent."""
    return [
        f"{view.release}  {view.id[:16]}  signed by {', '.join(s[:16] for s in view.signed_by)}",
        f"sent {view.blobs_sent} blobs ({size(view.bytes_sent)}); {view.blobs_known} were known",
    ]


def releases(view: Releases, now: datetime) -> list[Block]:
    """The list of releases."""
    rows = [
        (
            r.reference,
            r.id[:16],
            ",".join(r.manifest.classes()) or "-",
            str(len(r.manifest.variants)),
            ",".join(s[:16] for s in r.signed_by),
            age(r.pushed_at, now),
        )
        for r in view.items
    ]
    titles = ("RELEASE", "ID", "CLASSES", "VARIANTS", "SIGNED BY", "PUSHED")
    return [Table(titles, rows, "no releases yet; `fleetctl release push DIR` brings one", ("VARIANTS",))]


def release(view: ReleaseView) -> list[Block]:
    """One release in full."""
    m = view.manifest
    lines = [
        f"release    {view.reference}",
        f"id         {view.id}",
        f"task       {m.task.value}",
        f"built      {m.created_at:%Y-%m-%d %H:%M:%S} UTC",
        f"pushed     {view.pushed_at:%Y-%m-%d %H:%M:%S} UTC",
        f"signed by  {', '.join(view.signed_by)}",
        f"from       {m.lineage.source_name} (sha256 {m.lineage.source_sha256[:16]})",
        f"golden     {m.lineage.golden_samples} samples",
        "",
    ]
    rows = [
        (
            v.device_class,
            v.name,
            "chosen" if v.rank == 0 else str(v.rank),
            *_measured(v.measurements),
            f"{v.runtime.name} >={v.runtime.minimum}",
        )
        for v in sorted(m.variants, key=lambda v: (v.device_class, v.rank))
    ]
    titles = ("CLASS", "VARIANT", "RANK", "SIZE", "METRIC", "DROP", "LATENCY", "RUNTIME")
    refusals = [f"refused {r.variant or r.device_class}: {r.code}: {r.reason}" for r in m.refusals]
    return [
        "\n".join(lines),
        Table(titles, rows, "no variants", ("SIZE", "METRIC", "DROP", "LATENCY")),
        *refusals,
    ]


def _measured(m: Measurements) -> tuple[str, str, str, str]:
    """Size, metric, drop in points, latency against the float parent."""
    ratio = "-" if m.latency_ratio is None else f"x{m.latency_ratio:.2f}"
    return size(m.size_bytes), f"{m.metric} {100 * m.value:.2f} %", f"{m.drop_points:.2f}pt", ratio
