"""Writes a TFLite flatbuffer with the schema that ``ai-edge-litert`` ships. The only module that knows it.

Tensors, operators and options are given by their schema names; a name the schema does not have is a bug of
the caller and raises ``ValueError`` at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

SIGNATURE = "serving_default"
_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
# The schema demands ``force_align: 16`` of constant data, which the generated Python code does not honour;
# XNNPACK reads weights with aligned vector loads.
_ALIGNMENT = 16
_MAX_BYTES = 2**31 - 1

OptionValue = int | float | bool | list[int]


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the schema ships without types
    """A constant buffer whose data starts on a 16-byte boundary."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.raw = raw

    def Pack(self, builder: Any) -> Any:
        data = self.raw
        offset = None
        if data:
            builder.StartVector(1, len(data), _ALIGNMENT)
            head = builder.head - len(data)
            builder.head = head
            builder.Bytes[head : head + len(data)] = data
            builder.vectorNumElems = len(data)
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset is not None:
            schema.BufferAddData(builder, offset)
        return schema.BufferEnd(builder)


@dataclass(slots=True)
class TfliteWriter:
    """Collects one subgraph and serialises it."""

    description: str
    _tensors: list[Any] = field(default_factory=list)
    _operators: list[Any] = field(default_factory=list)
    _codes: list[Any] = field(default_factory=list)
    _buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    _code_index: dict[tuple[str, int], int] = field(default_factory=dict)
    _bytes: int = 0

    def value(self, name: str, shape: tuple[int, ...]) -> int:
        """Add a float32 activation tensor of the stored ``shape``; returns its index."""
        return self._tensor(name, shape, schema.TensorType.FLOAT32, buffer=0)

    def constant(self, name: str, data: npt.NDArray[np.float32] | npt.NDArray[np.int32]) -> int:
        """Add a constant tensor, float32 or int32, as stored; returns its index."""
        kinds = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int32): schema.TensorType.INT32}
        kind = kinds.get(data.dtype)
        if kind is None:
            raise ValueError(f"constant {name!r} is {data.dtype}, expected float32 or int32")
        raw = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<")).tobytes()
        self._bytes += len(raw)
        self._buffers.append(_AlignedBuffer(raw))
        return self._tensor(name, data.shape, kind, buffer=len(self._buffers) - 1)

    def operator(
        self,
        code: str,
        inputs: list[int],
        outputs: list[int],
        options: str | None = None,
        *,
        version: int = 1,
        **values: OptionValue,
    ) -> None:
        """Add an operator.

        Args:
            code: Name in the schema's ``BuiltinOperator``.
            inputs: Tensor indices, -1 for an optional one that is absent.
            outputs: Tensor indices.
            options: Name of the options table, without which ``values`` must be empty.
            version: Operator version that the used features need.
            **values: Fields of the options table.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code, version)
        operator.inputs = inputs
        operator.outputs = outputs
        if options is not None:
            table = getattr(schema, f"{options}T")()
            for key, value in values.items():
                if not hasattr(table, key):
                    raise ValueError(f"{options} has no field {key!r}")
                setattr(table, key, value)
            operator.builtinOptions = table
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        elif values:
            raise ValueError(f"{code} was given values without an options table")
        self._operators.append(operator)

    def finish(self, inputs: list[tuple[str, int]], outputs: list[tuple[str, int]]) -> bytes:
        """Serialise the model with one signature named ``serving_default``.

        Args:
            inputs: Signature name and tensor index of each input.
            outputs: The same of each output.
        """
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors = self._tensors
        subgraph.operators = self._operators
        subgraph.inputs = [index for _, index in inputs]
        subgraph.outputs = [index for _, index in outputs]
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = [_tensor_map(name, index) for name, index in inputs]
        signature.outputs = [_tensor_map(name, index) for name, index in outputs]
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = self.description
        model.operatorCodes = self._codes
        model.buffers = self._buffers
        model.subgraphs = [subgraph]
        model.signatureDefs = [signature]
        if self._bytes >= _MAX_BYTES:
            raise ValueError(
                f"a flatbuffer holds at most 2 GiB, the constants alone take {self._bytes} bytes"
            )
        builder = flatbuffers.Builder(self._bytes + 65536)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, *, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = [int(item) for item in shape]
        tensor.type = kind
        tensor.buffer = buffer
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _code(self, code: str, version: int) -> int:
        known = self._code_index.get((code, version))
        if known is not None:
            return known
        number = getattr(schema.BuiltinOperator, code, None)
        if number is None:
            raise ValueError(f"the schema has no operator {code!r}")
        entry = schema.OperatorCodeT()
        entry.builtinCode = number
        # The old byte-sized field, which readers take where it is larger than the new one.
        entry.deprecatedBuiltinCode = min(number, 127)
        entry.version = version
        self._codes.append(entry)
        self._code_index[(code, version)] = len(self._codes) - 1
        return len(self._codes) - 1


def activation_code(name: str) -> int:
    """Number of an ``ActivationFunctionType``."""
    return int(getattr(schema.ActivationFunctionType, name))


def padding_code(name: str) -> int:
    """Number of a ``Padding`` kind, ``SAME`` or ``VALID``."""
    return int(getattr(schema.Padding, name))


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry
