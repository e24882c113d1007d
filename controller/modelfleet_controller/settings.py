"""Settings of the controller: TOML file < environment (MODELFLEET_CONTROLLER_*) < flags; unknown keys
refused.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

PREFIX: Final = "MODELFLEET_CONTROLLER_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set.

    Attributes:
        data: folder of database, blobs and director key.
        listen: HOST:PORT; port 0 takes a free one.
        poll_s: seconds between check-ins that idle devices are told; 0.05 to 86400.
        tick_s: seconds between two looks at active rollouts; 0.05 to 3600.
        insecure: listen beyond this machine without TLS.
        tls_certificate, tls_key: PEM files; both or neither.
        statement_life_s: life of a director statement, seconds.
        report_days: how long raw reports are kept.
        blob_limit: largest blob accepted, bytes.
        log_level: DEBUG, INFO, WARNING or ERROR.
        builds: builds that run at once, each in a process of its own; 0 = none are taken, at most 64.
        builds_waiting: builds that may wait for their turn; 0 to 10000.
        build_s: how long one build may take, seconds.
        build_memory: resident memory of one build and its children, bytes.
        shutdown_s: how long running answers may take when the controller is told to end.
    """

    data: Path
    listen: str = "127.0.0.1:8470"
    poll_s: float = 60.0
    tick_s: float = 1.0
    insecure: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    statement_life_s: float = 86_400.0
    report_days: float = 14.0
    blob_limit: int = 4 * 1024**3
    log_level: str = "INFO"
    shutdown_s: float = 10.0
    builds: int = 1
    builds_waiting: int = 20
    build_s: float = 4 * 3600.0
    build_memory: int = 8 * 1024**3

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        _range("poll_s", self.poll_s, 0.05, 86_400)
        _range("tick_s", self.tick_s, 0.05, 3600)
        _range("statement_life_s", self.statement_life_s, 10, 366 * 86_400)
        _range("report_days", self.report_days, 0.01, 3660)
        _range("blob_limit", self.blob_limit, 1024, 1024**4)
        _range("shutdown_s", self.shutdown_s, 0, 3600)
        _range("builds", self.builds, 0, 64)
        _range("builds_waiting", self.builds_waiting, 0, 10_000)
        _range("build_s", self.build_s, 1, 30 * 86_400)
        _range("build_memory", self.build_memory, 64 * 1024**2, 1024**5)
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise _invalid(
                f"log_level is {self.log_level!r}", "DEBUG, INFO, WARNING or ERROR", "correct log_level"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise _invalid(
                "one of tls_certificate and tls_key is missing", "both or neither", "name the other one too"
            )
        host, _ = self.address
        if not self.insecure and self.tls_certificate is None and not _is_loopback(host):
            raise CallerError(
                Code.LISTEN_UNPROTECTED,
                f"listening on {host} without TLS would show tokens to the network",
                expected="a loopback address, or tls_certificate and tls_key",
                todo="give --tls-certificate and --tls-key, or --insecure behind an ingress that ends TLS",
            )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, colon, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdigit() or int(port) > 65_535:
            raise _invalid(
                f"listen is {self.listen!r}", "HOST:PORT, for example 127.0.0.1:8470", "correct --listen"
            )
        return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise _invalid(f"{name} is {value:g}", f"{low:g} to {high:g}", f"correct {name}")


def _invalid(happened: str, expected: str, todo: str) -> CallerError:
    return CallerError(Code.SETTINGS_INVALID, happened, expected=expected, todo=todo)


_KINDS: Final[dict[str, str]] = {field.name: str(field.type) for field in fields(Settings)}


def load(
    flags: Mapping[str, str | None], environment: Mapping[str, str], config: Path | None = None
) -> Settings:
    """Settings from all sources.

    Args:
        flags: setting -> text as given on the command line; None = not given.
        environment: the process's environment.
        config: a TOML file, or None.

    Raises:
        CallerError: MF-1662 unknown or wrong setting, MF-1661 an unprotected listener.
    """
    values: dict[str, object] = {}
    if config is not None:
        values.update(_from_toml(config))
    for name, text in environment.items():
        if name.startswith(PREFIX):
            values[_known(name.removeprefix(PREFIX).lower(), name)] = text
    values.update({_known(name, name): text for name, text in flags.items() if text is not None})
    if "data" not in values:
        raise _invalid("no data directory is named", "--data DIR", "say where the controller keeps its data")
    return Settings(**{name: _convert(name, value) for name, value in values.items()})  # type: ignore[arg-type]


def _from_toml(config: Path) -> dict[str, object]:
    try:
        found = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(
            f"{config} cannot be read: {error}", "a TOML file", "correct the file or its path"
        ) from error
    return {_known(name, f"{config}: {name}"): value for name, value in found.items()}


def _known(name: str, shown: str) -> str:
    if name not in _KINDS:
        raise _invalid(f"{shown} is not a setting", ", ".join(sorted(_KINDS)), "correct or remove it")
    return name


def _convert(name: str, value: object) -> object:
    kind = _KINDS[name]
    try:
        if kind == "bool":
            if isinstance(value, bool):
                return value
            if str(value).lower() in ("true", "1", "yes"):
                return True
            if str(value).lower() in ("false", "0", "no"):
                return False
            raise ValueError
        if isinstance(value, bool):
            raise ValueError
        if kind == "int":
            return int(str(value))
        if kind == "float":
            return float(str(value))
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError
        return Path(value) if kind.startswith("Path") else str(value)
    except ValueError:
        raise _invalid(f"{name} is {value!r}", f"a value of type {kind}", f"correct {name}") from None
