"""Writes a TFLite flatbuffer by the schema of ``ai-edge-litert``, which only this and ``repack`` know.

Tensors, operators and options are given by their schema names; a name the schema does not have is a bug of
the caller and raises ``ValueError`` at once. What no output depends on is left out of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

SIGNATURE = "serving_default"
_SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
# The schema demands ``force_align: 16`` of constant data, which the generated Python code does not honour;
# XNNPACK reads weights with aligned vector loads.
_ALIGNMENT = 16
MAX_BYTES = 2**31 - 1
# Below this a float16 constant saves less than the operator that widens it costs.
_MIN_HALF_ELEMENTS = 32

OptionValue = int | float | bool | list[int]
Array = npt.NDArray[Any]
_CONSTANT_KINDS = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}


class Weights(Enum):
    """How float constants are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the schema ships without types
    """A constant buffer whose data starts on a 16-byte boundary."""

    def __init__(self, array: Array) -> None:
        super().__init__()
        self.array = array

    def Pack(self, builder: Any) -> Any:
        offset = None
        if size := self.array.nbytes:
            builder.StartVector(1, size, _ALIGNMENT)
            head = builder.head - size
            builder.head = head
            builder.Bytes[head : head + size] = self.array.reshape(-1).view(np.uint8).data
            builder.vectorNumElems = size
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset is not None:
            schema.BufferAddData(builder, offset)
        return schema.BufferEnd(builder)


@dataclass(slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    kind: str
    data: Array | None = None


@dataclass(slots=True)
class _Operator:
    code: str
    version: int
    inputs: list[int]
    outputs: list[int]
    options: str | None
    fields: dict[str, OptionValue]


@dataclass(slots=True)
class TfliteWriter:
    """Collects one subgraph and serialises it."""

    description: str
    weights: Weights = Weights.FLOAT32
    _tensors: list[_Tensor] = field(default_factory=list)
    _operators: list[_Operator] = field(default_factory=list)
    _producers: dict[int, _Operator] = field(default_factory=dict)

    def value(self, name: str, shape: Sequence[int], kind: str = "FLOAT32") -> int:
        """Add an activation tensor of the stored ``shape``; returns its index.

        ``kind`` is a name in the schema's ``TensorType``.
        """
        return self._add(_Tensor(name, tuple(int(item) for item in shape), kind))

    def constant(self, name: str, data: Array) -> int:
        """Add a constant tensor (float32, int32, int64 or bool) as stored; returns its index.

        With `Weights.FLOAT16` a float constant is stored in half precision and widened by a DEQUANTIZE,
        where all its values fit.
        """
        kind = _CONSTANT_KINDS.get(data.dtype.name)
        if kind is None:
            raise ValueError(f"constant {name!r} is {data.dtype}, expected one of {list(_CONSTANT_KINDS)}")
        array = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<")).reshape(data.shape)
        if self.weights is Weights.FLOAT16 and kind == "FLOAT32" and _fits_half(array):
            half = self._add(_Tensor(f"{name}:half", array.shape, "FLOAT16", array.astype("<f2")))
            wide = self._add(_Tensor(name, array.shape, kind))
            self.operator("DEQUANTIZE", [half], [wide], "DequantizeOptions", version=3)
            return wide
        return self._add(_Tensor(name, array.shape, kind, array))

    def operator(
        self,
        code: str,
        inputs: list[int],
        outputs: list[int],
        options: str | None = None,
        *,
        version: int = 1,
        fields: Mapping[str, OptionValue] | None = None,
    ) -> None:
        """Add an operator.

        Args:
            code: Name in the schema's ``BuiltinOperator``.
            inputs: Tensor indices, -1 for an optional one that is absent.
            outputs: Tensor indices.
            options: Name of the options table, without which there are no ``fields``.
            version: Operator version that the used features need.
            fields: Fields of the options table.
        """
        if getattr(schema.BuiltinOperator, code, None) is None:
            raise ValueError(f"the schema has no operator {code!r}")
        if options is None and fields:
            raise ValueError(f"{code} was given fields without an options table")
        operator = _Operator(code, version, inputs, outputs, options, dict(fields or {}))
        self._operators.append(operator)
        self._producers.update(dict.fromkeys(outputs, operator))

    def shape(self, index: int) -> tuple[int, ...]:
        """Stored shape of a tensor."""
        return self._tensors[index].shape

    def kind(self, index: int) -> str:
        """Element type of a tensor, by its schema name."""
        return self._tensors[index].kind

    def name(self, index: int) -> str:
        """Name of a tensor."""
        return self._tensors[index].name

    def rename(self, index: int, name: str) -> None:
        """Give a tensor another name."""
        self._tensors[index].name = name

    def data(self, index: int) -> Array | None:
        """What a constant tensor holds; None for an activation and for a widened constant."""
        return self._tensors[index].data

    def reshaped_from(self, index: int) -> int | None:
        """The tensor that a tensor is a RESHAPE of, if it is one."""
        producer = self._producers.get(index)
        return producer.inputs[0] if producer is not None and producer.code == "RESHAPE" else None

    def finish(
        self, inputs: list[tuple[str, int]], outputs: list[tuple[str, int]]
    ) -> tuple[bytes, frozenset[int]]:
        """Serialise the model with one signature named ``serving_default``.

        Args:
            inputs: Signature name and tensor index of each input.
            outputs: The same of each output.

        Returns:
            The file, and the indices of the tensors that are in it.
        """
        operators = self._alive([index for _, index in outputs])
        used = {index for _, index in (*inputs, *outputs)}
        used |= {index for item in operators for index in (*item.inputs, *item.outputs) if index >= 0}
        number = {index: position for position, index in enumerate(sorted(used))}
        constants = [self._tensors[index] for index in sorted(used) if self._tensors[index].data is not None]
        size = sum(item.data.nbytes for item in constants if item.data is not None)
        if size >= MAX_BYTES:
            raise ValueError(f"a flatbuffer holds at most 2 GiB, the constants alone take {size} bytes")
        model = self._model(operators, number, inputs, outputs)
        builder = flatbuffers.Builder(size + 65536 + 512 * (len(number) + len(operators)))
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output()), frozenset(used)

    def _add(self, tensor: _Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _alive(self, outputs: list[int]) -> list[_Operator]:
        """The operators that an output depends on, in the order they were added."""
        read, kept = set(outputs), list[_Operator]()
        for operator in reversed(self._operators):
            if read & set(operator.outputs):
                kept.append(operator)
                read |= set(operator.inputs)
        return kept[::-1]

    def _model(
        self,
        operators: list[_Operator],
        number: dict[int, int],
        inputs: list[tuple[str, int]],
        outputs: list[tuple[str, int]],
    ) -> Any:
        buffers: list[Any] = [schema.BufferT()]
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors = []
        for index in number:
            tensor = self._tensors[index]
            packed = schema.TensorT()
            packed.name, packed.shape = tensor.name, list(tensor.shape)
            packed.type = getattr(schema.TensorType, tensor.kind)
            packed.buffer = 0
            if tensor.data is not None:
                buffers.append(AlignedBuffer(tensor.data))
                packed.buffer = len(buffers) - 1
            subgraph.tensors.append(packed)
        codes: dict[tuple[str, int], int] = {}
        subgraph.operators = [_packed_operator(item, number, codes) for item in operators]
        subgraph.inputs = [number[index] for _, index in inputs]
        subgraph.outputs = [number[index] for _, index in outputs]
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = [_tensor_map(name, number[index]) for name, index in inputs]
        signature.outputs = [_tensor_map(name, number[index]) for name, index in outputs]
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = self.description
        model.operatorCodes = [_operator_code(*code) for code in codes]
        model.buffers = buffers
        model.subgraphs = [subgraph]
        model.signatureDefs = [signature]
        return model


def activation_code(name: str) -> int:
    """Number of an ``ActivationFunctionType``."""
    return int(getattr(schema.ActivationFunctionType, name))


def padding_code(name: str) -> int:
    """Number of a ``Padding`` kind, ``SAME`` or ``VALID``."""
    return int(getattr(schema.Padding, name))


def mirror_code(name: str) -> int:
    """Number of a ``MirrorPadMode``, ``REFLECT`` or ``SYMMETRIC``."""
    return int(getattr(schema.MirrorPadMode, name))


def kind_code(name: str) -> int:
    """Number of a ``TensorType``."""
    return int(getattr(schema.TensorType, name))


def _fits_half(array: Array) -> bool:
    if array.size < _MIN_HALF_ELEMENTS:
        return False
    return bool(np.abs(array).max() <= float(np.finfo(np.float16).max))


def _packed_operator(item: _Operator, number: dict[int, int], codes: dict[tuple[str, int], int]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = codes.setdefault((item.code, item.version), len(codes))
    operator.inputs = [number[index] if index >= 0 else -1 for index in item.inputs]
    operator.outputs = [number[index] for index in item.outputs]
    if item.options is not None:
        table = getattr(schema, f"{item.options}T")()
        for key, value in item.fields.items():
            if not hasattr(table, key):
                raise ValueError(f"{item.options} has no field {key!r}")
            setattr(table, key, value)
        operator.builtinOptions = table
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, item.options)
    return operator


def _operator_code(code: str, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode = getattr(schema.BuiltinOperator, code)
    # The old byte-sized field, which readers take where it is larger than the new one.
    entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
    entry.version = version
    return entry


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry
