"""Commands of `fleetctl login` and `fleetctl context`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from fleetctl.app import App, app_of, target_of
from fleetctl.cli import group
from fleetctl.output import Block, Format, OutputOption, Table, emit
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

if TYPE_CHECKING:
    from fleetctl.contexts import ContextList

contexts = group("Choose among controllers that you logged in to.")


@dataclass(frozen=True, slots=True)
class LoginView:
    """View of `login`."""

    context: str
    url: str
    audience: str
    schema: int = 1


def login(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Address of the controller.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the context; default: host and port.")
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input.")
    ] = False,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Certificates (PEM) that the controller's must chain to.")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Allow http:// to another machine: the token goes in the clear."),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Log in to a controller and use it from now on. The token is asked for, or taken from --token-stdin,
    --token-file or MODELFLEET_TOKEN; it is kept in a file that only you can read.

    \b
    Example:
      fleetctl login http://127.0.0.1:8080
      fleetctl login https://fleet.example.com --token-stdin < token
    """
    from fleetctl.client.transport import check_url
    from fleetctl.contexts import Context

    app = app_of(ctx)
    check_url(url, insecure=insecure)
    token = _token(app, url, from_stdin=token_stdin)
    address = url.rstrip("/")
    made = Context(
        name or urlsplit(url).netloc, address, token, "", str(ca.absolute()) if ca else None, insecure
    )
    trust = app.connect(target_of(made)).trust()
    made = Context(made.name, address, token, trust.audience, made.ca, insecure)
    store = app.contexts
    store.write(store.read().with_context(made))
    emit(app.terminal, LoginView(made.name, address, trust.audience), output, _logged_in)


@contexts.command("list")
def list_(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """List the controllers that you logged in to.

    \b
    Example:
      fleetctl context list
    """
    app = app_of(ctx)
    emit(app.terminal, app.contexts.listed(), output, _listed)


@contexts.command()
def use(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the context.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Talk to this controller from now on.

    \b
    Example:
      fleetctl context use 127.0.0.1:8080
    """
    app = app_of(ctx)
    found = app.contexts.use(name)
    view = LoginView(found.name, found.url, found.audience)
    emit(app.terminal, view, output, lambda v: [f"now using {v.context} ({v.url})"])


def _token(app: App, url: str, *, from_stdin: bool) -> str:
    token = app.terminal.read_line() if from_stdin else app.given_token()
    if not from_stdin and token is None:
        token = app.terminal.secret(f"Token for {url}", app.hidden)
    token = (token or "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise CallerError(
            Code.CLI_NO_SECRET,
            "no usable token was given",
            expected="the token that `server start` or `token create` printed once",
            todo="type it when asked, or use --token-stdin, --token-file or MODELFLEET_TOKEN",
        )
    return token


def _logged_in(view: LoginView) -> list[Block]:
    return [f"logged in to {view.url} (controller {view.audience}); context {view.context}"]


def _listed(view: ContextList) -> list[Block]:
    rows = [("*" if c.current else "", c.name, c.url, c.audience) for c in view.items]
    return [Table(("", "NAME", "URL", "CONTROLLER"), rows, "no contexts; `fleetctl login URL` makes one")]
