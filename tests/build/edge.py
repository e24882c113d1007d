"""Trained models of three tasks with data, for what makes and runs TFLite files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from modelfleet_build.arrays import write_inputs
from modelfleet_build.facts import ModelFacts
from modelfleet_build.intake import take_in
from modelfleet_build.port import ConversionTask, Converted, Optimizer
from modelfleet_build.registry import recipe_of
from modelfleet_runtimes.registry import installed_version
from modelfleet_runtimes.tflite_file import TfliteFile, read_tflite

tflm = pytest.mark.skipif(
    installed_version("tflite-micro") is None, reason="tflite-micro has no wheel for this machine"
)
EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
MODELS = Path(__file__).parent / "models"
SOURCES = {
    "digits": EXAMPLES / "digits-1.1.onnx",
    "scenes": MODELS / "scenes-1.1.onnx",
    "masks": MODELS / "masks-1.0.onnx",
}
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Material:
    """A model as the builder sees it, and images [n, 1, side, side], float32, 0 to 1."""

    name: str
    model: Path
    facts: ModelFacts
    calibration: Path
    images: npt.NDArray[np.float32]


def materials(folder: Path, names: tuple[str, ...] = tuple(SOURCES)) -> Iterator[Material]:
    """The models of these names, with 48 calibration images; digits, tiled where the model takes more."""
    for name in names:
        place = folder / name
        place.mkdir(parents=True)
        facts = take_in(SOURCES[name], place / "model.onnx").with_range(0.0, 1.0)
        write_inputs(place / "calibration.npz", images("calibration", facts, 48))
        yield Material(
            name, place / "model.onnx", facts, place / "calibration.npz", images("validation", facts, 100)
        )


def images(name: str, facts: ModelFacts, count: int) -> npt.NDArray[np.float32]:
    with np.load(EXAMPLES / f"{name}.npz", allow_pickle=False) as arrays:
        digits = arrays["images"][:count].astype(np.float32) / np.float32(255)
    times = facts.inputs[0].shape[-1] // digits.shape[-1]
    return np.tile(digits, (1, 1, times, times))


def converted(
    optimizer: Optimizer,
    recipe: str,
    material: Material,
    folder: Path,
    *,
    options: Mapping[str, str] = NO_OPTIONS,
    keep_float: tuple[str, ...] = (),
    parameters: Mapping[str, str] | None = None,
) -> Converted:
    """Run a conversion in this process; its files are in `folder`, those beside them in `folder`-beside."""
    beside = folder.with_name(folder.name + "-beside")
    folder.mkdir(parents=True)
    beside.mkdir()
    chosen = replace(recipe_of(optimizer, recipe), keep_float=keep_float)
    if parameters is not None:
        chosen = replace(chosen, parameters=dict(parameters))
    task = ConversionTask(
        model=material.model,
        facts=material.facts,
        recipe=chosen,
        calibration=material.calibration,
        folder=folder,
        beside=beside,
        options=options,
    )
    return optimizer.convert(task, lambda text: None)


def material_of(graph: onnx.ModelProto, folder: Path) -> Material:
    """A graph with the input `x` [n, channels, side, side], and random images for it."""
    folder.mkdir(parents=True)
    onnx.save(graph, str(folder / "given.onnx"))
    facts = take_in(folder / "given.onnx", folder / "model.onnx")
    random = np.random.default_rng(7)
    data = random.random((24, *facts.inputs[0].shape[1:]), np.float32)
    write_inputs(folder / "calibration.npz", data)
    return Material("graph", folder / "model.onnx", facts, folder / "calibration.npz", data)


def file_of(folder: Path) -> TfliteFile:
    """What a variant's file says of itself."""
    return read_tflite((folder / "model.tflite").read_bytes())
