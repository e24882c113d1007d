"""What an operator's emit function works with: values by ONNX name, stored layout, TFLite operators out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelfleet_build.tflite.graph import Activation, FloatArray, Graph, Node, Shape
from modelfleet_build.tflite.layout import NHWC, is_order_free, stored_constant, stored_order, stored_shape
from modelfleet_build.tflite.writer import OptionValue, TfliteWriter, activation_code


@dataclass(slots=True)
class Emitter:
    """Emits TFLite operators for the nodes of ``graph`` into ``writer``."""

    graph: Graph
    writer: TfliteWriter
    _indices: dict[str, int] = field(default_factory=dict)
    _logical: dict[str, int] = field(default_factory=dict)
    _serial: int = 0

    def value(self, name: str) -> int:
        """Index of the tensor of an ONNX value, added at its first use."""
        known = self._indices.get(name)
        if known is None:
            known = self.writer.value(name, stored_shape(self.graph.shape(name)))
            self._indices[name] = known
        return known

    def operand(self, node: Node, position: int, rank: int) -> int:
        """Index of an input that may be a value or a constant, broadcast against ``rank``."""
        name = node.inputs[position]
        if name not in self.graph.constants:
            shape = self.graph.shape(name)
            if len(shape) != rank and rank == 4 and len(shape) > 1:
                raise node.refuse(f"broadcasting {list(shape)} against rank {rank} cannot be converted")
            if len(shape) == 1 and rank == 4:
                # The last logical axis of an NCHW tensor is the width, not the stored last axis.
                raise node.refuse("broadcasting a vector over the width of an image cannot be converted")
            return self.value(name)
        return self.constant(f"{node.name}:{name}", stored_constant(self.floats(node, position), rank))

    def floats(self, node: Node, position: int) -> FloatArray:
        """A float32 constant input, in logical layout."""
        constant = self.graph.constants.get(node.inputs[position]) if node.has_input(position) else None
        if constant is None or constant.dtype != np.float32:
            raise node.refuse(f"its input {position} must be a float32 constant of the model")
        return constant.astype(np.float32, copy=False)

    def integers(self, node: Node, position: int) -> tuple[int, ...]:
        """An integer constant input as a flat tuple."""
        constant = self.graph.constants.get(node.inputs[position]) if node.has_input(position) else None
        if constant is None or constant.dtype != np.int64:
            raise node.refuse(f"its input {position} must be an integer constant of the model")
        return tuple(int(item) for item in constant.reshape(-1))

    def constant(self, name: str, data: npt.NDArray[np.float32] | npt.NDArray[np.int32]) -> int:
        """Add a constant in stored layout."""
        return self.writer.constant(self._unique(name), data)

    def int32(self, name: str, data: list[int] | list[list[int]]) -> int:
        """Add an int32 constant such as a shape, a permutation or paddings."""
        return self.constant(name, np.asarray(data, np.int32))

    def temporary(self, node: Node, purpose: str, shape: Shape) -> int:
        """Add an intermediate tensor of the stored ``shape``."""
        return self.writer.value(self._unique(f"{node.name}:{purpose}"), shape)

    def emit(
        self,
        code: str,
        inputs: list[int],
        outputs: list[int],
        options: str | None = None,
        *,
        version: int = 1,
        **values: OptionValue,
    ) -> None:
        """Add one TFLite operator (see ``TfliteWriter.operator``)."""
        self.writer.operator(code, inputs, outputs, options, version=version, **values)

    def as_logical(self, name: str, node: Node) -> int:
        """Index of a tensor that holds the value in its logical axis order."""
        shape = self.graph.shape(name)
        if len(shape) != 4:
            return self.value(name)
        known = self._logical.get(name)
        if known is None:
            known = self.temporary(node, "logical", shape)
            if is_order_free(shape):
                self.reshape(self.value(name), known, shape)
            else:
                permutation = [NHWC.index(axis) for axis in range(4)]
                self.transpose(node, self.value(name), known, permutation)
            self._logical[name] = known
        return known

    def from_logical(self, node: Node, source: int, name: str) -> None:
        """Store the tensor ``source``, in logical order, as the value ``name``."""
        shape = self.graph.shape(name)
        if is_order_free(shape):
            self.reshape(source, self.value(name), stored_shape(shape))
        else:
            self.transpose(node, source, self.value(name), list(stored_order(len(shape))))

    def reshape(self, source: int, target: int, shape: Shape) -> None:
        """Emit a RESHAPE to the stored ``shape``."""
        new_shape = [int(item) for item in shape]
        self.emit(
            "RESHAPE",
            [source, self.int32("shape", new_shape)],
            [target],
            "ReshapeOptions",
            newShape=new_shape,
        )

    def transpose(self, node: Node, source: int, target: int, permutation: list[int]) -> None:
        """Emit a TRANSPOSE of stored axes."""
        order = self.int32(f"{node.name}:permutation", permutation)
        self.emit("TRANSPOSE", [source, order], [target], "TransposeOptions")

    def _unique(self, name: str) -> str:
        self._serial += 1
        return f"{name}#{self._serial}"


def fused(activation: Activation) -> int:
    """Schema number of a fused activation."""
    return activation_code(activation.value)
