"""A small complete release folder, as the builder leaves it."""

from __future__ import annotations

from pathlib import Path

from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.manifest import Artifact
from modelfleet_core.wire import codec

from tests.core.release.samples import manifest, variant

NAMES = ("x86-onnxruntime.fp32", "x86-onnxruntime.int8", "arm-litert.int8")


def make_release(folder: Path, version: str = "1.1") -> Path:
    """Three variants, four files each."""
    variants = []
    contents: dict[str, dict[str, bytes]] = {}
    for name in NAMES:
        data = {n: f"{n} of {name} {version}".encode() for n in ("model.onnx", "contract.json", "golden.npz")}
        files = tuple(Artifact(n, str(sha256_hex(d)), len(d)) for n, d in data.items())
        variants.append(variant(name, files=files))
        contents[name] = data
    release = codec.pretty(manifest(*variants, version=version))
    folder.mkdir()
    (folder / "release.json").write_bytes(release)
    (folder / "build.json").write_text("{}")
    for name, data in contents.items():
        place = folder / "variants" / name
        place.mkdir(parents=True)
        for file, content in (data | {"release.json": release}).items():
            (place / file).write_bytes(content)
    return folder
