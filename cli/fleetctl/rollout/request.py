"""The resource that `rollout plan` and `rollout create` send, from a file or from the short form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import typer

from fleetctl.arguments import read_resource, understood
from modelfleet_core.files.shorthand import rollout_resource
from modelfleet_core.wire.operator import RolloutCreate


@dataclass(frozen=True, slots=True)
class Asked:
    """Options of `plan` and `create`."""

    release: str | None
    file: Path | None
    to: str | None
    stages: str | None
    shadow: str | None
    name: str | None
    no_gates: bool
    reason: str | None
    supersede: bool


def creation(asked: Asked, key: str) -> RolloutCreate:
    """The body for the controller; what the plan may say is checked there, by the same reader as everywhere.

    Raises:
        CallerError: the file or the short form is not understood.
    """
    if (asked.file is None) is (asked.release is None):
        raise typer.BadParameter("give either NAME:VERSION with --to, or -f FILE")
    if asked.file is not None:
        if asked.to or asked.stages or asked.shadow:
            raise typer.BadParameter(
                "--to, --stages and --shadow belong to the short form; the file says them"
            )
        resource = read_resource(asked.file)
    else:
        resource = _short(asked)
    if asked.name:
        metadata = resource.get("metadata")
        resource["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "name": asked.name}
    if asked.no_gates:
        if not asked.reason:
            raise typer.BadParameter("--no-gates needs --reason: it stands in the decision log")
        spec = resource.get("spec")
        resource["spec"] = {**(spec if isinstance(spec, dict) else {}), "gates": []}
    with understood():
        return RolloutCreate(
            resource=json.dumps(resource, default=str),
            idempotency_key=key,
            supersede=asked.supersede,
            no_gates_reason=asked.reason if asked.no_gates else None,
        )


def _short(asked: Asked) -> dict[str, object]:
    if not asked.release or not asked.to:
        raise typer.BadParameter(
            "the short form needs NAME:VERSION and --to SELECTOR (`all` for every device)"
        )
    given: dict[str, str] = {}
    if asked.stages:
        given["stages"] = asked.stages
    if asked.shadow:
        given["shadow"] = asked.shadow
    return dict(rollout_resource(asked.release, asked.to, **given))
