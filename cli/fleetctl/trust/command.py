"""Commands of `fleetctl trust`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, Table, emit
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

if TYPE_CHECKING:
    from fleetctl.trust.memory import TrustStatus

app = group("Say whose releases devices accept.")


@dataclass(frozen=True, slots=True)
class ExportView:
    """View of `trust export`."""

    file: str
    audience: str
    release_keys: tuple[str, ...]
    director_keys: tuple[str, ...]
    schema: int = 1


@app.command()
def init(
    ctx: typer.Context,
    release_key: Annotated[
        list[Path], typer.Option("--release-key", help="Public release key (PEM); may stand several times.")
    ],
    output: OutputOption = Format.TABLE,
) -> None:
    """Register public release keys at the controller, and remember them on this machine.

    \b
    Example:
      fleetctl trust init --release-key release.key.pub
    """
    from fleetctl.release.keys import read_public
    from fleetctl.trust.memory import TrustMemory, check_director, status

    made = app_of(ctx)
    pems = [read_public(path).to_pem() for path in release_key]
    api = made.api()
    memory = TrustMemory(made.trust_dir)
    told = api.trust()
    known = memory.read(told.audience)
    if known is not None:
        check_director(known, told)
    for pem in pems:
        told = api.add_release_key(pem)
    known = memory.remember(told, pems, made.clock.now())
    emit(made.terminal, status(api.url, told, known), output, _status)


@app.command("status")
def status_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """Compare the keys of the controller with those remembered here. Exit code 1 when they need a person.

    \b
    Example:
      fleetctl trust status
    """
    from fleetctl.trust.memory import TrustMemory, status

    made = app_of(ctx)
    api = made.api()
    told = api.trust()
    view = status(api.url, told, TrustMemory(made.trust_dir).read(told.audience))
    emit(made.terminal, view, output, _status)
    if view.warnings:
        raise typer.Exit(1)


@app.command()
def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-O", "-o", help="Trust file to write.", metavar="FILE")],
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Certificates (PEM) that the controller's must chain to.")
    ] = None,
    from_controller: Annotated[
        bool,
        typer.Option(
            "--from-controller", help="Believe the controller's release keys; read what that means below."
        ),
    ] = False,
    output: Annotated[Format, typer.Option("--output", help="How to show the result.")] = Format.TABLE,
) -> None:
    """Write the trust file that devices are enrolled with: the release keys remembered here, and the
    controller's director key. With --from-controller the release keys are those that the controller tells;
    whoever controls it at this moment can then decide what your devices accept.

    \b
    Example:
      fleetctl trust export -o trust.json
      modelfleet-agent enroll URL --token T --trust trust.json
    """
    from fleetctl import safefile
    from fleetctl.trust.memory import TrustMemory, check_director, fingerprint
    from modelfleet_core.trust.policy import MAX_CA_CHARACTERS, TrustFile, policy_of, write_trust_file

    made = app_of(ctx)
    told = made.api().trust()
    now = made.clock.now()
    known = TrustMemory(made.trust_dir).read(told.audience)
    if from_controller:
        known = TrustFile(told.audience, told.release_keys, told.director_keys, now)
    elif known is None:
        raise CallerError(
            Code.CLI_TRUST_UNKNOWN,
            f"this machine remembers no release keys of the controller {told.audience}",
            expected="keys that were registered from here",
            todo="`fleetctl trust init --release-key FILE.pub`, or believe it with --from-controller",
        )
    check_director(known, told)
    certificates = (
        safefile.read(ca, MAX_CA_CHARACTERS, "the certificates").decode("ascii", "replace") if ca else None
    )
    trust = replace(known, issued_at=now, controller_ca=certificates)
    policy_of(trust)
    safefile.write(file, write_trust_file(trust))
    view = ExportView(
        str(file),
        trust.audience,
        tuple(map(fingerprint, trust.release_keys)),
        tuple(map(fingerprint, trust.director_keys)),
    )
    emit(made.terminal, view, output, _exported)


def _status(view: TrustStatus) -> list[Block]:
    rows = [
        (k.kind, k.fingerprint[:16], "yes" if k.here else "no", "yes" if k.controller else "no")
        for k in view.keys
    ]
    warnings = [f"warning: {w}" for w in view.warnings]
    return [
        f"controller {view.audience} at {view.url}",
        Table(("KEY", "FINGERPRINT", "HERE", "CONTROLLER"), rows, "no keys"),
        *warnings,
    ]


def _exported(view: ExportView) -> list[Block]:
    return [
        f"{view.file}: controller {view.audience}, "
        f"release keys {', '.join(k[:16] for k in view.release_keys)}, "
        f"director key {', '.join(k[:16] for k in view.director_keys)}"
    ]
