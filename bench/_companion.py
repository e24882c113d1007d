"""Makes the torch.export program of one of the example models, for the ExecuTorch rows of the variants page.

Runs in the isolated environment `torch`: `PYTHON bench/_companion.py MODEL.onnx MODEL.pt2`. The example
models were trained with torch and kept as ONNX; this rebuilds their graphs, with their weights, from the
operators that they have and no others.
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# mypy: ignore-errors
# The interpreter that type checks this has no torch.

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional


class Network(nn.Module):
    """An ONNX graph as torch modules."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        constants = {item.name: numpy_helper.to_array(item).copy() for item in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).copy()
        self.steps: list[tuple[str, str, list[str], str, dict[str, object]]] = []
        for index, node in enumerate(graph.node):
            given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            name = ""
            if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
                name = f"m{index}"
                self.add_module(name, _module(node, given, constants))
            if node.op_type == "Resize":
                given["scales"] = [float(item) for item in constants[node.input[2]][2:]]
            values = [item for item in node.input if item and item not in constants]
            if node.op_type != "Constant":
                self.steps.append((node.op_type, name, values, node.output[0], given))
        self.source = next(item.name for item in graph.input if item.name not in constants)
        self.targets = [item.name for item in graph.output]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Every output of the graph."""
        values = {self.source: image}
        for operator, module, inputs, output, given in self.steps:
            value = values[inputs[0]]
            if module:
                value = getattr(self, module)(value)
            elif operator == "Clip":
                value = functional.relu6(value)
            elif operator == "Relu":
                value = functional.relu(value)
            elif operator == "Sigmoid":
                value = torch.sigmoid(value)
            elif operator == "Add":
                value = value + values[inputs[1]]
            elif operator == "Concat":
                value = torch.cat([values[item] for item in inputs], given["axis"])
            elif operator == "MaxPool":
                value = functional.max_pool2d(value, given["kernel_shape"], given["strides"])
            elif operator == "GlobalAveragePool":
                value = value.mean((2, 3), keepdim=True)
            elif operator == "Flatten":
                value = value.flatten(1)
            elif operator == "Resize":
                linear = given["mode"] == b"linear"
                value = functional.interpolate(
                    value,
                    scale_factor=given["scales"],
                    mode="bilinear" if linear else "nearest",
                    align_corners=False if linear else None,
                )
            else:
                raise NotImplementedError(operator)
            values[output] = value
        return tuple(values[item] for item in self.targets)


def _module(
    node: onnx.NodeProto, given: dict[str, Any], constants: Mapping[str, npt.NDArray[Any]]
) -> nn.Module:
    weight = torch.from_numpy(constants[node.input[1]])
    if node.op_type == "Gemm":
        made: nn.Module = nn.Linear(weight.shape[1], weight.shape[0])
    elif node.op_type == "Conv":
        out, inside, *kernel = weight.shape
        group = given.get("group", 1)
        made = nn.Conv2d(inside * group, out, kernel, given["strides"], given["pads"][:2], groups=group)
    else:
        inside, out, *kernel = weight.shape
        made = nn.ConvTranspose2d(inside, out, kernel, given["strides"], given["pads"][:2])
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(torch.from_numpy(constants[node.input[2]]))
    return made


def main(source: str, target: str) -> None:
    """Write the program, with a free batch dimension."""
    graph = onnx.load(source).graph
    network = Network(graph).eval()
    shape = [item.dim_value for item in graph.input[0].type.tensor_type.shape.dim][1:]
    batch = torch.export.Dim("N", min=1, max=4096)
    # A size of 1 would be taken for a constant.
    program = torch.export.export(network, (torch.zeros(2, *shape),), dynamic_shapes=({0: batch},))
    torch.export.save(program, target)


if __name__ == "__main__":
    main(*sys.argv[1:3])
