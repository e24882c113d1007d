"""Detector and segmenter as the real builder makes them, for each runtime, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from modelfleet_agent.control.protocol import ModelRef
from modelfleet_agent.worker.model import read_folder
from modelfleet_build.pipeline import build
from modelfleet_build.progress import silent
from modelfleet_build.request import BuildRequest, Limits
from modelfleet_core.clock import SystemClock
from modelfleet_core.release.manifest import Precision, Task
from modelfleet_runtimes import registry
from modelfleet_runtimes.binding import FloatArray

from tests.runtimes.scenes import DETECTOR, SEGMENTER, scenes

CLASSES = {"onnxruntime": "x86-onnxruntime", "openvino": "x86-openvino", "litert": "arm-litert"}
Built = Callable[..., ModelRef]
_QUICK = Limits(rounds=3, calls_per_round=2, latency_s=0.5)
_GOLDEN = 8


def library(folder: Path) -> Built:
    """`built(Task.DETECTION)`, `built(Task.SEGMENTATION, "litert")`, `built(Task.DETECTION, blind=True)`."""
    releases: dict[tuple[Task, bool], dict[str, ModelRef]] = {}

    def built(task: Task, runtime: str = "onnxruntime", *, blind: bool = False) -> ModelRef:
        key = (task, blind)
        if key not in releases:
            releases[key] = _release(folder / f"{task.value}{'-blind' if blind else ''}", task, blind)
        return releases[key][runtime]

    return built


def answers(ref: ModelRef, inputs: FloatArray) -> dict[str, FloatArray]:
    """All outputs of a variant, image by image."""
    _, variant, contract = read_folder(Path(ref.folder), ref.variant)
    session = registry.load(variant.runtime.name).open(Path(ref.folder), variant.entry, contract, 1)
    rows = [session.run({"image": inputs[i : i + 1]}) for i in range(len(inputs))]
    session.close()
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _release(folder: Path, task: Task, blind: bool) -> dict[str, ModelRef]:
    folder.mkdir()
    fields = ("boxes", "classes") if task is Task.DETECTION else ("masks",)
    for name, rows in (("validation", slice(0, 12)), ("golden", slice(12, 12 + _GOLDEN))):
        arrays: dict[str, Any] = {key: scenes()[key][rows] for key in ("images", *fields)}
        np.savez(folder / f"{name}.npz", **arrays)
    source = DETECTOR if task is Task.DETECTION else SEGMENTER
    if blind:
        onnx.save(_blinded(onnx.load(source)), folder / "blind.onnx")
        source = folder / "blind.onnx"
    request = BuildRequest(
        model=source,
        name=task.value,
        version="1.1" if blind else "1.0",
        classes=tuple(CLASSES.values()),
        validation=folder / "validation.npz",
        golden=folder / "golden.npz",
        output=folder / "release",
        task=task,
        precisions=(Precision.FP32,),
        limits=_QUICK,
    )
    result = build(request, silent, SystemClock())
    assert result.manifest is not None
    assert result.release is not None
    found: dict[str, ModelRef] = {}
    for variant in result.manifest.variants:
        place = folder / "release" / "variants" / variant.name
        reference = result.manifest.reference()
        found[variant.runtime.name] = ModelRef(result.release, reference, variant.name, str(place))
    assert sorted(found) == sorted(CLASSES)
    return found


def _blinded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The detector with every object's score pushed down: it overlooks what it was not sure of."""
    maker = {output: node for node in model.graph.node for output in node.output}
    last = maker[next(node for node in model.graph.node if node.op_type == "Sigmoid").input[0]]
    for tensor in model.graph.initializer:
        if tensor.name == last.input[2]:
            lower = numpy_helper.to_array(tensor) - np.float32(2.0)
            tensor.CopyFrom(numpy_helper.from_array(lower, tensor.name))
            return model
    raise AssertionError("the heatmap's bias was not found")
