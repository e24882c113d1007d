"""A passphrase for a new key: from the environment, or asked for twice."""

from __future__ import annotations

from fleetctl.app import App
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError


def new_passphrase(app: App, *, encrypt: bool) -> str | None:
    """The passphrase for a new key, or None where none is wanted.

    Raises:
        CallerError: MF-6014, one is wanted and nobody can be asked; MF-2003, the two entries differ.
    """
    if not encrypt:
        return None
    if app.settings.passphrase is not None:
        return app.settings.passphrase
    first = app.terminal.secret("Passphrase for the new key", app.hidden)
    if first is None:
        raise CallerError(
            Code.CLI_NO_SECRET,
            "--encrypt needs a passphrase",
            expected="MODELFLEET_KEY_PASSPHRASE, or a terminal to ask on",
            todo="set the variable for this command",
        )
    if app.terminal.secret("The same again", app.hidden) != first:
        raise CallerError(
            Code.KEY_PASSPHRASE, "the two passphrases differ", expected="the same twice", todo="run it again"
        )
    return first
