"""A model that per-tensor int8 destroys at one place: the float answers are those of digits-1.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

VALUE = "spiked"
"""The value whose range one channel blows up; its writer and its reader have to stay in float."""
NODES = ("logits", VALUE)


def spike(source: Path, target: Path, factor: float = 4000.0) -> Path:
    """Multiply one of the features before the classifier by `factor`, and divide its weights by it.

    In float nothing changes. In int8 one step of the features becomes larger than all others together.
    """
    model = onnx.load(str(source))
    head = next(node for node in model.graph.node if node.op_type == "Gemm")
    weights = next(item for item in model.graph.initializer if item.name == head.input[1])
    values = np.array(numpy_helper.to_array(weights))
    columns = values if next(a.i for a in head.attribute if a.name == "transB") else values.T
    scale = np.ones(columns.shape[1], np.float32)
    scale[0] = factor
    columns /= scale
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    model.graph.initializer.append(numpy_helper.from_array(scale, "spike"))
    position = list(model.graph.node).index(head)
    model.graph.node.insert(position, helper.make_node("Mul", [head.input[0], "spike"], [VALUE], "spike"))
    head.input[0] = VALUE
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return target
