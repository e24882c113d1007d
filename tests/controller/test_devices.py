"""Devices as operators see and change them; classes of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_controller.devices.service import parse_selector
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.device_class import DeviceClass
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.wire.checkin import SlotStatus
from modelfleet_core.wire.operator import Classes, Devices, DeviceView

from .kit import ARM, OPENVINO, X86, in_loop, problem, rig


@in_loop
async def test_listing_by_selector_class_and_page(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        names = {}
        for index in range(7):
            facts = ARM if index % 2 else X86
            labels = {"site": "north" if index < 4 else "south", "floor": str(index % 3)}
            made = await one.device(f"d{index}", facts, labels)
            names[made.id] = f"d{index}"

        async def found(query: str) -> list[str]:
            return sorted(item.name for item in (await one.get(f"/v1/devices{query}", Devices)).items)

        assert await found("") == [f"d{i}" for i in range(7)]
        assert await found("?selector=site=north") == ["d0", "d1", "d2", "d3"]
        assert await found("?selector=site=north,floor=0") == ["d0", "d3"]
        assert await found("?selector=site=north&class=arm-litert") == ["d1", "d3"]
        assert await found("?selector=site=west") == []
        seen: list[str] = []
        after = ""
        for _ in range(4):
            page = await one.get(f"/v1/devices?limit=2&after={after}", Devices)
            seen += [item.id for item in page.items]
            after = page.next or ""
        assert after == ""
        assert seen == sorted(names)


@in_loop
async def test_wrong_queries(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        for query in ("?selector=site", "?selector==x", "?limit=0", "?limit=x", "?selector=Site=x"):
            assert problem(await one.call("GET", f"/v1/devices{query}")) == (400, "MF-1601")
        assert problem(await one.call("GET", "/v1/devices/dev_none")) == (404, "MF-1602")


@in_loop
async def test_labels_are_replaced_and_raise_the_revision(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d", labels={"site": "north", "floor": "2"})
        before = one.controller.board.revision
        await one.call("PUT", f"/v1/devices/{device.id}/labels", {"site": "south"}, expect=200)
        assert (await one.get(f"/v1/devices/{device.id}", DeviceView)).labels == {"site": "south"}
        assert (await one.get("/v1/devices?selector=site=north", Devices)).items == ()
        assert one.controller.board.revision == before + 1
        for bad in ({"Site": "x"}, {"site": ""}, {"site": "x" * 64}, {str(i): "x" for i in range(33)}, ["x"]):
            answer = await one.call("PUT", f"/v1/devices/{device.id}/labels", bad)
            assert problem(answer) == (400, "MF-1601")
        assert problem(await one.call("PUT", "/v1/devices/dev_x/labels", {})) == (404, "MF-1602")


@in_loop
async def test_what_a_device_says_is_shown_and_saved(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d")
        device.slots["digits"] = SlotStatus("digits", "idle", incumbent="a" * 64)
        device.revision = 1
        await device.check_in()
        view = await one.get(f"/v1/devices/{device.id}", DeviceView)
        assert (view.last_seen, view.revision) == (one.clock.now(), 1)
        assert view.slots == (device.slots["digits"],)
        await one.application.flush()
        await one.application.flush()
        clock, token = one.clock, one.token
        device.slots.clear()  # said after the flush: lost with a crash, said again at the next check-in
        one.controller.board.take_unsaved()
    async with rig(tmp_path, clock, token=token) as again:
        view = await again.get(f"/v1/devices/{device.id}", DeviceView)
        assert [slot.slot for slot in view.slots] == ["digits"]


@in_loop
async def test_new_facts_change_the_class(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d", X86)
        device.facts = OPENVINO
        await device.check_in(with_facts=True)
        view = await one.get(f"/v1/devices/{device.id}", DeviceView)
        assert (view.device_class, view.facts) == ("x86-openvino", OPENVINO)
        device.facts = replace(X86, memory_bytes=1)
        await device.check_in(with_facts=True)
        assert (await one.get(f"/v1/devices/{device.id}", DeviceView)).device_class is None


@in_loop
async def test_own_classes(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        device = await one.device("d", X86)
        assert (await one.get("/v1/classes", Classes)).items == SHIPPED
        own = DeviceClass("big-x86", ("x86_64",), "onnxruntime", min_memory_bytes=1, priority=9)
        await one.call("PUT", "/v1/classes/big-x86", own, expect=200)
        assert (await one.get("/v1/classes", Classes)).items == (*SHIPPED, own)
        assert (await one.get(f"/v1/devices/{device.id}", DeviceView)).device_class == "big-x86"
        later = await one.device("later", X86)
        assert (await one.get(f"/v1/devices/{later.id}", DeviceView)).device_class == "big-x86"
        await one.call("PUT", "/v1/classes/big-x86", replace(own, priority=-1), expect=200)
        view = await one.get(f"/v1/devices/{device.id}", DeviceView)
        assert view.device_class == "x86-onnxruntime"
        assert any("has precedence" in reason for reason in view.class_reasons)
        shipped = next(c for c in SHIPPED if c.name == "arm-litert")
        assert problem(await one.call("PUT", "/v1/classes/arm-litert", shipped)) == (409, "MF-1640")
        assert problem(await one.call("PUT", "/v1/classes/other", own)) == (400, "MF-1601")
        nothing = {"name": "x", "architectures": [], "runtime": "onnxruntime"}
        assert problem(await one.call("PUT", "/v1/classes/x", nothing)) == (400, "MF-1601")
        clock, token = one.clock, one.token
    async with rig(tmp_path, clock, token=token) as again:
        assert [c.name for c in again.controller.board.classes][-1] == "big-x86"


def test_selectors() -> None:
    assert parse_selector("") == {}
    assert parse_selector("a=b, c=d") == {"a": "b", "c": "d"}
    with pytest.raises(CallerError) as refused:
        parse_selector(",".join(f"k{i}=v" for i in range(40)))
    assert refused.value.code is Code.BODY_INVALID
