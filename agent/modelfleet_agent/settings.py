"""The agent's settings: TOML file < environment (`MODELFLEET_AGENT_*`) < flags, read once into a frozen
value.

Every setting has one dotted name (`serve.listen`), which is its place in the file, and one environment
variable (`MODELFLEET_AGENT_SERVE_LISTEN`). Lists are written `a,b` there, tables `key=value,key=value`.
Names that nobody knows are refused with the nearest one that is known: a mistyped setting that is silently
ignored is a fault found too late.

This module alone (beside composition roots) reads the environment of the agent.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import is_name

T = TypeVar("T")

PREFIX: Final = "MODELFLEET_AGENT_"
CONFIG_VARIABLE: Final = PREFIX + "CONFIG"
MAX_CONFIG_BYTES: Final = 256 * 1024
MAX_SOCKET_PATH: Final = 107
SYSTEM_STATE: Final = Path("/var/lib/modelfleet")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
OVERRIDABLE: Final = ("architecture", "memory_bytes", "free_disk_bytes", "cpus", "accelerators", "os")

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FactOverrides:
    """Facts that are configured instead of measured (`[facts.override]`); None = measured.

    Needs an enrolment token made with `--allow-override`, and is shown as `overridden` everywhere.
    """

    architecture: str | None = None
    memory_bytes: int | None = None
    free_disk_bytes: int | None = None
    cpus: int | None = None
    accelerators: tuple[str, ...] | None = None
    os: str | None = None

    def names(self) -> tuple[str, ...]:
        """The facts that are overridden, in alphabetical order."""
        return tuple(sorted(name for name in OVERRIDABLE if getattr(self, name) is not None))


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """`[serve]`: what the data plane listens on, and threads per runtime.

    Attributes:
        host, port: of the Open Inference Protocol; port 0 = any free one, published in `status.json`.
        socket: Unix socket of the SDK.
        threads: threads that one model may use.
        managed: somebody else (systemd) starts serve; the supervisor only waits for it.
    """

    host: str
    port: int
    socket: Path
    threads: int = 1
    managed: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything configurable about one agent.

    Attributes:
        state_dir: the one directory that the agent writes to.
        config: the file that was read, or None.
        name: display name of the device.
        runtimes: runtime plug-ins that this device offers; None = all that are installed.
        labels: labels sent at enrolment.
        serve: of the data plane.
        pair_lock: file whose lock serialises latency pairs of several agents on one machine; None = own.
        poll_floor_s: least time between two check-ins, seconds.
        min_free_bytes: room that a download must leave free on the disk, bytes.
        overrides: facts that are configured.
        log_level: least level that is logged.
    """

    state_dir: Path
    config: Path | None
    name: str
    runtimes: tuple[str, ...] | None
    labels: dict[str, str]
    serve: ServeSettings
    pair_lock: Path | None
    poll_floor_s: float
    min_free_bytes: int
    overrides: FactOverrides = field(default_factory=FactOverrides)
    log_level: str = "INFO"

    @property
    def serve_dir(self) -> Path:
        """Folder of serve's own files."""
        return self.state_dir / "serve"

    @property
    def control_socket(self) -> Path:
        """Unix socket on which the supervisor talks to serve."""
        return self.serve_dir / "serve.sock"


# Reading one value: from TOML it comes typed, from environment and flags as text.


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 4096 or "\0" in value:
        raise ValueError("text of 1 to 4096 characters")
    return value


def _name(value: object) -> str:
    text = _text(value)
    if len(text) > 128 or not text.isprintable():
        raise ValueError("at most 128 printable characters")
    return text


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser().absolute()


def _integer(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
            value = int(value.strip()[:20])
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return read


def _number(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        try:
            number = float(value) if isinstance(value, (int, float, str)) else float("nan")
        except ValueError:
            number = float("nan")
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return number

    return read


def _names(value: object) -> tuple[str, ...]:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) > 64:
        raise ValueError("a list of at most 64 names")
    names = [part for part in parts if isinstance(part, str) and is_name(part)]
    if len(names) != len(parts):
        raise ValueError("plain names: lower-case letters, digits, '.', '_' and '-'")
    return tuple(dict.fromkeys(names))


def _table(value: object) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError("key=value,key=value")
        value = {key.strip(): item.strip() for key, _, item in pairs}
    if not isinstance(value, dict) or len(value) > 64:
        raise ValueError("a table of at most 64 entries")
    table: dict[str, str] = {}
    for key, item in value.items():
        if (
            not isinstance(key, str)
            or not is_name(key)
            or not isinstance(item, str)
            or not 0 < len(item) <= 63
        ):
            raise ValueError("plain lower-case names, and values of 1 to 63 characters")
        table[key] = item
    return table


def _listen(value: object) -> tuple[str, int]:
    host, colon, port = _text(value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port[:6]) > 65535:
        raise ValueError("HOST:PORT, for example 127.0.0.1:8500; port 0 = any free one")
    return host, int(port)


def _boolean(value: object) -> bool:
    value = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _level(value: object) -> str:
    level = _text(value).upper()
    if level not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return level


KNOWN: Final = (
    "state_dir",
    "name",
    "runtimes",
    "labels",
    "pair_lock",
    "poll_floor_s",
    "min_free_bytes",
    "log_level",
    "serve.listen",
    "serve.socket",
    "serve.threads",
    "serve.managed",
    *(f"facts.override.{fact}" for fact in OVERRIDABLE),
)
"""Every setting; documented in docs/guides/agent.md."""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.replace(".", "_").upper()


class _Values:
    """All values that were given, by dotted name, the strongest source last."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[object, str]] = {}

    def add(self, name: str, value: object, source: str) -> None:
        if name not in KNOWN:
            near = get_close_matches(name, KNOWN, n=1, cutoff=0.5)
            raise CallerError(
                Code.FIELD_UNKNOWN,
                f"{source}: there is no setting {name!r}",
                expected=f"perhaps {near[0]}" if near else f"one of {', '.join(KNOWN)}",
                todo="correct or remove it; docs/guides/agent.md lists every setting",
            )
        self._found[name] = (value, source)

    def read(self, name: str, parse: Callable[[object], T], default: T) -> T:
        if name not in self._found:
            return default
        value, source = self._found[name]
        try:
            return parse(value)
        except ValueError as error:
            raise CallerError(
                Code.FIELD_WRONG_TYPE,
                f"{source}: {name} is {str(value)[:200]!r}",
                expected=str(error),
                todo=f"correct {name}",
            ) from error


def _flatten(table: Mapping[str, object], path: str = "") -> dict[str, object]:
    """Dotted names of a TOML table; `labels` is a table itself."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        name = f"{path}{key}"
        inner = any(known.startswith(f"{name}.") for known in KNOWN)
        if isinstance(value, dict) and (inner or name not in KNOWN):
            flat |= _flatten(value, f"{name}.") or {name: value}
        else:
            flat[name] = value
    return flat


def _read_file(config: Path) -> dict[str, object]:
    try:
        with config.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise ValueError(f"it has more than {MAX_CONFIG_BYTES} bytes")
        return tomllib.loads(data.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise CallerError(
            Code.SETTINGS_UNREADABLE,
            f"{config} cannot be read: {error}",
            expected="a TOML file with the agent's settings",
            todo="correct the file or name another one by --config",
        ) from error


def config_path(flag: Path | None, environment: Environment) -> Path | None:
    """The file to read: the flag, else `MODELFLEET_AGENT_CONFIG`, else none."""
    if flag is not None:
        return flag.absolute()
    named = environment.get(CONFIG_VARIABLE)
    return Path(named).absolute() if named else None


def load(
    config: Path | None = None,
    *,
    environment: Environment | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of this process.

    Args:
        config: the TOML file; None = the one that `MODELFLEET_AGENT_CONFIG` names, else none.
        environment: None = of this process.
        flags: dotted name -> value, strongest.

    Raises:
        CallerError: MF-3011 the file cannot be read, MF-1002 a name is not known, MF-1003 a value is wrong,
            MF-1006 a socket's path is too long.
    """
    environment = os.environ if environment is None else environment
    config = config_path(config, environment)
    values = _Values()
    if config is not None:
        for name, value in _flatten(_read_file(config)).items():
            values.add(name, value, str(config))
    variables = {variable(name): name for name in KNOWN}
    for key in sorted(environment):
        if key.startswith(PREFIX) and key != CONFIG_VARIABLE:
            values.add(variables.get(key, key), environment[key], "environment")
    for name, value in (flags or {}).items():
        values.add(name, value, "flag")

    state_dir = values.read("state_dir", _path, _default_state(environment))
    host, port = values.read("serve.listen", _listen, ("127.0.0.1", 8500))
    positive = _integer(1, 1 << 60)
    settings = Settings(
        state_dir=state_dir,
        config=config,
        name=values.read("name", _name, os.uname().nodename[:128] or "device"),
        runtimes=values.read("runtimes", _names, None),
        labels=values.read("labels", _table, {}),
        serve=ServeSettings(
            host=host,
            port=port,
            socket=values.read("serve.socket", _path, state_dir / "sdk.sock"),
            threads=values.read("serve.threads", _integer(1, 256), 1),
            managed=values.read("serve.managed", _boolean, False),
        ),
        pair_lock=values.read("pair_lock", _path, None),
        poll_floor_s=values.read("poll_floor_s", _number(0.05, 86_400.0), 1.0),
        min_free_bytes=values.read("min_free_bytes", _integer(0, 1 << 60), 16 * 1024 * 1024),
        overrides=FactOverrides(
            architecture=values.read("facts.override.architecture", _name, None),
            memory_bytes=values.read("facts.override.memory_bytes", positive, None),
            free_disk_bytes=values.read("facts.override.free_disk_bytes", positive, None),
            cpus=values.read("facts.override.cpus", _integer(1, 4096), None),
            accelerators=values.read("facts.override.accelerators", _names, None),
            os=values.read("facts.override.os", _name, None),
        ),
        log_level=values.read("log_level", _level, "INFO"),
    )
    for path in (settings.serve.socket, settings.control_socket):
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise CallerError(
                Code.FIELD_OUT_OF_RANGE,
                f"the path of a Unix socket has {len(os.fsencode(path))} bytes: {path}",
                expected=f"at most {MAX_SOCKET_PATH}",
                todo="choose a shorter state_dir or serve.socket",
            )
    return settings


def _default_state(environment: Environment) -> Path:
    if os.geteuid() == 0:
        return SYSTEM_STATE
    base = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "/")) / ".local" / "state")
    return Path(base) / "modelfleet"
