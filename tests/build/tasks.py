"""Whole builds of every task but classification, small enough for tests: requests and their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from modelfleet_build.request import BuildRequest
from modelfleet_core.release.manifest import Task

from .conftest import CLASSES, QUICK
from .graphs import model, node, weights
from tests.runtimes.scenes import DETECTOR, SEGMENTER, scenes

SPLITS = {"validation": slice(0, 24), "golden": slice(24, 32), "calibration": slice(32, 48)}
_SIDE = 16


def scene_request(folder: Path, task: Task) -> BuildRequest:
    """The trained detector or segmenter for the three shipped classes; data in `folder`."""
    fields = ("boxes", "classes") if task is Task.DETECTION else ("masks",)
    files: dict[str, Path] = {}
    for name, rows in SPLITS.items():
        files[name] = folder / f"{name}.npz"
        arrays: dict[str, Any] = {key: scenes()[key][rows] for key in ("images", *fields)}
        np.savez(files[name], **arrays)
    return BuildRequest(
        model=DETECTOR if task is Task.DETECTION else SEGMENTER,
        name="scenes" if task is Task.DETECTION else "masks",
        version="1.0",
        classes=CLASSES,
        output=folder / "out" / "release",
        task=task,
        max_drop_points=6.0,
        limits=QUICK,
        validation=files["validation"],
        golden=files["golden"],
        calibration=files["calibration"],
    )


def number_request(folder: Path, task: Task) -> BuildRequest:
    """A small seeded network with random images; regression targets are its own answers with noise."""
    path = folder / "numbers.onnx"
    onnx.save(_network(), path)
    files: dict[str, Path] = {}
    for seed, (name, count) in enumerate((("validation", 60), ("golden", 12), ("calibration", 24))):
        images = _images(count, seed)
        truth: dict[str, Any] = {}
        if task is Task.REGRESSION:
            exact = _answers(path, images)
            noise = np.random.default_rng(seed).normal(0, 0.05 * exact.std(), exact.shape)
            truth["targets"] = (exact + noise).astype(np.float32)
        files[name] = folder / f"{name}.npz"
        np.savez(files[name], images=images, **truth)
    return BuildRequest(
        model=path,
        name="numbers",
        version="1.0",
        classes=CLASSES,
        output=folder / "out" / "release",
        task=task,
        max_drop_points=6.0,
        limits=QUICK,
        validation=files["validation"],
        golden=files["golden"],
        calibration=files["calibration"],
    )


def _network() -> onnx.ModelProto:
    """Two outputs: twelve numbers from [N, 1, 16, 16], and a scaled copy of some of them."""
    nodes = [
        node("Conv", ["x", "w"], "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["a"], "b"),
        node("Conv", ["b", "v"], "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c"], "d"),
        node("Flatten", ["d"], "e"),
        node("Gemm", ["e", "g"], "y", transB=1),
        node("Gemm", ["e", "h"], "z", transB=1),
    ]
    flat = 8 * (_SIDE // 4) ** 2
    constants = {
        "w": weights(8, 1, 3, 3, seed=1),
        "v": weights(8, 8, 3, 3, seed=2),
        "g": weights(12, flat, seed=3) * np.float32(0.2),
        "h": weights(5, flat, seed=4) * np.float32(0.01),
    }
    shapes: list[list[int | str]] = [["N", 12], ["N", 5]]
    return model(nodes, ["N", 1, _SIDE, _SIDE], constants, outputs=["y", "z"], output_shapes=shapes)


def _images(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Blobs of unlike brightness and place, so that the answers spread."""
    random = np.random.default_rng(100 + seed)
    down, right = np.mgrid[0:_SIDE, 0:_SIDE]
    centre = random.uniform(3, 13, (count, 2, 1, 1))
    blob = np.exp(-((down - centre[:, 0]) ** 2 + (right - centre[:, 1]) ** 2) / 12)
    pixels = blob * random.uniform(80, 230, (count, 1, 1)) + random.uniform(0, 25, (count, _SIDE, _SIDE))
    return np.asarray(pixels[:, None], np.uint8)


def _answers(
    path: Path, images: np.ndarray[Any, np.dtype[np.uint8]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    network = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(network.run(["y"], {"x": images.astype(np.float32) / np.float32(255)})[0], np.float32)
