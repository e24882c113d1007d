"""Architectures of real size without a download: those in the onnx wheel's test data, with seeded weights.

The wheel ships them with `ConstantOfShape` in place of their weights. He-normal weights make their answers
vary; they mean nothing, so these models are for time, memory and size alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, version_converter

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_OPSET = 13


def light_model(name: str, seed: int = 1) -> onnx.ModelProto:
    """`resnet50`, `squeezenet`, ... with weights, operator set 13, batch of one."""
    model = onnx.load(str(_FOLDER / f"light_{name}.onnx"))
    random = np.random.default_rng(seed)
    shapes = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    made: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    used: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape = tuple(int(n) for n in shapes[node.input[0]])
        used.add(node.input[0])
        made.append(numpy_helper.from_array(_values(node.output[0], shape, random), node.output[0]))
    kept = [item for item in model.graph.initializer if item.name not in used]
    constants = {item.name for item in [*made, *kept]}
    graph = helper.make_graph(
        nodes,
        name,
        [item for item in model.graph.input if item.name not in constants | used],
        list(model.graph.output),
        [*kept, *made],
    )
    old = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=8)
    converted: onnx.ModelProto = version_converter.convert_version(old, _OPSET)
    return converted


def _values(name: str, shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[Any]:
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:]))
        return random.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
    # Batch normalisation: a scale of one half keeps sixteen residual sums from growing without end.
    if name.endswith(("_bn_s_0", "_bn_riv_0")) or "var" in name:
        return np.full(shape, 0.5 if "_s_" in name else 1.0, np.float32)
    return random.normal(0, 0.05, shape).astype(np.float32)
