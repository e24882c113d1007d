"""What the environment says to fleetctl; read here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings from the environment.

    Attributes:
        config_dir: holds `config.json` (contexts with tokens) and `trust/`.
        url, token, token_file, context: MODELFLEET_URL, _TOKEN, _TOKEN_FILE, _CONTEXT; flags win.
        passphrase: MODELFLEET_KEY_PASSPHRASE, of a release key.
        color: False where NO_COLOR is set or the terminal is dumb.
    """

    config_dir: Path
    url: str | None = None
    token: str | None = None
    token_file: Path | None = None
    context: str | None = None
    passphrase: str | None = None
    color: bool = True


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings of an environment; empty variables count as absent (so does the NO_COLOR convention)."""

    def read(name: str) -> str | None:
        return environ.get(name) or None

    base = read("XDG_CONFIG_HOME")
    home = Path(read("HOME") or "/")
    config = Path(base) if base and Path(base).is_absolute() else home / ".config"
    token_file = read("MODELFLEET_TOKEN_FILE")
    return Settings(
        config_dir=config / "fleetctl",
        url=read("MODELFLEET_URL"),
        token=read("MODELFLEET_TOKEN"),
        token_file=Path(token_file) if token_file else None,
        context=read("MODELFLEET_CONTEXT"),
        passphrase=read("MODELFLEET_KEY_PASSPHRASE"),
        color=read("NO_COLOR") is None and read("TERM") != "dumb",
    )
