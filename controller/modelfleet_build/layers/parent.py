"""The float parent as a graph: which operators lie between compared values, and models derived from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, shape_inference

from modelfleet_build.layers.tap_onnx import with_outputs

GIVEN = "@given"
DELTA = "@delta"
_CLEAN = "@clean"
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value comes from: the node's name, and the operator types since the values before it."""

    node: str
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParentGraph:
    """The parent.

    Attributes:
        model: The single-file model.
        inputs: Its inputs.
        outputs: Its outputs.
        values: Inputs first, then every float32 value in the order of the graph.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: tuple[str, ...]

    def tapped(self) -> onnx.ModelProto:
        """The model that gives every value."""
        return with_outputs(self.model, [name for name in self.values if name not in self.inputs])

    def forced(self, known: Collection[str], shapes: Mapping[str, Shape]) -> onnx.ModelProto:
        """The model in which every operator reads the values in `known` from inputs called NAME@given.

        What it gives for a value is what the parent's operators make of the given values just before it, and
        of none before those.
        """
        made = with_outputs(self.model, [name for name in known if name not in self.inputs])
        del made.graph.value_info[:]
        for node in made.graph.node:
            for index, name in enumerate(node.input):
                if name in known:
                    node.input[index] = name + GIVEN
        rest = [item for item in made.graph.input if item.name not in known]
        del made.graph.input[:]
        made.graph.input.extend(rest)
        made.graph.input.extend(_input(name + GIVEN, shapes[name]) for name in known)
        return made

    def disturbed(self, values: Collection[str], shapes: Mapping[str, Shape]) -> onnx.ModelProto:
        """The model with an input NAME@delta for each of `values`, which is added to it."""
        made = with_outputs(self.model, list(self.outputs))
        del made.graph.value_info[:]
        nodes = list(made.graph.node)
        del made.graph.node[:]
        for name in values:
            if name in self.inputs:
                for node in nodes:
                    for index, item in enumerate(node.input):
                        if item == name:
                            node.input[index] = name + _CLEAN
                made.graph.node.append(helper.make_node("Add", [name, name + DELTA], [name + _CLEAN]))
        for node in nodes:
            renamed = [name for name in node.output if name in values]
            for index, name in enumerate(node.output):
                if name in values:
                    node.output[index] = name + _CLEAN
            made.graph.node.append(node)
            made.graph.node.extend(helper.make_node("Add", [n + _CLEAN, n + DELTA], [n]) for n in renamed)
        made.graph.input.extend(_input(name + DELTA, shapes[name]) for name in values)
        return made

    def places(self, known: Collection[str]) -> dict[str, Place]:
        """Where each of `known` comes from."""
        made_by = {name: node for node in self.model.graph.node for name in node.output if name}
        order = {id(node): index for index, node in enumerate(self.model.graph.node)}
        places: dict[str, Place] = {}
        for value in known:
            if value in self.inputs:
                places[value] = Place(value, ("Input",))
                continue
            last = made_by[value]
            waiting, found = [last], {id(last): last}
            while waiting:
                for name in waiting.pop().input:
                    node = made_by.get(name)
                    if node is not None and name not in known and id(node) not in found:
                        found[id(node)] = node
                        waiting.append(node)
            ordered = sorted(found.values(), key=lambda node: order[id(node)])
            operators = tuple(n.op_type for n in ordered if n.op_type != "Constant")
            places[value] = Place(last.name or value, operators)
        return places


def read_parent(model: onnx.ModelProto) -> ParentGraph:
    """Read a model that passed the intake."""
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    constants = {item.name for item in model.graph.initializer}
    inputs = tuple(item.name for item in model.graph.input if item.name not in constants)
    floats = {
        item.name
        for item in [*inferred.value_info, *inferred.output]
        if item.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    made = [
        name
        for node in model.graph.node
        if node.op_type != "Constant"
        for name in node.output
        if name in floats
    ]
    return ParentGraph(model, inputs, tuple(item.name for item in model.graph.output), (*inputs, *made))


def _input(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
