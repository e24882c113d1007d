"""Blobs over HTTP: verified uploads, whole, partial and resumed downloads, who may."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelfleet_controller.blobs.ranges import Part, part_of
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

from .kit import FakeDevice, Rig, in_loop, problem, rig
from .test_blob_store import largest_file

DATA = bytes(range(256)) * 4000
NAME = hashlib.sha256(DATA).hexdigest()
PATH = f"/v1/blobs/sha256/{NAME}"


async def download(one: Rig, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await one.http.get(PATH, headers={"authorization": f"Bearer {one.token}", **names})
    return answer.status_code, answer.content, dict(answer.headers)


@in_loop
async def test_upload_then_download_whole_and_in_parts(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert await one.upload(DATA) == NAME
        status, body, headers = await download(one)
        assert (status, body) == (200, DATA)
        assert headers["etag"] == f'"{NAME}"'
        assert headers["accept-ranges"] == "bytes"
        assert headers["content-length"] == str(len(DATA))
        status, body, headers = await download(one, range="bytes=1000-1999")
        assert (status, body) == (206, DATA[1000:2000])
        assert headers["content-range"] == f"bytes 1000-1999/{len(DATA)}"
        status, body, _ = await download(one, range="bytes=-5")
        assert (status, body) == (206, DATA[-5:])
        # resume: the part that is missing, if it still is the same file
        status, body, _ = await download(one, range="bytes=900000-", if_range=f'"{NAME}"')
        assert (status, body) == (206, DATA[900_000:])
        status, body, _ = await download(one, range="bytes=900000-", if_range='"something else"')
        assert (status, body) == (200, DATA)
        status, body, _ = await download(one, if_none_match=f'"{NAME}"')
        assert (status, body) == (304, b"")
        assert one.controller.metrics.blob_bytes._value.get() == 2 * len(DATA) + 1005 + len(DATA) - 900_000


@in_loop
async def test_head_tells_the_size(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.upload(DATA)
        answer = await one.call("HEAD", PATH, expect=200)
        assert answer.headers["content-length"] == str(len(DATA))
        assert answer.content == b""
        assert (await one.call("HEAD", f"/v1/blobs/sha256/{'0' * 64}")).status_code == 404


@in_loop
async def test_a_range_behind_the_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.upload(DATA)
        answer = await one.http.get(
            PATH, headers={"authorization": f"Bearer {one.token}", "range": f"bytes={len(DATA)}-"}
        )
        assert problem(answer) == (416, "MF-1622")
        assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@in_loop
async def test_wrong_bytes_are_refused_and_not_there(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        answer = await one.http.put(PATH, content=DATA[:-1], headers={"authorization": f"Bearer {one.token}"})
        assert problem(answer) == (422, "MF-1620")
        assert problem(await one.call("GET", PATH)) == (404, "MF-1621")


@in_loop
async def test_a_blob_above_the_limit(tmp_path: Path) -> None:
    async with rig(tmp_path, blob_limit=1024) as one:
        answer = await one.http.put(PATH, content=DATA, headers={"authorization": f"Bearer {one.token}"})
        assert problem(answer) == (413, "MF-1623")


@in_loop
async def test_a_full_disk_answers_507_and_the_upload_works_later(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        with largest_file(500_000):
            answer = await one.http.put(PATH, content=DATA, headers={"authorization": f"Bearer {one.token}"})
        assert problem(answer) == (507, "MF-5001")
        await one.upload(DATA)
        assert (await download(one))[1] == DATA


@in_loop
async def test_a_name_that_is_no_digest(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert problem(await one.call("GET", "/v1/blobs/sha256/..%2f..%2fdirector.key")) == (404, "MF-1602")
        assert problem(await one.call("GET", f"/v1/blobs/sha256/{NAME.upper()}")) == (404, "MF-1602")


@in_loop
async def test_devices_download_with_their_signature_and_nobody_without(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.upload(DATA)
        device = await one.device("camera-1")
        answer = await device.send(PATH, b"", method="GET", headers={"range": "bytes=10-19"})
        assert (answer.status_code, answer.content) == (206, DATA[10:20])
        assert problem(await one.http.get(PATH)) == (401, "MF-1603")
        stranger = FakeDevice(one, "stranger")
        assert problem(await stranger.send(PATH, b"", method="GET")) == (401, "MF-2208")
        signed = device.signed("GET", PATH, b"", device.nonce())
        other = f"/v1/blobs/sha256/{'0' * 64}"
        assert problem(await one.http.get(other, headers=signed)) == (401, "MF-2206")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, Part(0, 10, False)),
        ("bytes=0-0", Part(0, 1, True)),
        ("bytes=3-", Part(3, 7, True)),
        ("bytes=3-99", Part(3, 7, True)),
        ("bytes=-3", Part(7, 3, True)),
        ("bytes=-30", Part(0, 10, True)),
        ("bytes=5-4", Part(0, 10, False)),
        ("bytes=0-1,3-4", Part(0, 10, False)),
        ("lines=1-2", Part(0, 10, False)),
        ("bytes=-", Part(0, 10, False)),
    ],
)
def test_ranges(header: str | None, part: Part) -> None:
    assert part_of(10, header, None, '"x"') == part


@pytest.mark.parametrize(
    ("size", "header"), [(10, "bytes=10-"), (10, "bytes=-0"), (0, "bytes=0-"), (0, "bytes=-1")]
)
def test_ranges_outside(size: int, header: str) -> None:
    with pytest.raises(CallerError) as refused:
        part_of(size, header, None, '"x"')
    assert refused.value.code is Code.BLOB_RANGE
