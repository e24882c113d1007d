"""What the builder refuses for tflite-runtime 2.14 before any device sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_build.optimizers.legacy_operators import NEWEST
from modelfleet_build.optimizers.litert import plugin as litert_optimizer
from modelfleet_build.optimizers.tflite_legacy import check_legacy, plugin
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_runtimes.tflite_file import TfliteFile
from modelfleet_runtimes.tflite_legacy import garbage

from .edge import converted, file_of, materials

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

_CONV_2D, _GELU, _BITWISE_AND = 3, 150, 180


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("variants")
    (digits,) = materials(place / "m", ("digits",))
    for recipe in ("fp32", "int8"):
        converted(plugin, recipe, digits, place / recipe)
    converted(litert_optimizer, "int8-dynamic", digits, place / "int8-dynamic")
    return place


def with_operator(file: TfliteFile, code: int, version: int) -> TfliteFile:
    first, *rest = file.operators
    return replace(file, operators=(replace(first, code=code, version=version), *rest))


def test_dynamic_int8_is_never_offered() -> None:
    assert [recipe.name for recipe in plugin.recipes] == ["fp32", "int8"]
    offered = [item for recipe in plugin.recipes for item in (recipe, *plugin.alternatives(recipe))]
    assert {item.parameters.get("quantizer") for item in offered} == {None, "static_wi8_ai8"}
    (shipped,) = [item for item in SHIPPED if item.runtime == "tflite-legacy"]
    assert "int8-dynamic" not in shipped.recipes


def test_what_is_offered_has_nothing_that_gives_garbage(folder: Path) -> None:
    for recipe in ("fp32", "int8"):
        assert garbage(file_of(folder / recipe)) is None
        check_legacy(file_of(folder / recipe))


def test_dynamic_per_channel_weights_of_fully_connected_are_refused(folder: Path) -> None:
    file = file_of(folder / "int8-dynamic")
    assert garbage(file) == "logits"
    with pytest.raises(CallerError, match="garbage") as caught:
        check_legacy(file)
    assert caught.value.code is Code.OPERATOR_UNSUPPORTED


def test_dynamic_per_tensor_weights_are_no_garbage(folder: Path) -> None:
    file = file_of(folder / "int8-dynamic")
    tensors = tuple(replace(item, scales=item.scales[:1]) for item in file.tensors)
    assert garbage(replace(file, tensors=tensors)) is None


@pytest.mark.parametrize(
    ("code", "version", "told"),
    [
        (_CONV_2D, NEWEST["CONV_2D"] + 1, "up to version 7"),
        (_GELU, NEWEST["GELU"] + 1, "up to version 2"),
        (_BITWISE_AND, 1, "has none of that name"),
        (5000, 1, "operator 5000"),
    ],
)
def test_operators_that_it_does_not_have_are_named(folder: Path, code: int, version: int, told: str) -> None:
    file = file_of(folder / "fp32")
    with pytest.raises(CallerError, match=told) as caught:
        check_legacy(with_operator(file, code, version))
    assert caught.value.code is Code.OPERATOR_UNSUPPORTED


def test_its_newest_versions_are_taken(folder: Path) -> None:
    file = file_of(folder / "fp32")
    check_legacy(with_operator(file, _CONV_2D, NEWEST["CONV_2D"]))
