"""Settings: order of sources, refusals, and the listener that must be protected."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfleet_controller.settings import Settings, load
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError


def test_flags_over_environment_over_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('data = "/file"\npoll_s = 5\ntick_s = 2.5\nlog_level = "DEBUG"\n')
    found = load(
        {"poll_s": "7", "tick_s": None, "data": None},
        {"MODELFLEET_CONTROLLER_POLL_S": "6", "MODELFLEET_CONTROLLER_DATA": "/env", "HOME": "/root"},
        config,
    )
    assert found == Settings(data=Path("/env"), poll_s=7.0, tick_s=2.5, log_level="DEBUG")


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ({"data": None}, {}),
        ({"data": "/d", "colour": "red"}, {}),
        ({"data": "/d"}, {"MODELFLEET_CONTROLLER_COLOUR": "red"}),
        ({"data": "/d", "poll_s": "often"}, {}),
        ({"data": "/d", "poll_s": "0"}, {}),
        ({"data": "/d", "poll_s": "nan"}, {}),
        ({"data": "/d", "listen": "8470"}, {}),
        ({"data": "/d", "listen": "127.0.0.1:99999"}, {}),
        ({"data": "/d", "insecure": "perhaps"}, {}),
        ({"data": "/d", "log_level": "LOUD"}, {}),
        ({"data": "/d", "tls_key": "/k"}, {}),
    ],
)
def test_refusals(flags: dict[str, str | None], environment: dict[str, str]) -> None:
    with pytest.raises(CallerError) as refused:
        load(flags, environment)
    assert refused.value.code is Code.SETTINGS_INVALID


def test_a_broken_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("data = ")
    for path in (config, tmp_path / "missing.toml"):
        with pytest.raises(CallerError) as refused:
            load({}, {}, path)
        assert refused.value.code is Code.SETTINGS_INVALID


def test_an_unknown_key_in_the_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('data = "/d"\npol_s = 5\n')
    with pytest.raises(CallerError) as refused:
        load({}, {}, config)
    assert "pol_s" in refused.value.happened


@pytest.mark.parametrize("listen", ["0.0.0.0:8470", "192.168.1.4:80", "[::]:1", "controller.example:8470"])
def test_beyond_this_machine_needs_tls_or_insecure(listen: str) -> None:
    with pytest.raises(CallerError) as refused:
        load({"data": "/d", "listen": listen}, {})
    assert refused.value.code is Code.LISTEN_UNPROTECTED
    assert load({"data": "/d", "listen": listen, "insecure": "true"}, {}).insecure
    tls: dict[str, str | None] = {"data": "/d", "listen": listen, "tls_certificate": "/c", "tls_key": "/k"}
    assert load(tls, {}).tls_key == Path("/k")


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("localhost:1", ("localhost", 1)), ("[::1]:2", ("::1", 2))],
)
def test_loopback_needs_nothing(listen: str, address: tuple[str, int]) -> None:
    assert load({"data": "/d", "listen": listen}, {}).address == address
