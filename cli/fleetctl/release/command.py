"""Commands of `fleetctl release`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetctl.app import app_of
from fleetctl.cli import group
from fleetctl.output import Format, OutputOption, emit

if TYPE_CHECKING:
    from modelfleet_core.trust.dsse import Verifier

app = group("Sign, verify, push and list releases.")

Folder = Annotated[
    Path, typer.Argument(help="The release folder that `fleetctl build` wrote.", metavar="DIR")
]


@app.command()
def keygen(
    ctx: typer.Context,
    key: Annotated[Path, typer.Option("--key", help="File for the private key; the public one gets `.pub`.")],
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Ask for a passphrase (or take MODELFLEET_KEY_PASSPHRASE).")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a key that signs releases (ECDSA P-256). Keep it away from the controller.

    \b
    Example:
      fleetctl release keygen --key release.key
    """
    from fleetctl.release import keys, render, secrets

    made = app_of(ctx)
    passphrase = secrets.new_passphrase(made, encrypt=encrypt)
    emit(made.terminal, keys.make(key, passphrase), output, render.key)


@app.command()
def sign(
    ctx: typer.Context,
    folder: Folder,
    key: Annotated[Path, typer.Option("--key", help="The private release key.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Sign every variant of a release: one Sigstore bundle beside each variant folder.

    \b
    Example:
      fleetctl release sign build/digits-1.1 --key release.key
    """
    from fleetctl.release import folder as folders
    from fleetctl.release import keys, render

    made = app_of(ctx)
    release = folders.read(folder)
    view = folders.sign(release, keys.read_private(key, made))
    emit(made.terminal, view, output, render.signatures)


@app.command()
def verify(
    ctx: typer.Context,
    folder: Folder,
    trust: Annotated[Path | None, typer.Option("--trust", help="Trust file with the accepted keys.")] = None,
    public_key: Annotated[
        list[Path] | None, typer.Option("--public-key", help="Accepted public key; may stand several times.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check every signature and every file of a release. Exit code 1 when anything is refused.

    \b
    Example:
      fleetctl release verify build/digits-1.1 --trust trust.json
      fleetctl release verify build/digits-1.1 --public-key release.key.pub
    """
    from fleetctl.release import folder as folders
    from fleetctl.release import render

    made = app_of(ctx)
    keys = _trusted(trust, public_key or [])
    view = folders.verify(folders.read(folder), keys)
    emit(made.terminal, view, output, render.signatures)
    if not view.ok:
        raise typer.Exit(1)


@app.command()
def push(ctx: typer.Context, folder: Folder, output: OutputOption = Format.TABLE) -> None:
    """Send a signed release to the controller; blobs that it has are not sent again.

    \b
    Example:
      fleetctl release push build/digits-1.1
    """
    from fleetctl import progress
    from fleetctl.release import folder as folders
    from fleetctl.release import push as pushing
    from fleetctl.release import render

    made = app_of(ctx)
    release = folders.read(folder)
    with progress.shown(made.terminal, f"push {release.manifest.reference()}") as sink:
        view, _ = pushing.push(release, made.api(), sink)
    emit(made.terminal, view, output, render.pushed)


@app.command("export-header")
def export_header(
    ctx: typer.Context,
    folder: Folder,
    variant: Annotated[str, typer.Argument(help="Name of a variant with a TFLite file.", metavar="VARIANT")],
    target: Annotated[Path, typer.Option("-O", "--to", help="Header to write.", metavar="F.h")],
    trust: Annotated[
        Path | None, typer.Option("--trust", help="Trust file: check the signature first.")
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option("--public-key", help="Accepted public key: check the signature first."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write a variant as a C header for firmware: the model, its digest, arena, scales and zero points.

    \b
    Example:
      fleetctl release export-header build/digits-1.1 mcu-tflm.int8 -O digits_model.h
      fleetctl release export-header build/digits-1.1 mcu-tflm.int8 -O digits_model.h --trust trust.json
    """
    from fleetctl.release import folder as folders
    from fleetctl.release import header, render

    made = app_of(ctx)
    keys = _trusted(trust, public_key or []) if trust is not None or public_key else None
    view = header.export(folders.read(folder), variant, target, keys)
    emit(made.terminal, view, output, render.header)


@app.command("list")
def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List the releases that the controller holds.

    \b
    Example:
      fleetctl release list -o json
    """
    from fleetctl.release import render

    made = app_of(ctx)
    now = made.clock.now()
    emit(made.terminal, made.api().releases(), output, lambda view: render.releases(view, now))


@app.command()
def show(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="NAME:VERSION", metavar="N:V")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Show one release: variants, measurements, signer, lineage.

    \b
    Example:
      fleetctl release show digits:1.1
    """
    from fleetctl.release import render

    made = app_of(ctx)
    emit(made.terminal, made.api().release(release), output, render.release)


def _trusted(trust: Path | None, public_keys: list[Path]) -> Mapping[str, Verifier]:
    from fleetctl import safefile
    from fleetctl.release import keys
    from modelfleet_core.trust.policy import MAX_TRUST_BYTES, policy_of, read_trust_file

    if (trust is None) is (not public_keys):
        raise typer.BadParameter("give either --trust FILE or --public-key FILE")
    if trust is not None:
        return policy_of(read_trust_file(safefile.read(trust, MAX_TRUST_BYTES, "the trust file"))).release
    return {key.key_hint: key for key in map(keys.read_public, public_keys)}
