"""What an operator's emit function works with: values by ONNX name in any order, TFLite operators out.

A function reads tensors with `Emitter.get`, makes new ones with `Emitter.op`, and says with `Emitter.define`
which tensor, stored in which order, is the node's output. Nobody else keeps books on names and layouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelfleet_build.tflite.graph import Activation, FloatArray, Graph, Kind, Node, Refused, Shape
from modelfleet_build.tflite.layout import (
    Order,
    contract_order,
    natural,
    stored,
    without_unit_axes,
)
from modelfleet_build.tflite.writer import OptionValue, TfliteWriter, activation_code

# What LiteRT's TRANSPOSE takes, after axes that stay together were merged.
_MAX_TRANSPOSE_RANK = 6
# Above this rank kernels and NPU compilers thin out; shapes are merged where they can be.
MAX_RANK = 4


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a value is: a tensor's index, and which logical axis each of its axes holds."""

    tensor: int
    order: Order


@dataclass(slots=True)
class Emitter:
    """Emits TFLite operators for the nodes of ``graph`` into ``writer``."""

    graph: Graph
    writer: TfliteWriter
    node: Node = field(default_factory=lambda: Node("graph", "graph", (), ()))
    stored: dict[str, Stored] = field(default_factory=dict)
    # Images flattened into one row that only constant products read; see ``ops.dense``.
    flattened: set[str] = field(default_factory=set)
    _moved: dict[tuple[int, Order], int] = field(default_factory=dict)
    _named: set[int] = field(default_factory=set)
    _serial: int = 0

    # values

    def input(self, name: str) -> int:
        """Add an input of the model."""
        shape = self.graph.shape(name)
        order = contract_order(len(shape))
        tensor = self.writer.value(name, stored(shape, order), self.graph.kind(name).value)
        self._named.add(tensor)
        self.stored[name] = Stored(tensor, order)
        return tensor

    def output(self, name: str, taken: set[int]) -> int:
        """The tensor of an output of the model in contract order; it is none of ``taken``."""
        if name not in self.stored:
            raise Refused(name, "graph output", "it does not depend on any input")
        order = contract_order(len(self.graph.shape(name)))
        tensor = self.get(name, order)
        if tensor in taken or self.writer.data(tensor) is not None:
            tensor = self._reshape(tensor, self.dims(tensor))
        if self.writer.name(tensor) != name:
            former = self.stored[name].tensor
            if self.writer.name(former) == name:
                self.writer.rename(former, self._unique(name))
            self.writer.rename(tensor, name)
        self.stored[name] = Stored(tensor, order)
        return tensor

    def rank(self, name: str) -> int:
        """Rank of a value or constant."""
        return len(self.graph.shape(name))

    def order(self, name: str) -> Order:
        """How a value is stored; a constant is in its natural order."""
        return self.stored[name].order if name in self.stored else natural(self.rank(name))

    def is_constant(self, name: str) -> bool:
        """Whether ``name`` is a constant of the model."""
        return name in self.graph.constants

    def get(self, name: str, order: Order | None = None) -> int:
        """The tensor of a value or constant, in ``order`` where one is given, else as it is stored."""
        if name in self.graph.constants:
            data = self.graph.constants[name]
            return self.constant(name, data.transpose(order) if order is not None else data)
        place = self.stored[name]
        if order is None or order == place.order:
            return place.tensor
        return self.move(place.tensor, tuple(place.order.index(axis) for axis in order))

    def define(self, name: str, tensor: int, order: Order) -> None:
        """Make ``tensor``, stored in ``order``, the value ``name``."""
        shape = stored(self.graph.shape(name), order)
        if self.dims(tensor) != shape:
            raise ValueError(f"{self.node.op} {self.node.name!r}: {self.dims(tensor)} is not {shape}")
        if tensor not in self._named and self.writer.data(tensor) is None:
            self.writer.rename(tensor, name)
            self._named.add(tensor)
        self.stored[name] = Stored(tensor, order)

    def operand(self, name: str, rank: int, order: Order) -> int:
        """An input that is broadcast against a result of ``rank`` stored in ``order``."""
        missing = rank - self.rank(name)
        inner = tuple(axis - missing for axis in order if axis >= missing)
        shape = (*(1,) * missing, *self.graph.shape(name))
        return self.reshape(self.get(name, inner), stored(shape, order))

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

    # tensors

    def dims(self, tensor: int) -> Shape:
        """Stored shape of a tensor."""
        return self.writer.shape(tensor)

    def constant(self, name: str, data: npt.NDArray[np.generic]) -> int:
        """Add a constant as stored."""
        return self.writer.constant(self._unique(name), data)

    def floats_like(self, tensor: int, value: float) -> int:
        """A constant of one element, to be broadcast against ``tensor``."""
        return self.constant("number", np.full((1,) * min(1, len(self.dims(tensor))), value, np.float32))

    def int32(self, purpose: str, data: Sequence[int] | Sequence[Sequence[int]]) -> int:
        """Add an int32 constant such as a shape, a permutation or paddings."""
        return self.constant(f"{self.node.name}:{purpose}", np.asarray(data, np.int32))

    def op(
        self,
        code: str,
        inputs: list[int],
        shape: Sequence[int],
        options: str | None = None,
        *,
        version: int = 1,
        kind: Kind | None = None,
        fields: Mapping[str, OptionValue] | None = None,
        **values: OptionValue,
    ) -> int:
        """Add a TFLite operator with one output; returns that tensor.

        Option fields are given by name or, where they are shared, as ``fields``; see
        ``TfliteWriter.operator`` for the rest.
        """
        table = {**(fields or {}), **values}
        return self._ops(code, inputs, [shape], options, version, kind, table)[0]

    def ops(
        self,
        code: str,
        inputs: list[int],
        shapes: Sequence[Sequence[int]],
        options: str | None = None,
        *,
        version: int = 1,
        kind: Kind | None = None,
        **values: OptionValue,
    ) -> list[int]:
        """Add a TFLite operator with an output of each of ``shapes``; returns the tensors.

        They are of ``kind``, or else of the first input's.
        """
        return self._ops(code, inputs, shapes, options, version, kind, values)

    def reshape(self, tensor: int, shape: Sequence[int]) -> int:
        """The elements of ``tensor`` in another stored shape."""
        wanted = tuple(int(item) for item in shape)
        if self.dims(tensor) == wanted:
            return tensor
        data = self.writer.data(tensor)
        if data is not None:
            return self.constant(self.writer.name(tensor), data.reshape(wanted))
        source = self.writer.reshaped_from(tensor)
        if source is not None:
            return self.reshape(source, wanted)
        return self._reshape(tensor, wanted)

    def move(self, tensor: int, permutation: tuple[int, ...]) -> int:
        """``tensor`` with its stored axes permuted, as cheaply as can be; done once for all readers."""
        known = self._moved.get((tensor, permutation))
        if known is None:
            known = self._moved[(tensor, permutation)] = self._move(tensor, permutation)
        return known

    def _ops(
        self,
        code: str,
        inputs: list[int],
        shapes: Sequence[Sequence[int]],
        options: str | None,
        version: int,
        kind: Kind | None,
        fields: Mapping[str, OptionValue],
    ) -> list[int]:
        element = kind.value if kind is not None else self.writer.kind(inputs[0])
        name = f"{self.node.name}:{code.lower()}"
        outputs = [self.writer.value(self._unique(name), shape, element) for shape in shapes]
        self.writer.operator(code, inputs, outputs, options, version=version, fields=fields)
        return outputs

    def _move(self, tensor: int, permutation: tuple[int, ...]) -> int:
        shape = self.dims(tensor)
        target = tuple(shape[axis] for axis in permutation)
        moving = without_unit_axes(shape, permutation)
        if list(moving) == sorted(moving):
            return self.reshape(tensor, target)
        if len(shape) <= MAX_RANK:
            return self._transpose(tensor, permutation)
        merged, order = _merged(shape, permutation)
        if len(merged) > _MAX_TRANSPOSE_RANK:
            raise self.node.refuse(f"a transpose of rank {len(merged)} cannot be converted")
        return self.reshape(self._transpose(self.reshape(tensor, merged), order), target)

    def _transpose(self, tensor: int, permutation: tuple[int, ...]) -> int:
        shape = [self.dims(tensor)[axis] for axis in permutation]
        order = self.int32("permutation", permutation)
        return self.op("TRANSPOSE", [tensor, order], shape, "TransposeOptions")

    def _reshape(self, tensor: int, shape: Shape) -> int:
        inputs = [tensor, self.int32("shape", shape)]
        return self.op("RESHAPE", inputs, shape, "ReshapeOptions", newShape=list(shape))

    def _unique(self, name: str) -> str:
        self._serial += 1
        return f"{name}#{self._serial}"


def fused(activation: Activation) -> int:
    """Schema number of a fused activation."""
    return activation_code(activation.value)


def _merged(shape: Shape, permutation: tuple[int, ...]) -> tuple[Shape, tuple[int, ...]]:
    """The same permutation without unit axes and with axes merged that stay neighbours."""
    groups: list[list[int]] = []
    for axis in without_unit_axes(shape, permutation):
        # A unit axis between two others does not part them.
        behind = bool(groups) and axis > groups[-1][-1]
        if behind and all(shape[between] == 1 for between in range(groups[-1][-1] + 1, axis)):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    by_source = sorted(groups)
    sizes = tuple(int(np.prod([shape[axis] for axis in group])) for group in by_source)
    return sizes, tuple(by_source.index(group) for group in groups)
