"""What each TFLite recipe makes of trained models of three tasks, against onnxruntime."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from modelfleet_build import tflite
from modelfleet_build.arrays import write_inputs
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import ConvertJob, Job
from modelfleet_build.optimizers import tflite_quantising
from modelfleet_build.optimizers.litert import plugin
from modelfleet_build.port import Converted
from modelfleet_build.registry import recipe_of
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.contract import DType
from modelfleet_runtimes import registry
from modelfleet_runtimes.tflite_file import FLOAT32, INT8, TfliteFile

from .edge import SOURCES, Material, converted, file_of, materials

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

Answers = dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Material]:
    return {item.name: item for item in materials(tmp_path_factory.mktemp("materials"))}


def parent(material: Material) -> Answers:
    session = onnxruntime.InferenceSession(str(material.model), providers=["CPUExecutionProvider"])
    names = [item.name for item in material.facts.outputs]
    found = session.run(names, {"image": material.images})
    return {name: np.asarray(value, np.float32) for name, value in zip(names, found, strict=True)}


def answers(folder: Path, made: Converted, material: Material) -> Answers:
    session = registry.load("litert").open(folder, made.entry, made.contract)
    given = session.run({"image": material.images})
    session.close()
    return given


def worst(got: Answers, wanted: Answers) -> float:
    """Largest error of any output, as a share of that output's largest value."""
    return max(float(np.abs(got[name] - wanted[name]).max() / np.abs(wanted[name]).max()) for name in wanted)


@pytest.mark.parametrize(
    ("recipe", "bound", "share"),
    [("fp32", 1e-5, 1.0), ("fp16", 5e-3, 0.54), ("int8", 0.15, 0.42), ("int8-dynamic", 0.12, 0.36)],
)
@pytest.mark.parametrize("name", SOURCES)
def test_answers_and_size(
    every: dict[str, Material], tmp_path: Path, name: str, recipe: str, bound: float, share: float
) -> None:
    material = every[name]
    made = converted(plugin, recipe, material, tmp_path / "v")
    got, wanted = answers(tmp_path / "v", made, material), parent(material)
    assert list(got) == list(wanted)
    assert worst(got, wanted) < bound
    floats = converted(plugin, "fp32", material, tmp_path / "f")
    size = (tmp_path / "v" / made.entry).stat().st_size / (tmp_path / "f" / floats.entry).stat().st_size
    assert size <= share


@pytest.mark.parametrize("name", SOURCES)
def test_full_int8_binds_every_output_with_a_scale_of_its_own(
    every: dict[str, Material], tmp_path: Path, name: str
) -> None:
    made = converted(plugin, "int8", every[name], tmp_path / "v")
    physical = [item.physical for item in (*made.contract.inputs, *made.contract.outputs)]
    assert {item.dtype for item in physical} == {DType.INT8}
    scales = [item.scale for item in physical]
    assert len(set(scales)) == len(scales)
    assert made.contract.logical() == (every[name].facts.inputs, every[name].facts.outputs)


def test_weights_have_a_scale_for_each_channel(every: dict[str, Material], tmp_path: Path) -> None:
    """Per-tensor weights of depthwise convolutions answer with garbage in every interpreter."""
    for recipe in ("int8", "int8-dynamic"):
        converted(plugin, recipe, every["digits"], tmp_path / recipe)
        weights = weights_of(file_of(tmp_path / recipe))
        assert weights
        assert all(scales > 1 for scales in weights), recipe


def weights_of(file: TfliteFile) -> list[int]:
    return [
        len(file.tensors[operator.inputs[1]].scales)
        for operator in file.operators
        if operator.code in (3, 4, 9)
        and file.tensors[operator.inputs[1]].kind == INT8
        and file.tensors[operator.outputs[0]].shape[-1] > 1
    ]


def test_alternatives_are_other_files_and_extremes_are_the_better_ranges(
    every: dict[str, Material], tmp_path: Path
) -> None:
    material = every["masks"]
    wanted = parent(material)
    recipe = recipe_of(plugin, "int8")
    errors: dict[tuple[str, str], float] = {}
    contents = set()
    for index, item in enumerate((recipe, *plugin.alternatives(recipe))):
        folder = tmp_path / str(index)
        made = converted(plugin, "int8", material, folder, parameters=item.parameters)
        contents.add((folder / made.entry).read_bytes())
        settings = item.parameters["ranges"], item.parameters["weights"]
        errors[settings] = worst(answers(folder, made, material), wanted)
    assert len(contents) == len(errors) == 4
    assert recipe.parameters["ranges"] == "minmax"
    assert errors["minmax", "minmax"] < errors["moving average", "minmax"]


def test_alternatives_of_every_recipe() -> None:
    counts = {recipe.name: len(plugin.alternatives(recipe)) for recipe in plugin.recipes}
    assert counts == {"fp32": 0, "fp16": 0, "int8": 3, "int8-dynamic": 1}
    for recipe, other in itertools.product(plugin.alternatives(recipe_of(plugin, "int8")), repeat=2):
        assert recipe is other or recipe.parameters != other.parameters


def test_the_recipes_name_the_converter_that_made_them() -> None:
    assert {recipe.parameters["converter"] for recipe in plugin.recipes} == {tflite.VERSION}


def test_dynamic_int8_takes_and_gives_floats(every: dict[str, Material], tmp_path: Path) -> None:
    made = converted(plugin, "int8-dynamic", every["scenes"], tmp_path / "v")
    assert {item.physical.dtype for item in (*made.contract.inputs, *made.contract.outputs)} == {
        DType.FLOAT32
    }
    assert made.contract.inputs[0].physical.shape == (1, 96, 96, 1)
    assert file_of(tmp_path / "v").tensors[0].kind == FLOAT32


def test_a_calibration_that_sees_nothing_is_refused(every: dict[str, Material], tmp_path: Path) -> None:
    material = every["digits"]
    nothing = tmp_path / "nothing.npz"
    write_inputs(nothing, np.full((4, 1, 32, 32), np.nan, np.float32))
    blind = Material("blind", material.model, material.facts, nothing, material.images)
    with pytest.raises(WorldError) as caught:
        converted(plugin, "int8", blind, tmp_path / "v")
    assert caught.value.code is Code.CONVERSION_FAILED
    assert not any((tmp_path / "v").iterdir())


def test_full_int8_is_the_same_in_fresh_processes(every: dict[str, Material], tmp_path: Path) -> None:
    material = every["scenes"]
    contents = []
    for name in ("one", "two"):
        place = tmp_path / name
        for folder in (place / "files", place / "beside"):
            folder.mkdir(parents=True)
        job = ConvertJob(
            optimizer="modelfleet_build.optimizers.litert:plugin",
            model=str(material.model),
            facts=material.facts,
            recipe=recipe_of(plugin, "int8"),
            calibration=str(material.calibration),
            folder=str(place / "files"),
            beside=str(place / "beside"),
        )
        child = Job(folder=str(place), data_limit_bytes=0, convert=job)
        runner.run(child, runner.Allowance(120, 4 * 1024**3), SystemClock(), lambda text: None)
        contents.append((place / "files" / tflite_quantising.ENTRY).read_bytes())
    assert contents[0] == contents[1]
