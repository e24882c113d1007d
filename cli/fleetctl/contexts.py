"""Controllers that this person logged in to: `config.json`, readable by its owner alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fleetctl import safefile
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.wire import codec

CONFIG_NAME: Final = "config.json"
MAX_CONFIG: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """One controller. `audience` is the name it gave itself at login; `ca` a path to PEM certificates."""

    name: str
    url: str
    token: str
    audience: str
    ca: str | None = None
    insecure: bool = False

    def __repr__(self) -> str:
        """Without the token."""
        return f"Context({self.name!r}, {self.url!r})"


@dataclass(frozen=True, slots=True)
class Config:
    """All contexts, and which of them is used."""

    current: str | None = None
    contexts: tuple[Context, ...] = field(default_factory=tuple)
    schema: int = 1

    def find(self, name: str) -> Context | None:
        """The context of that name."""
        return next((c for c in self.contexts if c.name == name), None)

    def with_context(self, context: Context) -> Config:
        """The same with one added or replaced, and used from now on."""
        others = tuple(c for c in self.contexts if c.name != context.name)
        return Config(context.name, tuple(sorted((*others, context), key=lambda c: c.name)))


@dataclass(frozen=True, slots=True)
class ContextRow:
    """A context as it is shown: never with its token."""

    name: str
    url: str
    audience: str
    current: bool


@dataclass(frozen=True, slots=True)
class ContextList:
    """View of `context list`."""

    items: tuple[ContextRow, ...]
    schema: int = 1


class ContextStore:
    """The file behind the contexts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / CONFIG_NAME

    def read(self) -> Config:
        """The contexts; none where there is no file.

        Raises:
            CallerError: MF-6002.
        """
        if not self.path.exists():
            return Config()
        data = safefile.read(self.path, MAX_CONFIG, "the configuration")
        try:
            config = codec.decode(data, Config, what="the configuration", limit=MAX_CONFIG)
        except ModelfleetError as error:
            raise CallerError(
                Code.CLI_CONFIG_INVALID,
                f"{self.path}: {error.happened}",
                expected="the file that `fleetctl login` writes",
                todo="remove it and log in again",
            ) from error
        if config.schema != 1:
            raise CallerError(
                Code.CLI_CONFIG_INVALID,
                f"{self.path} has schema {config.schema}",
                expected="schema 1",
                todo="use the version of fleetctl that wrote it",
            )
        return config

    def write(self, config: Config) -> None:
        """Replaces the file at once, mode 0600."""
        safefile.make_folder(self.folder)
        safefile.write(self.path, codec.pretty(config), safefile.PRIVATE)

    def use(self, name: str) -> Context:
        """Chooses the context that commands talk to.

        Raises:
            CallerError: MF-6001, there is none of that name.
        """
        config = self.read()
        context = config.find(name)
        if context is None:
            raise no_context(f"there is no context {name!r}", config)
        self.write(replace(config, current=name))
        return context

    def listed(self) -> ContextList:
        """What `context list` shows."""
        config = self.read()
        rows = (ContextRow(c.name, c.url, c.audience, c.name == config.current) for c in config.contexts)
        return ContextList(tuple(rows))


def no_context(happened: str, config: Config) -> CallerError:
    """The error where no controller is chosen."""
    names = ", ".join(c.name for c in config.contexts)
    return CallerError(
        Code.CLI_NO_CONTEXT,
        happened,
        expected=f"one of {names}" if names else "a controller that you logged in to",
        todo="`fleetctl context use NAME`" if names else "`fleetctl login URL`",
    )
