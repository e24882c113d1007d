"""TFLite Micro on the host: operators it lacks, the arena it takes, and its answers beside LiteRT's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelfleet_build.budget import judge_limits
from modelfleet_build.facts import float_contract
from modelfleet_build.optimizers.litert import plugin as litert_optimizer
from modelfleet_build.optimizers.tflite_quantising import TfliteVariant
from modelfleet_build.optimizers.tflm import arena_bytes, plugin
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Measurements
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_runtimes import registry
from modelfleet_runtimes.tflm import arena_room

from .edge import SOURCES, Material, converted, file_of, material_of, materials, tflm
from .graphs import model, node, weights

pytestmark = [tflm, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Material]:
    return {item.name: item for item in materials(tmp_path_factory.mktemp("materials"))}


@pytest.mark.parametrize("name", SOURCES)
def test_it_answers_as_litert_does(every: dict[str, Material], tmp_path: Path, name: str) -> None:
    material = every[name]
    made = converted(plugin, "int8", material, tmp_path / "v")
    answers = []
    for runtime in ("tflm", "litert"):
        session = registry.load(runtime).open(tmp_path / "v", made.entry, made.contract)
        answers.append(session.run({"image": material.images[:8]}))
        session.close()
    for binding in made.contract.outputs:
        one, two = (answer[binding.logical.name] for answer in answers)
        assert binding.physical.scale is not None
        # Reference kernels round otherwise than XNNPACK; a few steps may add up over fifty operators.
        assert np.mean(np.abs(one - two) > 3.5 * binding.physical.scale) < 0.02
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.99


def test_the_arena_is_what_the_interpreter_takes(every: dict[str, Material], tmp_path: Path) -> None:
    """With that arena the model runs; with a kilobyte less it does not."""
    from tflite_micro.python.tflite_micro import runtime

    made = converted(plugin, "int8", every["digits"], tmp_path / "v")
    assert made.arena_bytes is not None
    assert 20_000 < made.arena_bytes < 60_000
    data = (tmp_path / "v" / made.entry).read_bytes()
    runtime.Interpreter.from_bytes(data, arena_size=made.arena_bytes + 1024).invoke()
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(data, arena_size=made.arena_bytes - 1024)


def test_the_class_refuses_what_does_not_fit_its_arena(every: dict[str, Material], tmp_path: Path) -> None:
    shipped = next(item.limits for item in SHIPPED if item.name == "mcu-tflm")
    assert shipped.arena_bytes is not None
    small = replace(shipped, arena_bytes=512 * 1024)
    verdicts = {}
    for name, material in every.items():
        made = converted(plugin, "int8", material, tmp_path / name)
        size = (tmp_path / name / made.entry).stat().st_size
        measured = Measurements("top1", 1.0, 1.0, 0.0, 1.0, size, 10, arena_bytes=made.arena_bytes)
        assert judge_limits(measured, shipped, ("armv8m",), "x86_64") is None
        verdicts[name] = judge_limits(measured, small, ("armv8m",), "x86_64")
    assert verdicts["digits"] is None
    assert verdicts["scenes"] is None
    assert verdicts["masks"] is not None
    assert verdicts["masks"].code is Code.LIMIT_EXCEEDED
    assert "arena" in verdicts["masks"].reason


def test_room_is_always_more_than_the_arena(every: dict[str, Material], tmp_path: Path) -> None:
    for recipe in ("int8", "fp32"):
        for name, material in every.items():
            made = converted(plugin, recipe, material, tmp_path / f"{name}-{recipe}")
            assert made.arena_bytes is not None
            assert arena_room(file_of(tmp_path / f"{name}-{recipe}")) > made.arena_bytes


def test_what_is_measured_is_the_file_itself_without_its_time(
    every: dict[str, Material], tmp_path: Path
) -> None:
    made = converted(plugin, "int8", every["digits"], tmp_path / "v")
    assert made.stand_in is not None
    assert (made.stand_in.runtime, made.stand_in.shipped) == ("tflm", True)
    assert "reference kernels" in made.notes[0]


def test_an_operator_that_it_lacks_is_named(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], "c"), node("Tile", ["c", "r"])]
    constants = {"w": weights(4, 4, 1, 1), "r": np.asarray([1, 1, 2, 1], np.int64)}
    graph = model(nodes, ["N", 4, 8, 8], constants)
    material = material_of(graph, tmp_path / "m")
    for recipe in ("fp32", "int8"):
        with pytest.raises(CallerError, match="has no operator TILE") as caught:
            converted(plugin, recipe, material, tmp_path / recipe)
        assert caught.value.code is Code.OPERATOR_UNSUPPORTED
        assert not any((tmp_path / recipe).iterdir())


def test_a_form_that_it_lacks_is_told_in_its_own_words(every: dict[str, Material], tmp_path: Path) -> None:
    folder = tmp_path / "v"
    made = converted(litert_optimizer, "int8-dynamic", every["digits"], folder)
    data = (folder / made.entry).read_bytes()
    with pytest.raises(CallerError, match="Hybrid models are not supported") as caught:
        arena_bytes(TfliteVariant(data, file_of(folder), made.contract), tmp_path)
    assert caught.value.code is Code.OPERATOR_UNSUPPORTED
    with pytest.raises(WorldError) as refused:
        registry.load("tflm").open(folder, made.entry, made.contract)
    assert refused.value.code is Code.MODEL_LOAD_FAILED


def test_standard_error_is_given_back(every: dict[str, Material], tmp_path: Path) -> None:
    before = os.fstat(2)
    converted(plugin, "int8", every["digits"], tmp_path / "v")
    after = os.fstat(2)
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)


def test_a_contract_of_another_model_is_refused(every: dict[str, Material], tmp_path: Path) -> None:
    made = converted(plugin, "fp32", every["digits"], tmp_path / "v")
    other = float_contract(every["scenes"].facts, layout=Layout.NHWC, batch=1)
    with pytest.raises(WorldError) as caught:
        registry.load("tflm").open(tmp_path / "v", made.entry, replace(other))
    assert caught.value.code is Code.CONTRACT_MISMATCH
