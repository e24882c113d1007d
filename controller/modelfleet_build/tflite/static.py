"""ONNX protobuf -> nodes whose shapes are all known: batch 1, functions inlined, constants folded.

Initializers are taken out of the model first, so that shape inference never copies weights. What depends on
constants alone is computed by the reference implementation that ``onnx`` ships.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from modelfleet_build.tflite.graph import Refused, Shape

Array = npt.NDArray[np.generic]
_ONNX_DOMAINS = ("", "ai.onnx")
# Up to so many elements a constant may be a shape, which inference has to see.
_SHAPE_ELEMENTS = 64
# A folded constant beyond this is no shape and no table but a model that should not be one.
_MAX_FOLDED = 1 << 26
_OLDEST_OPSET = 7
# Operators whose output is like their first input, and which shape inference leaves alone.
_LIKE_INPUT = frozenset({"GroupNormalization"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """Type of a value: ``onnx.TensorProto`` element type and shape, -1 where unknown."""

    kind: int
    shape: Shape | None


@dataclass(slots=True)
class StaticModel:
    """A model under folding.

    Attributes:
        nodes: In topological order.
        inputs: Types of the inputs, batch 1.
        outputs: Names of the outputs.
        constants: Initializers and folded values.
        types: What shape inference knows of every value.
        hints: What it does not, although it is plain.
        opset: Version of the ONNX operator set.
    """

    name: str
    nodes: list[onnx.NodeProto]
    inputs: dict[str, Tensor]
    outputs: list[onnx.ValueInfoProto]
    constants: dict[str, Array]
    types: dict[str, Tensor]
    hints: dict[str, Tensor]
    opset: int


def read(model: onnx.ModelProto) -> StaticModel:
    """Fold ``model``, which is not changed, until nothing more is constant.

    Raises:
        Refused: Its operators are older than opset 7, or shapes contradict each other.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    opset = max((item.version for item in model.opset_import if item.domain in _ONNX_DOMAINS), default=1)
    if opset < _OLDEST_OPSET:
        raise Refused(graph.name, "graph", f"opset {opset} is older than {_OLDEST_OPSET}; convert it first")
    constants: dict[str, Array] = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    inputs = {item.name: _with_batch_one(item) for item in graph.input if item.name not in constants}
    outputs = list(graph.output)
    static = StaticModel(graph.name, list(graph.node), inputs, outputs, constants, {}, {}, opset)
    _infer(static)
    while _fold(static):
        _infer(static)
    return static


def _with_batch_one(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    shape = [item.dim_value if item.HasField("dim_value") else -1 for item in tensor.shape.dim]
    return Tensor(tensor.elem_type, tuple([1, *shape[1:]]) if shape else ())


def _infer(static: StaticModel) -> None:
    """Infer every type on a model whose weights are inputs without data."""
    values = dict(static.inputs)
    small: list[onnx.TensorProto] = []
    read_by_nodes = {name for node in static.nodes for name in _read(node)}
    for name, array in static.constants.items():
        if name not in read_by_nodes:
            continue
        if array.size <= _SHAPE_ELEMENTS:
            small.append(numpy_helper.from_array(np.asarray(array), name))
        else:
            values[name] = Tensor(helper.np_dtype_to_tensor_dtype(array.dtype), tuple(array.shape))
    known = {name for node in static.nodes for name in node.output}
    graph = helper.make_graph(
        static.nodes,
        static.name or "graph",
        [_value_info(name, tensor) for name, tensor in values.items()],
        [_without_shape(item) for item in static.outputs if item.name in known - static.hints.keys()],
        small,
        value_info=[_value_info(name, tensor) for name, tensor in static.hints.items()],
    )
    imports = [helper.make_opsetid("", static.opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in _foreign(static.nodes)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=10)
    try:
        inferred = shape_inference.infer_shapes(made, check_type=True, strict_mode=True, data_prop=True).graph
    except shape_inference.InferenceError as error:
        what = " ".join(str(error).split())[:300]
        raise Refused(static.name, "graph", f"shapes cannot be inferred for one sample: {what}") from error
    static.types = dict(static.inputs)
    for item in (*inferred.value_info, *inferred.output):
        tensor = item.type.tensor_type
        shape = (
            tuple(int(size.dim_value) if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
            if tensor.HasField("shape")
            else None
        )
        static.types[item.name] = Tensor(tensor.elem_type, shape)
    static.types.update(static.hints)
    fresh = {
        node.output[0]: static.types[node.input[0]]
        for node in static.nodes
        if node.op_type in _LIKE_INPUT
        and node.output[0] not in static.hints
        and node.input[0] in static.types
    }
    known_now = {name: tensor for name, tensor in fresh.items() if tensor.shape is not None}
    if known_now:
        static.hints.update(known_now)
        _infer(static)


def _fold(static: StaticModel) -> bool:
    """Replace nodes by the constants they compute; whether there was one."""
    left: list[onnx.NodeProto] = []
    changed = False
    for node in static.nodes:
        if node.op_type == "If" and node.input[0] in static.constants:
            left += _taken_branch(node, bool(static.constants[node.input[0]].reshape(())))
            changed = True
            continue
        values = _computed(static, node)
        if values is None:
            left.append(node)
            continue
        static.constants.update(values)
        # A constant that inference has seen already brings it no news.
        changed = changed or node.op_type != "Constant"
    fresh = len(left) != len(static.nodes)
    static.nodes = left
    return changed or fresh


def _computed(static: StaticModel, node: onnx.NodeProto) -> dict[str, Array] | None:
    """The outputs of ``node`` where they are constant."""
    if node.op_type in ("Shape", "Size") and node.domain in _ONNX_DOMAINS:
        known = static.types.get(node.input[0])
        if known is None or known.shape is None or min(known.shape, default=1) < 1:
            return None
        feeds: dict[str, Array] = {node.input[0]: np.broadcast_to(np.float32(0), known.shape)}
    elif any(name and name not in static.constants for name in _read(node)):
        return None
    else:
        feeds = {name: static.constants[name] for name in node.input if name}
    if node.domain not in _ONNX_DOMAINS or node.op_type.startswith("Random") or node.op_type == "Bernoulli":
        return None
    graph = helper.make_graph(
        [node],
        "constant",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(item.dtype), None)
            for name, item in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", static.opset)])
    try:
        results = ReferenceEvaluator(made).run(None, feeds)
    except Exception:  # the evaluator raises whatever its NumPy code raises; such a node stays, to be refused
        return None
    found = {
        name: np.asarray(item) for name, item in zip([n for n in node.output if n], results, strict=True)
    }
    return found if sum(item.size for item in found.values()) <= _MAX_FOLDED else None


def _taken_branch(node: onnx.NodeProto, condition: bool) -> list[onnx.NodeProto]:
    """The nodes of the branch of an ``If`` that a constant condition takes, under the names of the ``If``."""
    wanted = "then_branch" if condition else "else_branch"
    branch = next(item.g for item in node.attribute if item.name == wanted)
    constants = [
        helper.make_node("Constant", [], [item.name], value=item, name=item.name)
        for item in branch.initializer
    ]
    renaming = [
        helper.make_node("Identity", [inner.name], [outer], name=f"{node.name}:{outer}")
        for inner, outer in zip(branch.output, node.output, strict=True)
    ]
    return [*constants, *branch.node, *renaming]


def _read(node: onnx.NodeProto) -> list[str]:
    """Everything that a node reads, subgraphs included."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inner = {name for item in graph.node for name in item.output} | {
                item.name for item in graph.initializer
            }
            inner |= {item.name for item in graph.input}
            names += [name for item in graph.node for name in _read(item) if name not in inner]
            names += [item.name for item in graph.output if item.name not in inner]
    return names


def _foreign(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    return sorted({node.domain for node in nodes} - set(_ONNX_DOMAINS))


def _value_info(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    shape = (
        None
        if tensor.shape is None
        else [size if size >= 0 else f"{name}_{i}" for i, size in enumerate(tensor.shape)]
    )
    return helper.make_tensor_value_info(name, tensor.kind, shape)


def _without_shape(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
