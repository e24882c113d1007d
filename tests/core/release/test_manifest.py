from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.manifest import Artifact, Manifest
from modelfleet_core.wire import codec

from tests.core.release.samples import artifact, manifest, variant


def test_the_bytes_are_the_identity() -> None:
    one = manifest(variant())
    data = codec.pretty(one)
    assert codec.decode(data, Manifest, what="release.json") == one
    assert sha256_hex(codec.pretty(codec.decode(data, Manifest, what="release.json"))) == sha256_hex(data)
    assert sha256_hex(codec.pretty(manifest(variant(), version="1.2"))) != sha256_hex(data)


def test_names() -> None:
    whole = manifest(variant("arm-litert.int8"), variant("x86-onnxruntime.fp32"), variant("arm-litert.fp32"))
    assert whole.reference() == "digits:1.1"
    assert whole.classes() == ("arm-litert", "x86-onnxruntime")
    found = whole.variant("arm-litert.fp32")
    assert found is not None
    assert found.device_class == "arm-litert"
    assert whole.variant("nothing") is None


@pytest.mark.parametrize(
    "path",
    ["", "a/b", "../x", "..", ".hidden", "a\\b", "x" * 129, "a\0b", "a\nb", "caf\u00e9", "a b", "-x"],
)
def test_a_path_cannot_leave_its_folder(path: str) -> None:
    with pytest.raises(ValueError):
        Artifact(path, "0" * 64, 1)


@pytest.mark.parametrize(
    ("digest", "size"), [("0" * 63, 1), ("A" * 64, 1), ("0" * 64, -1), ("0" * 64, 2**33)]
)
def test_an_artifact_has_digest_and_size(digest: str, size: int) -> None:
    with pytest.raises(ValueError):
        Artifact("model.onnx", digest, size)


@pytest.mark.parametrize(
    "fields",
    [
        {"files": ()},
        {"files": (artifact("model.onnx"), artifact("model.onnx"))},
        {"files": (artifact("model.onnx"), artifact("release.json"))},
        {"files": tuple(artifact(f"f{i}") for i in range(65)), "entry": "f0"},
        {"entry": "other.onnx"},
        {"name": "Upper.int8"},
        {"name": "a/b.int8"},
        {"device_class": "../x"},
    ],
)
def test_a_variant_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        variant(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "Digits"},
        {"name": ""},
        {"name": "a..b"},
        {"version": ""},
        {"version": "1 0"},
        {"version": "../1"},
        {"version": "-1"},
        {"created_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - the naive instant is what is refused
        {"variants": (variant(), variant())},
        {"variants": tuple(variant(f"c{i}.int8") for i in range(65))},
    ],
)
def test_a_manifest_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        manifest(**fields)
