"""ONNX protobuf -> ``Graph``: batch 1, static shapes, constants gathered, no-ops gone.

What cannot be made static or is not float32 is refused by the name of its node; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from modelfleet_build.tflite.graph import Attribute, Constant, Graph, Node, Refused, Shape

Simplify = Callable[[onnx.ModelProto], onnx.ModelProto]

_NO_OPS = frozenset({"Identity", "Dropout"})
# Operators that a training exporter leaves behind and a simplifier folds away.
_NEEDS_SIMPLIFYING = frozenset(
    {"Shape", "ConstantOfShape", "Gather", "Range", "Expand", "If", "Where", "BatchNormalization", "Size"}
)
_ONNX_DOMAINS = ("", "ai.onnx")


def canonicalise(model: onnx.ModelProto, simplify: Simplify | None = None) -> Graph:
    """Read ``model`` with its batch dimension fixed to 1.

    Args:
        model: A checked ONNX model whose data is inside the file. It is not changed.
        simplify: Folds constants and batch normalisation; called only where the model has operators that
            need it.

    Raises:
        Refused: A value is not float32, a shape stays unknown, or a node is of a foreign domain.
    """
    single = _with_batch_one(model)
    if simplify is not None and any(node.op_type in _NEEDS_SIMPLIFYING for node in single.graph.node):
        single = simplify(single)
    try:
        graph = shape_inference.infer_shapes(single, check_type=True, strict_mode=True, data_prop=True).graph
    except shape_inference.InferenceError as error:
        what = " ".join(str(error).split())[:300]
        raise Refused(
            single.graph.name, "graph", f"shapes cannot be inferred for one sample: {what}"
        ) from error
    constants = {item.name: _constant(item.name, numpy_helper.to_array(item)) for item in graph.initializer}
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    output_names = {item.name for item in graph.output}
    for proto in graph.node:
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant_of_node(proto)
        elif _is_no_op(proto) and proto.output[0] not in output_names:
            renamed[proto.output[0]] = renamed.get(proto.input[0], proto.input[0])
        else:
            nodes.append(_node(proto, renamed))
    inputs = tuple(item.name for item in graph.input if item.name not in constants)
    shapes = _shapes(graph, nodes, inputs, constants)
    return Graph(tuple(nodes), inputs, tuple(item.name for item in graph.output), shapes, constants)


def _with_batch_one(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    initializers = {item.name for item in result.graph.initializer}
    for value in result.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and value.name not in initializers:
            dimensions[0].ClearField("dim_param")
            dimensions[0].dim_value = 1
    for value in result.graph.output:
        value.type.tensor_type.ClearField("shape")
    # Shapes that the exporter recorded may still carry the symbolic batch: all are inferred anew.
    del result.graph.value_info[:]
    return result


def _is_no_op(proto: onnx.NodeProto) -> bool:
    return proto.op_type in _NO_OPS and all(not name for name in proto.output[1:])


def _node(proto: onnx.NodeProto, renamed: dict[str, str]) -> Node:
    name = proto.name or proto.output[0]
    if proto.domain not in _ONNX_DOMAINS:
        raise Refused(name, proto.op_type, f"operators of the domain {proto.domain!r} are not supported")
    attributes = {item.name: _attribute(name, proto.op_type, item) for item in proto.attribute}
    return Node(
        name,
        proto.op_type,
        tuple(renamed.get(item, item) for item in proto.input),
        tuple(proto.output),
        attributes,
    )


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


def _constant_of_node(proto: onnx.NodeProto) -> Constant:
    name = proto.name or proto.output[0]
    value = {item.name: helper.get_attribute_value(item) for item in proto.attribute}
    if "value" in value:
        return _constant(name, numpy_helper.to_array(value["value"]))
    for key in ("value_float", "value_floats"):
        if key in value:
            return np.asarray(value[key], np.float32)
    for key in ("value_int", "value_ints"):
        if key in value:
            return np.asarray(value[key], np.int64)
    raise Refused(name, "Constant", "only dense numeric constants can be converted")


def _constant(name: str, value: np.ndarray) -> Constant:
    if value.dtype == np.float32:
        return np.ascontiguousarray(value).reshape(value.shape)
    if value.dtype in (np.dtype(np.int64), np.dtype(np.int32)):
        return value.astype(np.int64)
    raise Refused(name, "initializer", f"its type is {value.dtype}, expected float32 or int64")


def _shapes(
    graph: onnx.GraphProto, nodes: list[Node], inputs: tuple[str, ...], constants: dict[str, Constant]
) -> dict[str, Shape]:
    known: dict[str, onnx.TypeProto.Tensor] = {
        item.name: item.type.tensor_type for item in [*graph.value_info, *graph.input, *graph.output]
    }
    shapes: dict[str, Shape] = {}
    readers = {name for node in nodes for name in node.inputs} | {item.name for item in graph.output}
    wanted = [(name, "graph input", name) for name in inputs]
    wanted += [(name, node.op, node.name) for node in nodes for name in node.outputs if name in readers]
    for name, op, node_name in wanted:
        if name in constants:
            continue
        tensor = known.get(name)
        if tensor is None or not tensor.HasField("shape"):
            raise Refused(node_name, op, f"the shape of its output {name!r} cannot be inferred")
        shape = tuple(int(item.dim_value) if item.HasField("dim_value") else -1 for item in tensor.shape.dim)
        if any(item < 1 for item in shape):
            raise Refused(node_name, op, f"the shape of {name!r} is not static: {list(shape)}")
        if tensor.elem_type != onnx.TensorProto.FLOAT:
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
            raise Refused(node_name, op, f"{name!r} is {kind}, only float32 values can be converted")
        shapes[name] = shape
    return shapes
