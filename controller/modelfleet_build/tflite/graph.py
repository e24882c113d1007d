"""The graph the converter works on: single-batch, static shapes, typed values, constants apart.

It knows nothing of ONNX protobufs (``canonicalise`` reads those) and nothing of TFLite (``emitter`` and
``writer`` do that). Shapes and axes are always the *logical* ones of the ONNX model (NCHW); where a tensor
is stored is the emitter's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Constant = FloatArray | IntArray | BoolArray
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


class Kind(Enum):
    """Element type of a value, by its name in the TFLite schema."""

    FLOAT32 = "FLOAT32"
    INT32 = "INT32"
    INT64 = "INT64"
    BOOL = "BOOL"


class Activation(Enum):
    """An activation that TFLite can run inside the operator before it."""

    NONE = "NONE"
    RELU = "RELU"
    RELU6 = "RELU6"
    RELU_N1_TO_1 = "RELU_N1_TO_1"


class Refused(Exception):
    """The converter cannot express a node of this model; nothing was written.

    Attributes:
        node: Name of the ONNX node, or its first output where it has no name.
        op: ONNX operator type.
        reason: What about it cannot be converted, as the second half of a sentence.
    """

    def __init__(self, node: str, op: str, reason: str) -> None:
        super().__init__(f"{op} node {node!r}: {reason}")
        self.node = node
        self.op = op
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. ``inputs`` holds ``""`` for an optional input that is absent."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    activation: Activation = Activation.NONE

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]

    def has_input(self, index: int) -> bool:
        """Whether the optional input at ``index`` is present."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def integer(self, name: str, default: int) -> int:
        """An ``int`` attribute, or ``default`` where it is absent."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refuse(f"attribute {name} is {value!r}, expected an integer")
        return value

    def number(self, name: str, default: float) -> float:
        """A ``float`` attribute, or ``default`` where it is absent."""
        value = self.attributes.get(name, default)
        if not isinstance(value, (int, float)):
            raise self.refuse(f"attribute {name} is {value!r}, expected a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """A string attribute, or ``default`` where it is absent."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self.refuse(f"attribute {name} is {value!r}, expected text")
        return value

    def integers(self, name: str, default: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """An ``int`` list attribute, or ``default`` where it is absent."""
        value = self.attributes.get(name, default)
        if value is None:
            return None
        if not isinstance(value, tuple):
            raise self.refuse(f"attribute {name} is {value!r}, expected a list of integers")
        return tuple(int(item) for item in value)

    def refuse(self, reason: str) -> Refused:
        """The refusal of this node, to be raised by the caller."""
        return Refused(self.name, self.op, reason)


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole model.

    Attributes:
        nodes: In topological order.
        inputs: Names of the inputs; none of them is a constant.
        outputs: Names of the outputs.
        shapes: Logical shape of every value, constants and absent optional inputs excepted.
        constants: Every constant that a node reads, float32, int64 or bool.
        kinds: Element type of every value that is not float32.
        opset: Version of the ONNX operator set; decides what a few operators mean.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    constants: Mapping[str, Constant]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    opset: int = 17

    def shape(self, name: str) -> Shape:
        """Logical shape of a value or constant."""
        constant = self.constants.get(name)
        return tuple(constant.shape) if constant is not None else self.shapes[name]

    def kind(self, name: str) -> Kind:
        """Element type of a value."""
        return self.kinds.get(name, Kind.FLOAT32)

    def scalar(self, name: str) -> float | None:
        """The number in a float constant of one element; None for everything else."""
        constant = self.constants.get(name)
        if constant is None or constant.size != 1 or constant.dtype != np.float32:
            return None
        return float(constant.reshape(()))

    def consumers(self) -> dict[str, list[Node]]:
        """Which nodes read each value."""
        result: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    result.setdefault(name, []).append(node)
        return result

    def producers(self) -> dict[str, Node]:
        """Which node writes each value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def with_nodes(self, nodes: Iterable[Node], constants: Mapping[str, Constant] | None = None) -> Graph:
        """The same model with other nodes, and with ``constants`` besides its own."""
        return replace(self, nodes=tuple(nodes), constants={**self.constants, **(constants or {})})
