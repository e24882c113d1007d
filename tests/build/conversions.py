"""Runs one conversion in this process, or every recipe of an optimizer in a fresh one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import write_inputs
from modelfleet_build.facts import ModelFacts
from modelfleet_build.intake import take_in
from modelfleet_build.port import ConversionTask, Converted, Optimizer, Recipe
from modelfleet_build.registry import recipe_of
from modelfleet_runtimes import registry

FloatArray = npt.NDArray[np.float32]

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
MODELS = Path(__file__).parent / "models"
SOURCES = {
    "digits": DIGITS / "digits-1.1.onnx",
    "scenes": MODELS / "scenes-1.1.onnx",
    "masks": MODELS / "masks-1.0.onnx",
}


@cache
def digits() -> FloatArray:
    """The calibration images of the digits, [128, 1, 32, 32]."""
    with np.load(DIGITS / "calibration.npz", allow_pickle=False) as arrays:
        values: FloatArray = arrays["images"].astype(np.float32) / np.float32(255)
        return values


def images(model: str, count: int) -> FloatArray:
    """Real images for a model; the scenes' are made of nine digits each."""
    if model == "digits":
        return digits()[:count]
    tiles = digits()[: 9 * count].reshape(count, 3, 3, 32, 32)
    return np.ascontiguousarray(tiles.transpose(0, 1, 3, 2, 4).reshape(count, 1, 96, 96))


@dataclass(frozen=True, slots=True)
class Made:
    """A conversion: the task, and what came out of it."""

    task: ConversionTask
    converted: Converted

    @property
    def entry(self) -> Path:
        return self.task.folder / self.converted.entry

    def answers(self, optimizer: Optimizer, inputs: FloatArray) -> dict[str, FloatArray]:
        """All outputs of what the builder would measure."""
        stand_in = self.converted.stand_in
        name = stand_in.runtime if stand_in is not None else optimizer.runtime
        contract = stand_in.contract if stand_in is not None else self.converted.contract
        session = registry.load(name).open(self.task.folder, self.converted.entry, contract)
        try:
            return session.run({self.task.facts.inputs[0].name: inputs})
        finally:
            session.close()


def facts_of(source: Path, folder: Path) -> tuple[Path, ModelFacts]:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "model.onnx", take_in(source, folder / "model.onnx")


def convert(
    optimizer: Optimizer,
    recipe: str | Recipe,
    folder: Path,
    source: Path = SOURCES["digits"],
    samples: FloatArray | None = None,
    *,
    keep_float: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
) -> Made:
    """Convert a model into `folder`, which is made."""
    model, facts = facts_of(source, folder)
    write_inputs(folder / "calibration.npz", digits()[:32] if samples is None else samples)
    for name in ("files", "beside"):
        (folder / name).mkdir()
    chosen = recipe_of(optimizer, recipe) if isinstance(recipe, str) else recipe
    task = ConversionTask(
        model=model,
        facts=facts,
        recipe=replace(chosen, keep_float=tuple(sorted(keep_float))),
        calibration=folder / "calibration.npz",
        folder=folder / "files",
        beside=folder / "beside",
        options=options or {},
    )
    return Made(task, optimizer.convert(task, lambda text: None))


_EVERY_RECIPE = """
import hashlib, importlib, json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from tests.build.conversions import convert, every_recipe, folder_digest
plugin = importlib.import_module(sys.argv[1]).plugin
found = {}
for index, recipe in enumerate(every_recipe(plugin)):
    made = convert(plugin, recipe, Path(sys.argv[2]) / str(index))
    found[f"{recipe.name} {recipe.parameters}"] = folder_digest(made.task.folder)
Path(sys.argv[2], "found.json").write_text(json.dumps(found))
"""


def every_recipe(optimizer: Optimizer) -> list[Recipe]:
    return [item for recipe in optimizer.recipes for item in (recipe, *optimizer.alternatives(recipe))]


def folder_digest(folder: Path) -> str:
    parts = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    return hashlib.sha256(repr([(n, hashlib.sha256(b).hexdigest()) for n, b in parts]).encode()).hexdigest()


def digests_in_a_fresh_process(module: str, folder: Path, seed: int) -> dict[str, str]:
    """Digest of what each recipe and alternative makes, with that seed of Python's string hashes."""
    folder.mkdir()
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, sys.path))),
    }
    command = [sys.executable, "-c", _EVERY_RECIPE, module, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads((folder / "found.json").read_text())
    return found
