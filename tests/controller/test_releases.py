"""Releases come in whole and signed, or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from modelfleet_core.trust.bundle import sign_bundle
from modelfleet_core.trust.keys import generate_ecdsa_p256, generate_ed25519
from modelfleet_core.trust.statement import build_statement
from modelfleet_core.wire import codec
from modelfleet_core.wire.operator import ReleasePush, Releases, ReleaseView, TrustView

from .kit import RELEASE_KEY, Built, Rig, build, in_loop, problem, rig

CLASSES = ("x86-onnxruntime", "arm-litert")


def with_bundle(built: Built, variant: str, files: dict[str, str], *, says: str = "") -> Built:
    """The release with another, validly signed bundle for one variant (which `says` it is for)."""
    data = sign_bundle(build_statement(says or variant, files, built.id), RELEASE_KEY)
    push = replace(built.push, bundles={**built.push.bundles, variant: hashlib.sha256(data).hexdigest()})
    return replace(built, push=push, blobs=(*built.blobs, data))


def listed(built: Built, variant: str) -> dict[str, str]:
    found = built.manifest.variant(variant)
    assert found is not None
    return {file.path: file.sha256 for file in found.files} | {"release.json": built.id}


@in_loop
async def test_a_signed_release_is_taken_in(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        built = build(classes=CLASSES)
        answer = await one.push(built)
        assert answer.status_code == 201, answer.text
        view = codec.decode(answer.content, ReleaseView, what="release")
        assert (view.id, view.reference) == (built.id, "digits:1.0")
        assert view.signed_by == (RELEASE_KEY.key_hint,)
        assert view.manifest == built.manifest
        assert await one.get("/v1/releases/digits:1.0", ReleaseView) == view
        assert await one.get(f"/v1/releases/{built.id}", ReleaseView) == view
        assert (await one.get("/v1/releases", Releases)).items == (view,)
        assert built.id in one.controller.board.releases


@in_loop
async def test_the_same_release_again_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        assert (await one.push(build())).status_code == 201
        assert (await one.push(build())).status_code == 200
        answer = await one.push(build(content="changed"))
        assert problem(answer) == (409, "MF-1630")
        assert "digits:1.0" in answer.json()["detail"]
        assert (await one.push(build(version="1.1"))).status_code == 201
        references = [view.reference for view in (await one.get("/v1/releases", Releases)).items]
        assert sorted(references) == ["digits:1.0", "digits:1.1"]


@in_loop
async def test_a_strangers_signature_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        assert problem(await one.push(build())) == (422, "MF-2014")  # no key registered at all
        await one.trust_release_key()
        answer = await one.push(build(key=generate_ecdsa_p256()))
        assert problem(answer) == (422, "MF-2014")
        assert "x86-onnxruntime.fp32" in answer.json()["detail"]
        assert (await one.get("/v1/releases", Releases)).items == ()


@in_loop
async def test_missing_blobs_are_named(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        built = build()
        assert problem(await one.call("POST", "/v1/releases", built.push)) == (404, "MF-1621")
        model = next(data for data in built.blobs if data.startswith(b"model"))
        for data in built.blobs:
            if data is not model:
                await one.upload(data)
        answer = await one.call("POST", "/v1/releases", built.push)
        assert problem(answer) == (404, "MF-1621")
        assert "model.bin" in answer.json()["detail"]
        await one.upload(model)
        assert (await one.call("POST", "/v1/releases", built.push)).status_code == 201


async def refused(one: Rig, built: Built, code: str = "MF-1631") -> str:
    answer = await one.push(built)
    assert problem(answer)[1] == code, answer.text
    assert (await one.get("/v1/releases", Releases)).items == ()
    return str(answer.json()["detail"])


@in_loop
async def test_bundle_and_manifest_must_agree_on_every_file(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        built = build(classes=CLASSES)
        name = "x86-onnxruntime.fp32"
        right = listed(built, name)
        more = {**right, "extra.bin": "1" * 64}
        assert "extra.bin" in await refused(one, with_bundle(built, name, more))
        other = {**right, "model.bin": "2" * 64}
        assert "model.bin" in await refused(one, with_bundle(built, name, other))
        fewer = {path: digest for path, digest in right.items() if path != "golden.npz"}
        assert "golden.npz" in await refused(one, with_bundle(built, name, fewer))


@in_loop
async def test_a_manifest_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        assert "model.bin has" in await refused(one, build(size_error=1))


@in_loop
async def test_a_bundle_of_another_variant_or_release_does_not_pass(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        built = build(classes=CLASSES)
        first, second = sorted(built.push.bundles)
        swapped = {first: built.push.bundles[second], second: built.push.bundles[first]}
        await refused(one, replace(built, push=replace(built.push, bundles=swapped)))
        other = with_bundle(built, first, listed(built, first), says=second)
        assert second in await refused(one, other)
        older = build(classes=CLASSES, version="0.9")
        stale = replace(built, push=replace(built.push, bundles=older.push.bundles))
        await refused(one, replace(stale, blobs=(*built.blobs, *older.blobs)))
        half = {first: built.push.bundles[first]}
        assert second in (await one.push(replace(built, push=replace(built.push, bundles=half)))).text


@in_loop
async def test_a_tampered_bundle_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        built = build()
        (name,) = built.push.bundles
        good = built.bundles[name].decode()
        for bad, code in (
            (good.replace('"payload": "eyJf', '"payload": "eyKf'), "MF-2015"),
            ("{}", "MF-2020"),
        ):
            data = bad.encode()
            push = replace(built.push, bundles={name: hashlib.sha256(data).hexdigest()})
            assert bad != good
            await refused(one, replace(built, push=push, blobs=(*built.blobs, data)), code)


@in_loop
async def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.trust_release_key()
        name = b'{"name":"../x","version":"1"}'
        for content in (b"", b"{", b"[]", b'{"name": "x"}', b"\xff\xfe", name):
            digest = await one.upload(content)
            answer = await one.call("POST", "/v1/releases", ReleasePush(digest, {}))
            assert problem(answer) == (400, "MF-1601"), content


@in_loop
async def test_a_digest_that_is_none(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        push = {"manifest": "../../etc/passwd", "bundles": {}}
        assert problem(await one.call("POST", "/v1/releases", push)) == (400, "MF-1601")
        assert problem(await one.call("GET", "/v1/releases/digits:9")) == (404, "MF-1602")


@in_loop
async def test_release_keys(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        pem = RELEASE_KEY.public().to_pem()
        await one.call("POST", "/v1/trust/release-keys", {"pem": pem}, expect=201)
        await one.call("POST", "/v1/trust/release-keys", {"pem": pem}, expect=200)
        view = await one.get("/v1/trust", TrustView)
        assert view.release_keys == (pem,)
        assert len(view.director_keys) == 1
        for bad, code in (
            ("nothing", "MF-2001"),
            (generate_ed25519().public().to_pem(), "MF-2002"),
            (RELEASE_KEY.to_pem(), "MF-2002"),
        ):
            answer = await one.call("POST", "/v1/trust/release-keys", {"pem": bad})
            assert problem(answer) == (422, code)
        assert "PRIVATE" not in (await one.call("GET", "/v1/trust")).text
