"""The build spec: it survives the wire, and refuses what no engine can be built from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelfleet_core.errors import CallerError
from modelfleet_core.release.engine_spec import MIB, EngineSpec, ShapeProfile
from modelfleet_core.release.manifest import Precision
from modelfleet_core.wire import codec

SPEC = EngineSpec(
    "model.onnx",
    "a" * 64,
    Precision.INT8,
    {"image": ShapeProfile((1, 3, 8, 8), (1, 3, 8, 8), (4, 3, 8, 8))},
    256 * MIB,
    "8.5",
    "12",
    int8=True,
)


def test_it_survives_the_wire() -> None:
    for data in (codec.encode(SPEC), codec.pretty(SPEC)):
        assert codec.decode(data, EngineSpec, what="engine.json") == SPEC


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": "../model.onnx"}, "model"),
        ({"model_sha256": "A" * 64}, "sha256"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": {str(index): SPEC.inputs["image"] for index in range(17)}}, "inputs"),
        ({"workspace_bytes": 1024}, "workspace"),
        ({"workspace_bytes": 1 << 40}, "workspace"),
        ({"optimization_level": 6}, "level"),
        ({"schema": 2}, "schema"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replace(SPEC, **changes)


@pytest.mark.parametrize(
    "shapes",
    [
        ((), (), ()),
        ((1, 2), (1,), (1, 2)),
        ((0,), (1,), (1,)),
        ((2,), (1,), (3,)),
        ((1,), (4,), (3,)),
        ((1,) * 9,) * 3,
    ],
)
def test_shapes_that_cannot_be_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="dimension"):
        ShapeProfile(*shapes)


def test_a_spec_that_is_wrong_on_the_wire_is_refused() -> None:
    with pytest.raises(CallerError):
        codec.decode(
            codec.encode(SPEC).replace(b'"model.onnx"', b'"/etc/passwd"'), EngineSpec, what="engine.json"
        )
