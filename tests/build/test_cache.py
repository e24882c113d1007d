from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfleet_build.cache import Cache, key_digest
from modelfleet_build.cache import ConversionKey as Key
from modelfleet_build.facts import ModelFacts, float_contract
from modelfleet_build.pipeline import BuildResult
from modelfleet_build.port import Converted, Recipe
from modelfleet_build.progress import Happening
from modelfleet_core.release.contract import BATCH, Layout, LogicalTensor
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes.registry import installed_version

from .conftest import Bench

X = LogicalTensor("x", (BATCH, 1, 8, 8), Layout.NCHW)
Y = LogicalTensor("y", (BATCH, 4))
FACTS = ModelFacts("a" * 64, "b" * 64, 10, 17, False, (X,), (Y,), {"Conv": 1})
CONVERTED = Converted("model.onnx", float_contract(FACTS, layout=Layout.NCHW, batch=1), ("a note",))
KEY = Key("b" * 64, FACTS, Recipe("r", Precision.INT8, {"p": "1"}), "c" * 64, "m:p", {"tool": "1.0"})


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(b"the model")
    (source / "model.bin").write_bytes(b"the weights")
    made = Cache(tmp_path / "cache")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "stand-in.tflite").write_bytes(b"the stand-in")
    made.store(KEY, CONVERTED, source, tmp_path / "beside")
    return made


def fetch(cache: Cache, key: Key, folder: Path) -> tuple[Converted | None, str, list[str]]:
    folder.mkdir()
    beside = folder.with_name(folder.name + "-beside")
    beside.mkdir()
    found = cache.fetch(key, Converted, folder, beside)
    left = [path.name for place in (folder, beside) for path in sorted(place.iterdir())]
    return found.value, found.damaged, left


def test_what_was_stored_comes_back(cache: Cache, tmp_path: Path) -> None:
    assert fetch(cache, KEY, tmp_path / "a") == (
        CONVERTED,
        "",
        ["model.bin", "model.onnx", "stand-in.tflite"],
    )
    assert (tmp_path / "a" / "model.onnx").read_bytes() == b"the model"


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model_sha256="d" * 64),
        replace(KEY, facts=FACTS.with_range(0.0, 1.0)),
        replace(KEY, recipe=Recipe("r", Precision.INT8, {"p": "2"})),
        replace(KEY, recipe=Recipe("other", Precision.INT8, {"p": "1"})),
        replace(KEY, calibration="e" * 64),
        replace(KEY, calibration=None),
        replace(KEY, optimizer="m:q"),
        replace(KEY, tools={"tool": "1.1"}),
        replace(KEY, options={"device": "GPU"}),
        replace(KEY, companion="f" * 64),
        replace(KEY, recipe=Recipe("r", Precision.INT8, {"p": "1"}, keep_float=("y",))),
    ],
)
def test_anything_that_changes_the_bytes_is_another_entry(cache: Cache, tmp_path: Path, other: Key) -> None:
    assert key_digest(other) != key_digest(KEY)
    assert fetch(cache, other, tmp_path / "a") == (None, "", [])


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "entry", "escape", "swap", "beside"])
def test_a_damaged_entry_is_dropped_and_made_anew(cache: Cache, tmp_path: Path, damage: str) -> None:
    entry = next(cache.root.rglob("entry.json"))
    stored = entry.parent / "0" / "model.onnx"
    key = entry.parent / "key.json"
    if damage == "flip":
        stored.write_bytes(b"the modeL")
    elif damage == "truncate":
        stored.write_bytes(b"the")
    elif damage == "beside":
        (entry.parent / "1" / "stand-in.tflite").write_bytes(b"another")
    elif damage == "remove":
        stored.unlink()
    elif damage == "entry":
        entry.write_bytes(entry.read_bytes()[:-40])
    elif damage == "escape":
        entry.write_bytes(entry.read_bytes().replace(b'"0/model.bin"', b'"0/../entry.json"'))
    else:
        key.write_bytes(key.read_bytes().replace(b'"1.0"', b'"9.9"'))
    converted, damaged, left = fetch(cache, KEY, tmp_path / "a")
    assert converted is None
    assert "damaged" in damaged
    assert left == []
    assert not (tmp_path / "entry.json").exists()
    cache.store(KEY, CONVERTED, tmp_path / "source", tmp_path / "beside")
    assert fetch(cache, KEY, tmp_path / "b")[0] == CONVERTED


def test_a_cache_that_cannot_be_written_does_not_fail_the_build(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    source = tmp_path / "source"
    source.mkdir()
    Cache(tmp_path / "cache").store(KEY, CONVERTED, source, source)


def test_a_cache_that_cannot_be_written_is_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    result = bench.build(cache=tmp_path / "cache")
    assert result.exit_code == 0
    assert any("cache" in line and "cannot be written" in line for line in result.report.warnings)


def cached(result: BuildResult) -> list[bool]:
    return [item.cached for report in result.report.classes for item in report.variants]


def known(result: BuildResult) -> list[bool]:
    return [item.measurement_known for report in result.report.classes for item in report.variants]


def test_a_second_build_takes_its_variants_from_the_cache(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"cache": tmp_path / "cache", "classes": ("arm-litert",)}
    first = bench.build(**changes, output=tmp_path / "out" / "one")
    second = bench.build(**changes, output=tmp_path / "out" / "two")
    assert cached(first) == [False]
    assert cached(second) == [True]
    assert first.manifest is not None
    assert second.manifest is not None
    for one, two in zip(
        sorted(first.manifest.variants, key=lambda v: v.name),
        sorted(second.manifest.variants, key=lambda v: v.name),
        strict=True,
    ):
        assert one.files == two.files
    assert known(second) == [True]
    # The parent's answers, which every variant is compared with, are of its runtime.
    monkeypatch.setattr(
        "modelfleet_runtimes.plugin.installed_version",
        lambda package: "99.0" if package == "onnxruntime" else installed_version(package),
    )
    newer = bench.build(**changes, output=tmp_path / "out" / "newer")
    assert (cached(newer), known(newer)) == ([True], [False])
    for path in (tmp_path / "cache").rglob("model.tflite"):
        path.write_bytes(b"rotten")
    bench.events.clear()
    third = bench.build(**changes, output=tmp_path / "out" / "three")
    assert cached(third) == [False]
    assert any(event.happening is Happening.GOING_ON and "damaged" in event.detail for event in bench.events)
