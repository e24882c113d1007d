"""ONNX protobuf -> ``Graph``, and the rewrites that leave less of it to convert.

What cannot be made static or has a type that TFLite models are not made of is refused by the name of its
node; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from modelfleet_build.tflite.affine import fold_affines
from modelfleet_build.tflite.graph import Attribute, Constant, Graph, Kind, Node, Refused, Shape
from modelfleet_build.tflite.patterns import absorb_pads, add_biases, name_activations
from modelfleet_build.tflite.static import Array, StaticModel, read

_NO_OPS = frozenset({"Identity", "Dropout"})
_ONNX_DOMAINS = ("", "ai.onnx")
_KINDS: Mapping[int, Kind] = {
    onnx.TensorProto.FLOAT: Kind.FLOAT32,
    onnx.TensorProto.INT32: Kind.INT32,
    onnx.TensorProto.INT64: Kind.INT64,
    onnx.TensorProto.BOOL: Kind.BOOL,
}


def canonicalise(model: onnx.ModelProto) -> Graph:
    """Read ``model`` with its batch dimension fixed to 1, and rewrite it to what converts best.

    Args:
        model: A checked ONNX model whose data is inside the file. It is not changed.

    Raises:
        Refused: A value has a foreign type, a shape stays unknown, or a node is of a foreign domain.
    """
    graph = _without_dead_nodes(_graph(read(model)))
    for rewrite in (name_activations, fold_affines, add_biases, absorb_pads):
        graph = rewrite(graph)
    return _without_dead_nodes(graph)


def _graph(static: StaticModel) -> Graph:
    outputs = tuple(item.name for item in static.outputs)
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for proto in _needed(static, outputs):
        node = _node(proto, renamed)
        if _is_no_op(static, node) and node.output not in outputs:
            renamed[node.output] = node.inputs[0]
        else:
            nodes.append(node)
    constants = {
        name: static.constants[name] for node in nodes for name in node.inputs if name in static.constants
    }
    shapes, kinds = _types(static, nodes, outputs)
    inputs = tuple(static.inputs)
    return Graph(tuple(nodes), inputs, outputs, shapes, _constants(nodes, constants), kinds, static.opset)


def _needed(static: StaticModel, outputs: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes that some output depends on."""
    read_names, needed = set(outputs), list[onnx.NodeProto]()
    for proto in reversed(static.nodes):
        if read_names & set(proto.output):
            needed.append(proto)
            read_names |= set(proto.input)
    return needed[::-1]


def _without_dead_nodes(graph: Graph) -> Graph:
    read_names, needed = set(graph.outputs), list[Node]()
    for node in reversed(graph.nodes):
        if read_names & set(node.outputs):
            needed.append(node)
            read_names |= set(node.inputs)
    return graph.with_nodes(needed[::-1])


def _is_no_op(static: StaticModel, node: Node) -> bool:
    if node.op == "Cast":
        before, after = static.types.get(node.inputs[0]), static.types.get(node.output)
        return before is not None and after is not None and before.kind == after.kind
    if node.op == "Dropout":
        training = static.constants.get(node.inputs[2]) if node.has_input(2) else None
        if (node.has_input(2) and training is None) or (training is not None and bool(training.reshape(()))):
            raise node.refuse("training mode cannot be converted")
    return node.op in _NO_OPS


def _node(proto: onnx.NodeProto, renamed: Mapping[str, str]) -> Node:
    name = proto.name or proto.output[0]
    if proto.domain not in _ONNX_DOMAINS:
        raise Refused(name, proto.op_type, f"operators of the domain {proto.domain!r} are not supported")
    attributes = {item.name: _attribute(name, proto.op_type, item) for item in proto.attribute}
    inputs = tuple(renamed.get(item, item) for item in proto.input)
    return Node(name, proto.op_type, inputs, tuple(proto.output), attributes)


def _attribute(node: str, op: str, proto: onnx.AttributeProto) -> Attribute:
    kinds = onnx.AttributeProto
    if proto.type == kinds.INT:
        return int(proto.i)
    if proto.type == kinds.FLOAT:
        return float(proto.f)
    if proto.type == kinds.STRING:
        return proto.s.decode("utf-8", "replace")
    if proto.type == kinds.INTS:
        return tuple(int(item) for item in proto.ints)
    if proto.type == kinds.FLOATS:
        return tuple(float(item) for item in proto.floats)
    raise Refused(node, op, f"attribute {proto.name} has a type that cannot be converted")


def _constants(nodes: list[Node], constants: Mapping[str, Array]) -> dict[str, Constant]:
    reader = {name: node for node in reversed(nodes) for name in node.inputs}
    return {name: _constant(reader[name], name, value) for name, value in constants.items()}


def _constant(node: Node, name: str, value: Array) -> Constant:
    if value.dtype == np.float32:
        return np.asarray(value, np.float32, order="C")
    if value.dtype == np.bool_:
        return np.asarray(value, np.bool_, order="C")
    if value.dtype in (np.dtype(np.int64), np.dtype(np.int32)):
        return value.astype(np.int64)
    raise node.refuse(f"its constant {name!r} is {value.dtype}, expected float32, int64 or bool")


def _types(
    static: StaticModel, nodes: list[Node], outputs: tuple[str, ...]
) -> tuple[dict[str, Shape], dict[str, Kind]]:
    """Shape of every value that somebody reads, and element type where it is not float32."""
    readers = {name for node in nodes for name in node.inputs} | set(outputs)
    wanted = [(name, "graph input", name) for name in static.inputs]
    wanted += [(name, node.op, node.name) for node in nodes for name in node.outputs if name in readers]
    shapes: dict[str, Shape] = {}
    kinds: dict[str, Kind] = {}
    for name, op, node_name in wanted:
        tensor = static.types.get(name)
        if tensor is None or tensor.shape is None:
            raise Refused(node_name, op, f"the shape of its output {name!r} cannot be inferred")
        if any(item < 1 for item in tensor.shape):
            raise Refused(node_name, op, f"the shape of {name!r} is not static: {list(tensor.shape)}")
        kind = _KINDS.get(tensor.kind)
        if kind is None:
            found = onnx.TensorProto.DataType.Name(tensor.kind)
            raise Refused(
                node_name, op, f"{name!r} is {found}, only float32, integers and bool can be converted"
            )
        shapes[name] = tensor.shape
        if kind is not Kind.FLOAT32:
            kinds[name] = kind
    return shapes, kinds
