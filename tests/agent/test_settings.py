"""Settings: three sources, one strength, and nothing unknown accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfleet_agent.settings import KNOWN, FactOverrides, Settings, load, variable
from modelfleet_core.errors import CallerError

FULL = """
state_dir = "/tmp/device"
name = "press 7"
runtimes = ["onnxruntime", "litert"]
pair_lock = "/tmp/pair.lock"
poll_floor_s = 2.5
min_free_bytes = 1000
log_level = "debug"

[labels]
site = "north"

[serve]
listen = "127.0.0.1:0"
socket = "/tmp/device/own.sock"
threads = 2

[facts.override]
architecture = "aarch64"
memory_bytes = 1073741824
cpus = 4
accelerators = ["ethos-u55-128"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text)
    return path


def test_every_setting_of_the_file_arrives(tmp_path: Path) -> None:
    settings = load(write(tmp_path, FULL), environment={})
    assert settings.state_dir == Path("/tmp/device")
    assert settings.name == "press 7"
    assert settings.runtimes == ("onnxruntime", "litert")
    assert settings.labels == {"site": "north"}
    assert (settings.serve.host, settings.serve.port) == ("127.0.0.1", 0)
    assert settings.serve.socket == Path("/tmp/device/own.sock")
    assert settings.serve.threads == 2
    assert settings.pair_lock == Path("/tmp/pair.lock")
    assert settings.poll_floor_s == 2.5
    assert settings.min_free_bytes == 1000
    assert settings.log_level == "DEBUG"
    assert settings.overrides == FactOverrides(
        architecture="aarch64", memory_bytes=1 << 30, cpus=4, accelerators=("ethos-u55-128",)
    )
    assert settings.overrides.names() == ("accelerators", "architecture", "cpus", "memory_bytes")


def test_defaults_follow_the_state_directory(tmp_path: Path) -> None:
    settings = load(environment={}, flags={"state_dir": str(tmp_path)})
    assert settings.serve.socket == tmp_path / "sdk.sock"
    assert settings.control_socket == tmp_path / "serve" / "serve.sock"
    assert settings.runtimes is None
    assert (settings.serve.host, settings.serve.port) == ("127.0.0.1", 8500)


def test_environment_is_stronger_than_file_and_flag_than_both(tmp_path: Path) -> None:
    config = write(tmp_path, 'name = "file"\npoll_floor_s = 1\nmin_free_bytes = 1\n')
    environment = {"MODELFLEET_AGENT_NAME": "environment", "MODELFLEET_AGENT_POLL_FLOOR_S": "2"}
    settings = load(config, environment=environment, flags={"name": "flag"})
    assert (settings.name, settings.poll_floor_s, settings.min_free_bytes) == ("flag", 2.0, 1)


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("state_dir", "/tmp/x", lambda s: s.state_dir == Path("/tmp/x")),
        ("name", "seven", lambda s: s.name == "seven"),
        ("runtimes", "onnxruntime, openvino", lambda s: s.runtimes == ("onnxruntime", "openvino")),
        ("labels", "site=north,line=2", lambda s: s.labels == {"site": "north", "line": "2"}),
        ("pair_lock", "/tmp/p", lambda s: s.pair_lock == Path("/tmp/p")),
        ("poll_floor_s", "0.5", lambda s: s.poll_floor_s == 0.5),
        ("min_free_bytes", "17", lambda s: s.min_free_bytes == 17),
        ("log_level", "warning", lambda s: s.log_level == "WARNING"),
        ("serve.listen", "[::1]:9000", lambda s: (s.serve.host, s.serve.port) == ("::1", 9000)),
        ("serve.socket", "/tmp/s.sock", lambda s: s.serve.socket == Path("/tmp/s.sock")),
        ("serve.threads", "3", lambda s: s.serve.threads == 3),
        ("serve.managed", "true", lambda s: s.serve.managed),
        ("facts.override.architecture", "armv7l", lambda s: s.overrides.architecture == "armv7l"),
        ("facts.override.memory_bytes", "1024", lambda s: s.overrides.memory_bytes == 1024),
        ("facts.override.free_disk_bytes", "1024", lambda s: s.overrides.free_disk_bytes == 1024),
        ("facts.override.cpus", "2", lambda s: s.overrides.cpus == 2),
        ("facts.override.accelerators", "cuda", lambda s: s.overrides.accelerators == ("cuda",)),
        ("facts.override.os", "linux", lambda s: s.overrides.os == "linux"),
    ],
)
def test_every_setting_has_a_variable(name: str, text: str, read: object) -> None:
    assert callable(read)
    assert read(load(environment={variable(name): text, "HOME": "/tmp"}))


def test_the_table_above_is_complete() -> None:
    marks = test_every_setting_has_a_variable.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(KNOWN)


@pytest.mark.parametrize(
    ("text", "name", "nearest"),
    [
        ("state_dirr = '/tmp'", "state_dirr", "state_dir"),
        ("[serve]\nlistn = 'x'", "serve.listn", "serve.listen"),
        ("[facts.override]\narchitectur = 'x'", "facts.override.architectur", "facts.override.architecture"),
        ("[facts]\narchitecture = 'x'", "facts.architecture", "facts.override.architecture"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(
    tmp_path: Path, text: str, name: str, nearest: str
) -> None:
    with pytest.raises(CallerError, match="MF-1002") as refused:
        load(write(tmp_path, text), environment={})
    assert repr(name) in refused.value.happened
    assert refused.value.expected == f"perhaps {nearest}"


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(CallerError, match="MF-1002"):
        load(environment={"MODELFLEET_AGENT_STATEDIR": "/tmp"})


@pytest.mark.parametrize(
    "text",
    [
        "state_dir = 7",
        "state_dir = ''",
        "poll_floor_s = -1",
        "poll_floor_s = nan",
        "poll_floor_s = true",
        "runtimes = 'a b'",
        "runtimes = [1]",
        "min_free_bytes = 1.5",
        "log_level = 'LOUD'",
        "labels = {site = 7}",
        "labels = {site = ''}",
        "labels = {'Not Plain' = 'x'}",
        "[serve]\nlisten = '8500'",
        "[serve]\nlisten = ':8500'",
        "[serve]\nlisten = '127.0.0.1:99999'",
        "[serve]\nthreads = 0",
        "[serve]\nmanaged = 'yes'",
        "[serve]\nmanaged = 1",
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CallerError, match="MF-1003"):
        load(write(tmp_path, text), environment={})


@pytest.mark.parametrize("text", ["state_dir = ", "\x00", "a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CallerError, match="MF-3011"):
        load(write(tmp_path, text), environment={})


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="MF-3011"):
        load(tmp_path / "none.toml", environment={})
    with pytest.raises(CallerError, match="MF-3011"):
        load(write(tmp_path, "#" * 300_000), environment={})


def test_a_socket_path_that_the_kernel_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="MF-1006"):
        load(environment={}, flags={"state_dir": str(tmp_path / ("x" * 100))})


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(environment={}, flags={"state_dir": str(tmp_path)})
    with pytest.raises(AttributeError):
        settings.name = "other"  # type: ignore[misc]
    assert isinstance(settings, Settings)
