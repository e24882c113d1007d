"""Commands of `fleetctl token`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, Table, emit
from modelfleet_core.wire.operator import Scope

if TYPE_CHECKING:
    from datetime import datetime

    from modelfleet_core.wire.operator import Tokens, TokenView

app = group("Tokens for enrolment and for the API.")


class Kind(StrEnum):
    """What a token is for."""

    ENROLMENT = "enrolment"
    API = "api"


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", help="What it is for, for people; default: its kind.")] = "",
    kind: Annotated[
        Kind, typer.Option("--kind", help="enrolment: for devices; api: for people and scripts.")
    ] = Kind.ENROLMENT,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it lives, e.g. 30m, 24h, 30d.")] = "24h",
    max_uses: Annotated[
        int, typer.Option("--max-uses", min=1, help="How many devices may enrol with it.")
    ] = 1,
    scope: Annotated[Scope, typer.Option("--scope", help="What an API token may do.")] = Scope.VIEWER,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="KEY=VALUE that enrolled devices get.")
    ] = None,
    allow_override: Annotated[
        bool,
        typer.Option("--allow-override", help="Let devices say other facts than the measured (rehearsals)."),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a token. Its secret is shown this once and never again.

    \b
    Example:
      fleetctl token create --name north --max-uses 20 --label site=north
      fleetctl token create --kind api --scope releaser --name ci --ttl 30d
    """
    from fleetctl.arguments import read_duration, read_labels, understood
    from modelfleet_core.wire.operator import TokenRequest

    made = app_of(ctx)
    enrols = kind is Kind.ENROLMENT
    if not enrols and (label or allow_override or max_uses != 1):
        raise typer.BadParameter("--label, --allow-override and --max-uses are for enrolment tokens")
    with understood():
        request = TokenRequest(
            kind=kind.value,
            name=name or kind.value,
            ttl_s=read_duration(ttl, "--ttl"),
            scope=None if enrols else scope,
            max_uses=max_uses,
            labels=read_labels(label or []),
            allow_override=allow_override,
        )
    emit(made.terminal, made.api().create_token(request), output, _created)


@app.command("list")
def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List tokens, without their secrets.

    \b
    Example:
      fleetctl token list
    """
    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, made.api().tokens(), output, lambda view: _listed(view, now))


@app.command()
def revoke(
    ctx: typer.Context,
    token: Annotated[str, typer.Argument(help="Id of the token.", metavar="ID")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End a token now.

    \b
    Example:
      fleetctl token revoke tok_0190 --yes
    """
    made = app_of(ctx)
    made.terminal.confirm(f"Revoke token {token}?", yes=yes)
    made.api().revoke_token(token)
    made.terminal.line(f"token {token} is revoked")


def _created(view: TokenView) -> list[Block]:
    use = (
        f"{view.max_uses} {'device' if view.max_uses == 1 else 'devices'}"
        if view.kind == "enrolment"
        else f"scope {view.scope}"
    )
    return [
        f"token    {view.secret or '(not shown)'}",
        f"id       {view.id} ({view.kind}, {use})",
        f"expires  {view.expires_at:%Y-%m-%d %H:%M} UTC; the token is not shown again",
    ]


def _state(token: TokenView, now: datetime) -> tuple[str, str] | str:
    """In the order in which the controller refuses."""
    if token.revoked:
        return "revoked", "red"
    if token.expires_at <= now:
        return "expired", "dim"
    if token.kind == "enrolment" and token.uses >= token.max_uses:
        return "used up", "dim"
    return "valid"


def _listed(view: Tokens, now: datetime) -> list[Block]:
    rows = [
        (
            t.id,
            t.kind,
            t.name or "-",
            t.scope.value if t.scope else "-",
            f"{t.uses}/{t.max_uses}" if t.kind == "enrolment" else str(t.uses),
            f"{t.expires_at:%Y-%m-%d %H:%M}",
            _state(t, now),
        )
        for t in view.items
    ]
    return [
        Table(("ID", "KIND", "NAME", "SCOPE", "USES", "EXPIRES (UTC)", "STATE"), rows, "no tokens", ("USES",))
    ]
