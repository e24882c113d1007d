"""Every route declares who may; errors are problems; the API describes itself; health and metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import APIRouter

from modelfleet_controller.app import ROUTERS, build_api
from modelfleet_controller.auth.actor import Actor
from modelfleet_controller.hot.app import PERMISSION, HotRoutes
from modelfleet_controller.http.openapi import api_routes, permissions
from modelfleet_core.wire.operator import Scope

from .kit import Rig, in_loop, problem, rig

PUBLIC = {"/livez", "/readyz", "/metrics", "/openapi.json", "/v1/device/trust"}
"""Health, and public keys for a device that has no trust file yet."""
SURFACES = {
    "/v1/device/enroll": {"post"},
    "/v1/device/checkin": {"post"},
    "/v1/device/reports": {"post"},
    "/v1/device/events": {"post"},
    "/v1/blobs/sha256/{digest}": {"get", "put"},
    "/v1/releases": {"get", "post"},
    "/v1/releases/{reference}": {"get"},
    "/v1/devices": {"get"},
    "/v1/devices/{device}": {"get"},
    "/v1/devices/{device}/labels": {"put"},
    "/v1/devices/{device}/revoke": {"post"},
    "/v1/classes": {"get"},
    "/v1/classes/{name}": {"put"},
    "/v1/tokens": {"get", "post"},
    "/v1/tokens/{token}": {"delete"},
    "/v1/rollouts": {"get", "post"},
    "/v1/rollouts/plan": {"post"},
    "/v1/rollouts/{name}": {"get"},
    "/v1/rollouts/{name}/operations": {"post"},
    "/v1/builds": {"get", "post"},
    "/v1/builds/{build}": {"get"},
    "/v1/builds/{build}/operations": {"post"},
    "/v1/audit": {"get"},
    "/v1/device/trust": {"get"},
    "/v1/trust": {"get"},
    "/v1/trust/release-keys": {"post"},
    "/livez": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}


def hot_of(one: Rig) -> HotRoutes:
    assert isinstance(one.application.asgi, HotRoutes)
    return one.application.asgi


@in_loop
async def test_every_route_declares_exactly_one_permission(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        api = build_api(one.controller, "0")
        routes = list(api_routes(api))
        assert len(routes) > 25
        for route in routes:
            (permission,) = permissions(route)
            assert (permission.name == "public") is (route.path in PUBLIC), route.path
        assert set(hot_of(one).routes) == {path for path in SURFACES if path.startswith("/v1/device/")} - {
            "/v1/device/enroll",
            "/v1/device/trust",
        }
        assert PERMISSION == "device"


@in_loop
async def test_a_route_without_a_permission_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = APIRouter()

    @careless.get("/v1/everything")
    async def everything() -> dict[str, str]:
        return {}

    monkeypatch.setattr("modelfleet_controller.app.ROUTERS", (*ROUTERS, careless))
    with pytest.raises(RuntimeError, match="/v1/everything"):
        async with rig(tmp_path):
            pass


@in_loop
async def test_nothing_but_health_and_public_keys_answers_without_credentials(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        for route in api_routes(build_api(one.controller, "0")):
            path = route.path_format.replace("{digest}", "0" * 64)
            for method in route.methods or ():
                answer = await one.http.request(method, path)
                if route.path in PUBLIC:
                    assert answer.status_code == 200, path
                elif route.path == "/v1/device/enroll":
                    assert answer.status_code == 400
                else:
                    assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"


@in_loop
async def test_the_api_describes_itself(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        document = json.loads((await one.http.get("/openapi.json")).content)
        assert {path: set(item) for path, item in document["paths"].items()} == SURFACES
        schemas = document["components"]["schemas"]
        for path, item in document["paths"].items():
            for method, operation in item.items():
                assert operation["x-permission"], f"{method} {path}"
                assert "default" in operation["responses"]
                takes_body = method in ("put", "post") and not path.endswith("/revoke")
                assert ("requestBody" in operation) is takes_body, f"{method} {path}"
        assert "RolloutCreate" in schemas
        assert "Checkin" in schemas
        text = json.dumps(document)
        for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
            assert name in schemas, name
        identities = [op["operationId"] for item in document["paths"].values() for op in item.values()]
        assert len(set(identities)) == len(identities)


@in_loop
async def test_unknown_paths_and_methods_are_problems(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert (await one.call("GET", "/v1/nothing")).status_code == 404
        assert problem(await one.call("GET", "/v1/nothing"))[1] == "MF-1602"
        answer = await one.call("DELETE", "/v1/devices")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET"
        assert (await one.http.get("/v1/device/checkin")).status_code in (404, 405)


@in_loop
async def test_a_body_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        answer = await one.call("POST", "/v1/tokens", {"kind": "x" * 100_000})
        assert problem(answer) == (400, "MF-1601")


@in_loop
async def test_an_unforeseen_failure_is_500_and_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path) as one:

        def broken(*_: object) -> None:
            raise LookupError("secret inner workings")

        monkeypatch.setattr("modelfleet_controller.hot.app.assign", broken)
        monkeypatch.setattr("modelfleet_controller.auth.endpoints.TokenService.list", broken)
        device = await one.device("d")
        for answer in (
            await device.send("/v1/device/checkin", device.checkin_body()),
            await one.call("GET", "/v1/tokens"),
        ):
            assert (answer.status_code, answer.content) == (500, b"")


@in_loop
async def test_health_and_metrics(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d")
        await device.check_in()
        await device.check_in()
        assert (await one.http.get("/livez")).text == "ok\n"
        assert (await one.http.get("/readyz")).text == "ok\n"
        text = (await one.http.get("/metrics")).text
        assert 'modelfleet_checkins_total{answer="statement"} 1.0' in text
        assert 'modelfleet_checkins_total{answer="unchanged"} 1.0' in text
        assert "modelfleet_devices 1.0" in text
        assert "modelfleet_enrolments_total 1.0" in text
        assert 'modelfleet_http_requests_total{route="/v1/device/enroll",status="200"} 1.0' in text


@in_loop
async def test_request_ids(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        given = await one.http.get("/livez", headers={"x-request-id": "abc123"})
        assert given.headers["x-request-id"] == "abc123"
        for bad in ("a b", "x" * 100, "\"'"):
            made = await one.http.get("/livez", headers={"x-request-id": bad})
            assert len(made.headers["x-request-id"]) == 16
            assert made.headers["x-request-id"] != bad


@pytest.mark.parametrize("scope", list(Scope))
def test_scopes_include_the_smaller_ones(scope: Scope) -> None:
    ranks = list(Scope)
    actor = Actor("p", "t", scope)
    assert [actor.may(other) for other in ranks] == [
        ranks.index(other) <= ranks.index(scope) for other in ranks
    ]
