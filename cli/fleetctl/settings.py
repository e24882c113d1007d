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
        data_dir: default place of an embedded controller.
        cache_dir: what may be lost, such as converted variants.
        url, token, token_file, context: MODELFLEET_URL, _TOKEN, _TOKEN_FILE, _CONTEXT; flags win.
        passphrase: MODELFLEET_KEY_PASSPHRASE, of a release key.
        color: False where NO_COLOR is set or the terminal is dumb.
    """

    config_dir: Path
    data_dir: Path
    cache_dir: Path
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

    home = Path(read("HOME") or "/")

    def place(name: str, default: str) -> Path:
        # The XDG base directory specification ignores relative paths.
        found = read(name)
        return Path(found) if found and Path(found).is_absolute() else home / default

    token_file = read("MODELFLEET_TOKEN_FILE")
    return Settings(
        config_dir=place("XDG_CONFIG_HOME", ".config") / "fleetctl",
        data_dir=place("XDG_DATA_HOME", ".local/share") / "modelfleet",
        cache_dir=place("XDG_CACHE_HOME", ".cache") / "modelfleet",
        url=read("MODELFLEET_URL"),
        token=read("MODELFLEET_TOKEN"),
        token_file=Path(token_file) if token_file else None,
        context=read("MODELFLEET_CONTEXT"),
        passphrase=read("MODELFLEET_KEY_PASSPHRASE"),
        color=read("NO_COLOR") is None and read("TERM") != "dumb",
    )
