"""Commands of `fleetctl audit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, Table, emit

if TYPE_CHECKING:
    from modelfleet_core.wire.operator import Decisions

app = group("The log of decisions.")


@dataclass(frozen=True, slots=True)
class ChainView:
    """View of `audit verify`. `broken_at` is the first sequence that does not follow from the one before."""

    decisions: int
    ok: bool
    broken_at: int | None
    head: str
    schema: int = 1


@app.command("list")
def list_(
    ctx: typer.Context,
    rollout: Annotated[str, typer.Option("--rollout", help="Only this rollout (its id).")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """List decisions, oldest first.

    \b
    Example:
      fleetctl audit list --rollout ro_0190
    """
    made = app_of(ctx)
    emit(made.terminal, made.api().decisions(rollout), output, _listed)


@app.command()
def verify(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """Recompute the chain of hashes over the whole log. Exit code 1 when it is broken.

    \b
    Example:
      fleetctl audit verify
    """
    from fleetctl.audit.chain import check

    made = app_of(ctx)
    links = made.api().decisions().items
    broken = check(links)
    view = ChainView(len(links), broken is None, broken, links[-1].hash if links else "")
    emit(made.terminal, view, output, _verified)
    if not view.ok:
        raise typer.Exit(1)


def _listed(view: Decisions) -> list[Block]:
    rows = [
        (
            str(d.sequence),
            f"{d.at:%Y-%m-%d %H:%M:%S}",
            d.rollout,
            d.device_class or "-",
            d.action,
            d.person,
            d.sentence,
        )
        for d in view.items
    ]
    titles = ("#", "AT (UTC)", "ROLLOUT", "CLASS", "DECISION", "BY", "WHY")
    return [Table(titles, rows, "no decisions yet", ("#",))]


def _verified(view: ChainView) -> list[Block]:
    if view.ok:
        return [f"{view.decisions} decisions, the chain is whole; head {view.head or '(empty)'}"]
    return [
        f"the chain is broken at decision {view.broken_at} of {view.decisions}: "
        "the log was changed afterwards"
    ]
