"""Nine full-size architectures with seeded weights, made of what ships inside the onnx wheel.

The wheel holds the graphs of well-known image classifiers whose weights are `ConstantOfShape`. Here they get
He-initialised ones, so that activations neither vanish nor explode and outputs vary. They know nothing: take
them for size, operator coverage and speed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.backend.test
from onnx import numpy_helper

NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
INPUT_SHAPE = (1, 3, 224, 224)

FloatArray = npt.NDArray[np.float32]


def architecture(name: str, seed: int = 7) -> onnx.ModelProto:
    """One of `NAMES` with float32 weights of its full size; the same seed gives the same bytes."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    graph = model.graph
    given = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    roles = _roles(graph)
    random = np.random.default_rng(seed)
    kept: list[onnx.NodeProto] = []
    made: list[onnx.TensorProto] = []
    gone: set[str] = set()
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(int(size) for size in given[node.input[0]])
            gone.add(node.input[0])
            values = _weights(random, roles.get(node.output[0], ""), shape)
            made.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    names = set(given)
    left = [item for item in graph.initializer if item.name not in gone]
    inputs = [item for item in graph.input if item.name not in names]
    for field, items in ((graph.node, kept), (graph.initializer, [*left, *made]), (graph.input, inputs)):
        copies = list(items)
        del field[:]
        field.extend(copies)
    model.ir_version = 8
    return model


def image(seed: int = 5) -> FloatArray:
    """An input of unit variance, [1, 3, 224, 224]."""
    return np.random.default_rng(seed).normal(0, 1, INPUT_SHAPE).astype(np.float32)


def _roles(graph: onnx.GraphProto) -> dict[str, str]:
    """What each weight is for, as `operator:position`; looked up through what only reshapes it."""
    readers: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            readers.setdefault(name, (node, position))
    roles: dict[str, str] = {}
    for name in readers:
        node, position = readers[name]
        while node.op_type in ("Unsqueeze", "Reshape") and node.output[0] in readers:
            node, position = readers[node.output[0]]
        branch = node.op_type == "BatchNormalization" and _ends_branch(node, readers)
        roles[name] = f"{node.op_type}:{position}{':branch' if branch else ''}"
    return roles


def _ends_branch(node: onnx.NodeProto, readers: dict[str, tuple[onnx.NodeProto, int]]) -> bool:
    """Whether a normalisation is the last of a residual branch."""
    return node.output[0] in readers and readers[node.output[0]][0].op_type in ("Sum", "Add")


def _weights(random: np.random.Generator, role: str, shape: tuple[int, ...]) -> FloatArray:
    if role in ("Conv:1", "Gemm:1", "MatMul:1"):
        fan_in = int(np.prod(shape[1:]))
        return random.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
    if role == "BatchNormalization:1:branch":
        # Quarter of the skip's size, or sixteen residual blocks would double the variance sixteen times.
        return random.uniform(0.2, 0.3, shape).astype(np.float32)
    if role in (
        "BatchNormalization:1",
        "BatchNormalization:4",
        "BatchNormalization:4:branch",
        "Mul:0",
        "Mul:1",
    ):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    return random.normal(0, 0.05, shape).astype(np.float32)
