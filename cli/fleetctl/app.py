"""What a command works with: settings, terminal, clock, entropy, and the controller it talks to.

Made once in `main`; tests make their own with another network, terminal and clock.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from fleetctl import safefile
from fleetctl.contexts import Context, ContextStore, no_context
from fleetctl.settings import Settings
from fleetctl.terminal import Terminal
from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import new_id

if TYPE_CHECKING:
    from fleetctl.client.api import Api
    from fleetctl.client.transport import Target

MAX_TOKEN: Final = 4096


@dataclass(frozen=True, slots=True)
class Choice:
    """The root options: which controller, how much is told."""

    url: str | None = None
    token_file: Path | None = None
    context: str | None = None
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class App:
    """Everything that commands need from the world."""

    settings: Settings
    terminal: Terminal
    clock: Clock
    entropy: Entropy
    connect: Callable[[Target], Api]
    hidden: Callable[[str], str]
    choice: Choice = field(default_factory=Choice)

    @property
    def contexts(self) -> ContextStore:
        """The controllers that this person logged in to."""
        return ContextStore(self.settings.config_dir)

    @property
    def trust_dir(self) -> Path:
        """Where release keys of controllers are remembered."""
        return self.settings.config_dir / "trust"

    def key(self, prefix: str = "op") -> str:
        """A fresh idempotency key."""
        return new_id(prefix, self.clock.now(), self.entropy(10))

    def context(self) -> Context:
        """The controller that this command talks to: flags, then environment, then the chosen context.

        Raises:
            CallerError: MF-6001 none is chosen, MF-6014 no token for it.
        """
        url = self.choice.url or (None if self.choice.context else self.settings.url)
        config = self.contexts.read()
        if url is not None:
            known = next((c for c in config.contexts if c.url == url.rstrip("/")), None)
            token = self.given_token() or (known.token if known else None)
            if token is None:
                raise CallerError(
                    Code.CLI_NO_SECRET,
                    f"there is no token for {url}",
                    expected="--token-file FILE, MODELFLEET_TOKEN or an earlier `fleetctl login`",
                    todo=f"`fleetctl login {url}`",
                )
            return Context(
                url, url, token, "", known.ca if known else None, known.insecure if known else False
            )
        name = self.choice.context or self.settings.context or config.current
        if name is None:
            raise no_context("no controller is chosen", config)
        found = config.find(name)
        if found is None:
            raise no_context(f"there is no context {name!r}", config)
        token = self.given_token()
        return replace(found, token=token) if token else found

    def given_token(self) -> str | None:
        """The token of --token-file, MODELFLEET_TOKEN_FILE or MODELFLEET_TOKEN."""
        path = self.choice.token_file or self.settings.token_file
        if path is not None:
            return safefile.read(path, MAX_TOKEN, "the token file").decode(errors="replace").strip()
        return self.settings.token

    def api(self) -> Api:
        """The controller's API; closed by whoever made the app's `connect`."""
        return self.connect(target_of(self.context()))


def target_of(context: Context) -> Target:
    """Where and how to reach a context's controller."""
    from fleetctl.client.transport import Target

    ca = Path(context.ca) if context.ca else None
    return Target(context.url, context.token, ca, context.insecure)


def app_of(ctx: typer.Context) -> App:
    """The app of a command."""
    found = ctx.obj
    if not isinstance(found, App):
        raise TypeError("the command line was not composed by main")
    return found


def need_extra(extra: str, *modules: str) -> None:
    """Refuses to go on without an optional part.

    Raises:
        CallerError: MF-6007, with the extra's name.
    """
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        raise CallerError(
            Code.CLI_EXTRA_MISSING,
            f"this needs {', '.join(missing)}, which is not installed",
            expected=f"the extra `{extra}`",
            todo=f"pip install 'modelfleet[{extra}]'",
        )
