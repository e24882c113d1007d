"""What goes wrong between fleetctl and the controller, in three lines."""

from __future__ import annotations

import httpx
import pytest

from modelfleet_core.errors import WorldError
from modelfleet_core.ids import sha256_hex

from tests.cli.kit import TOKEN, URL, Cli


def test_the_controller_is_away(person: Cli) -> None:
    person.controller.reachable = False
    ended = person("rollout", "list")
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.splitlines() == [
        "error MF-5010: the controller at http://127.0.0.1:8080 does not answer: Connection refused",
        "  expected: a running controller at that address",
        "  to do: start it with `fleetctl server start`, or choose another with `fleetctl context use`",
        "  (`fleetctl --verbose ...` shows what led to this)",
    ]


def test_verbose_shows_what_led_to_it(person: Cli) -> None:
    person.controller.reachable = False
    ended = person("--verbose", "rollout", "list")
    assert "Traceback" in ended.err
    assert "ConnectError" in ended.err
    assert TOKEN not in ended.err


def test_the_controller_s_own_words_are_shown(person: Cli) -> None:
    person.controller.token = "another"
    assert person("release", "list").err.splitlines()[:3] == [
        "error MF-1603: the token is not known",
        "  expected: a token",
        "  to do: log in again",
    ]
    person.controller.token = TOKEN
    assert "MF-1602: there is no 'nothing:1'" in person("release", "show", "nothing:1").err


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (httpx.Response(500, text="<html>oops"), "status 500"),
        (httpx.Response(302, headers={"location": "https://evil.example.com"}), "status 302"),
        (httpx.Response(200, text="<html>hello"), "cannot be read"),
        (httpx.Response(200, json={"items": [{"id": 7}]}), "cannot be read"),
        (
            httpx.Response(400, content=b"{}", headers={"content-type": "application/problem+json"}),
            "broken problem",
        ),
    ],
)
def test_an_answer_that_is_not_understood(person: Cli, answer: httpx.Response, word: str) -> None:
    person.controller.answer = lambda request: answer  # type: ignore[method-assign]
    ended = person("release", "list")
    assert ended.code == 1
    assert "MF-6003" in ended.err
    assert word in ended.err


def test_a_newer_controller_s_code_is_kept(person: Cli) -> None:
    body = {
        "type": "urn:x",
        "title": "t",
        "status": 409,
        "code": "MF-1999",
        "detail": "something new",
        "expected": "e",
        "todo": "d",
    }
    person.controller.answer = lambda request: httpx.Response(  # type: ignore[method-assign]
        409, json=body, headers={"content-type": "application/problem+json"}
    )
    ended = person("release", "list")
    assert "MF-6003: MF-1999: something new" in ended.err


def test_a_server_s_trouble_is_the_world_s(person: Cli) -> None:
    body = {
        "type": "",
        "title": "",
        "status": 503,
        "code": "MF-5003",
        "detail": "busy",
        "expected": "",
        "todo": "",
    }
    person.controller.answer = lambda request: httpx.Response(  # type: ignore[method-assign]
        503, json=body, headers={"content-type": "application/problem+json"}
    )
    with pytest.raises(WorldError):
        person.connect_api().releases()


def test_control_characters_of_others_do_not_reach_the_terminal(person: Cli) -> None:
    person.controller.answer = lambda request: httpx.Response(  # type: ignore[method-assign]
        404,
        json={
            "type": "",
            "title": "",
            "status": 404,
            "code": "MF-1602",
            "detail": "\x1b[2Jgone [red]x[/red]",
            "expected": "a",
            "todo": "b",
        },
        headers={"content-type": "application/problem+json"},
    )
    ended = person("release", "list")
    assert "\x1b" not in ended.err
    assert "\\x1b[2Jgone [red]x[/red]" in ended.err


def test_paths_of_others_stay_one_segment(person: Cli) -> None:
    person("release", "show", "../../livez?x=1")
    assert [s.path for s in person.controller.sent] == ["/v1/releases/../../livez?x=1"], (
        "as one encoded segment"
    )
    assert person.controller.sent[0].query == {}


def test_the_token_goes_nowhere_else(person: Cli) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(307, headers={"location": "http://127.0.0.1:9/elsewhere"})

    person.controller.answer = answer  # type: ignore[method-assign]
    assert person("release", "list").code == 1
    assert [str(r.url) for r in seen] == [f"{URL}/v1/releases"]


def test_a_blob_travels_once(person: Cli) -> None:
    api = person.connect_api()
    digest = api.upload(b"data")
    assert digest == sha256_hex(b"data")
    api.upload(b"data")
    assert [s.method for s in person.controller.sent] == ["HEAD", "PUT", "HEAD"]
