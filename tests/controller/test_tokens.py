"""Operators' tokens: scopes, expiry, revocation; nothing of a secret is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from modelfleet_core.wire.operator import Tokens

from .kit import in_loop, problem, rig


@in_loop
async def test_the_first_admin_token_is_given_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        token = one.token
        assert token.startswith("mf_")
        assert len(token) == 46
        await one.call("GET", "/v1/tokens", expect=200)
    async with rig(tmp_path, token=token) as again:
        assert again.application.admin_token is None
        await again.call("GET", "/v1/tokens", expect=200)


@in_loop
async def test_no_secret_is_stored_or_shown_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        secrets = [one.token, await one.api_token("viewer"), await one.enrolment_token()]
        shown = (await one.call("GET", "/v1/tokens", expect=200)).text
        assert all(secret not in shown for secret in secrets)
        assert len((await one.get("/v1/tokens", Tokens)).items) == 3
    dump = "\n".join(sqlite3.connect(tmp_path / "modelfleet.db").iterdump())
    assert "first-admin" in dump
    assert all(secret not in dump and secret[3:] not in dump for secret in secrets)


@pytest.mark.parametrize(
    ("scope", "reads", "operates", "releases", "administers"),
    [
        ("viewer", True, False, False, False),
        ("operator", True, True, False, False),
        ("releaser", True, True, True, False),
        ("admin", True, True, True, True),
    ],
)
@in_loop
async def test_scopes(
    tmp_path: Path, scope: str, reads: bool, operates: bool, releases: bool, administers: bool
) -> None:
    async with rig(tmp_path) as one:
        token = await one.api_token(scope)
        device = await one.device("camera-1")

        async def may(method: str, path: str, body: object = None) -> bool:
            answer = await one.call(method, path, body, token=token)
            if answer.status_code == 403:
                assert problem(answer) == (403, "MF-1607")
            return answer.status_code != 403

        assert await may("GET", "/v1/devices") is reads
        assert await may("PUT", f"/v1/devices/{device.id}/labels", {"a": "b"}) is operates
        assert await may("POST", "/v1/releases", {"manifest": "0" * 64, "bundles": {}}) is releases
        assert await may("POST", f"/v1/devices/{device.id}/revoke") is administers
        api = {"kind": "api", "name": "x", "ttl_s": 60.0, "scope": "viewer"}
        assert await may("POST", "/v1/tokens", api) is administers
        enrolment = {"kind": "enrolment", "name": "x", "ttl_s": 60.0}
        assert await may("POST", "/v1/tokens", enrolment) is operates


@in_loop
async def test_unknown_expired_and_revoked(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert problem(await one.call("GET", "/v1/devices", token="mf_nothing")) == (401, "MF-1603")
        assert problem(await one.call("GET", "/v1/devices", token="")) == (401, "MF-1603")
        assert problem(await one.call("GET", "/v1/devices", token="x" * 5000)) == (401, "MF-1603")
        basic = await one.http.get("/v1/devices", headers={"authorization": "Basic bWY6eA=="})
        assert problem(basic) == (401, "MF-1603")
        assert basic.headers["www-authenticate"] == "Bearer"
        # an enrolment token opens no API
        assert problem(await one.call("GET", "/v1/devices", token=await one.enrolment_token())) == (
            401,
            "MF-1603",
        )
        viewer = await one.api_token("viewer")
        await one.call("GET", "/v1/devices", token=viewer, expect=200)
        listed = await one.get("/v1/tokens", Tokens)
        identity = next(token.id for token in listed.items if token.name == "a viewer")
        await one.call("DELETE", f"/v1/tokens/{identity}", expect=204)
        assert problem(await one.call("GET", "/v1/devices", token=viewer)) == (401, "MF-1605")
        assert problem(await one.call("DELETE", "/v1/tokens/tok_none")) == (404, "MF-1602")
        other = await one.api_token("viewer")
        one.clock.advance(3601)
        assert problem(await one.call("GET", "/v1/devices", token=other)) == (401, "MF-1604")


REFUSED: list[object] = [
    {"kind": "session", "name": "x", "ttl_s": 60.0},
    {"kind": "api", "name": "x", "ttl_s": 60.0},
    {"kind": "api", "name": "", "ttl_s": 60.0, "scope": "viewer"},
    {"kind": "api", "name": "x" * 129, "ttl_s": 60.0, "scope": "viewer"},
    {"kind": "api", "name": "x", "ttl_s": 0.0, "scope": "viewer"},
    {"kind": "api", "name": "x", "ttl_s": 1e12, "scope": "viewer"},
    {"kind": "api", "name": "x", "ttl_s": 60.0, "scope": "root"},
    {"kind": "api", "name": "x", "ttl_s": 60.0, "scope": "viewer", "allow_override": True},
    {"kind": "enrolment", "name": "x", "ttl_s": 60.0, "scope": "viewer"},
    {"kind": "enrolment", "name": "x", "ttl_s": 60.0, "max_uses": 0},
    {"kind": "enrolment", "name": "x", "ttl_s": 60.0, "labels": {"Site": "north"}},
    {"kind": "enrolment", "name": "x", "ttl_s": "60"},
    [],
]


@in_loop
async def test_refused_requests(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        for body in REFUSED:
            assert problem(await one.call("POST", "/v1/tokens", body)) == (400, "MF-1601"), body
