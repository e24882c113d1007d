"""Reads what a TFLite file says of itself: tensors, operators, signature. Standard library only.

Why not the runtimes' own readers: TFLite Micro and tflite-runtime follow the offsets of a damaged file out of
the file, and neither tells tensor names or operator versions. Everything here is bounds-checked, so a file
that was read once by `read_tflite` holds no table that leads outside of it. Constants are looked at, never
copied.

Source: the schema `tensorflow/lite/schema/schema.fbs` (version 3) and the binary format of FlatBuffers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

IDENTIFIER: Final = b"TFL3"
FLOAT32: Final = 0
INT32: Final = 2
INT8: Final = 9
FLOAT16: Final = 1
CUSTOM: Final = 32
DEQUANTIZE: Final = 6
FULLY_CONNECTED: Final = 9

# Far above what a device holds; a damaged count must not take the memory.
_MAX_ITEMS: Final = 1_000_000
_FORMATS: Final = {"b": 1, "B": 1, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8}


class NotTflite(ValueError):
    """The file is no TFLite flatbuffer, or is damaged."""


@dataclass(frozen=True, slots=True)
class FileTensor:
    """One tensor.

    Attributes:
        name: As in the file.
        kind: Number of its element type in the schema (`FLOAT32`, `INT8`, ...).
        shape: Dimensions as stored.
        scales, zero_points: Of its quantization: none, one, or one for each channel.
        constant: Its values are in the file.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant: bool

    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class FileOperator:
    """One operator.

    Attributes:
        code: Number of the operator in the schema's `BuiltinOperator`; `CUSTOM` for those with a name.
        version: Of the operator.
        custom: Name of a custom operator, else empty.
        inputs, outputs: Indices of tensors; -1 for an optional one that is absent.
    """

    code: int
    version: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TfliteFile:
    """The only subgraph of a file.

    Attributes:
        tensors: All of them.
        operators: In the order in which they run.
        inputs, outputs: Indices of tensors, in the order in which interpreters without names count them.
        input_names, output_names: Names of the only signature for them, in the same order; the tensors' own
            names where the file has no signature.
    """

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def producers(self) -> dict[str, FileOperator]:
        """Name of a tensor -> the operator that writes it."""
        return {
            self.tensors[index].name: operator
            for operator in self.operators
            for index in operator.outputs
            if index >= 0
        }


def read_tflite(data: bytes) -> TfliteFile:
    """Read a whole file.

    Raises:
        NotTflite: It is none, is damaged, or has more than one subgraph or signature.
    """
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise NotTflite("it is not a TFLite flatbuffer")
    try:
        return _file(_Table(data, _unsigned(data, 0)))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise NotTflite(f"it is a damaged TFLite flatbuffer: {error}") from error


def _file(model: _Table) -> TfliteFile:
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise NotTflite(f"it has {len(graphs)} subgraphs, exactly one is supported")
    graph = graphs[0]
    constant = [bool(_data_of(buffer)) for buffer in model.tables(4)]
    tensors = tuple(_tensor(table, constant) for table in graph.tables(0))
    codes = [_code(table) for table in model.tables(1)]
    operators = tuple(_operator(table, codes, len(tensors)) for table in graph.tables(3))
    inputs = _indices(graph.integers(1), len(tensors))
    outputs = _indices(graph.integers(2), len(tensors))
    signatures = model.tables(7)
    if len(signatures) > 1:
        raise NotTflite(f"it has {len(signatures)} signatures, at most one is supported")
    named = signatures[0] if signatures else None
    return TfliteFile(
        tensors,
        operators,
        inputs,
        outputs,
        _names(named, 0, inputs, tensors),
        _names(named, 1, outputs, tensors),
    )


def _names(
    signature: _Table | None, slot: int, indices: tuple[int, ...], tensors: tuple[FileTensor, ...]
) -> tuple[str, ...]:
    if signature is None:
        return tuple(tensors[index].name for index in indices)
    names = {entry.number(1, "I", 0): entry.text(0) for entry in signature.tables(slot)}
    if len(names) != len(indices) or set(names) != set(indices):
        raise NotTflite("its signature does not name its inputs and outputs one by one")
    return tuple(names[index] for index in indices)


def _tensor(table: _Table, constant: list[bool]) -> FileTensor:
    quantization = table.table(4)
    buffer = table.number(2, "I", 0)
    return FileTensor(
        name=table.text(3),
        kind=table.number(1, "b", 0),
        shape=table.integers(0),
        scales=quantization.floats(2) if quantization is not None else (),
        zero_points=quantization.integers(3, "q") if quantization is not None else (),
        # Buffer 0 is the empty one by convention.
        constant=buffer != 0 and constant[buffer],
    )


def _code(table: _Table) -> tuple[int, int, str]:
    # The old byte-sized field holds what fits into it; readers take the larger of the two.
    code = max(table.number(3, "i", 0), table.number(0, "b", 0))
    return code, table.number(2, "i", 1), table.text(1)


def _operator(table: _Table, codes: list[tuple[int, int, str]], tensors: int) -> FileOperator:
    code, version, custom = codes[table.number(0, "I", 0)]
    return FileOperator(
        code,
        version,
        custom,
        _indices(table.integers(1), tensors, optional=True),
        _indices(table.integers(2), tensors, optional=True),
    )


def _data_of(buffer: _Table) -> int:
    """Bytes of a buffer, inside the flatbuffer or, for huge files, behind it."""
    behind, size = buffer.number(1, "Q", 0), buffer.number(2, "Q", 0)
    if behind > 1 and behind + size > len(buffer.data):
        raise NotTflite("a constant of it lies outside of the file")
    return buffer.length(0) or (size if behind > 1 else 0)


def _indices(values: tuple[int, ...], count: int, *, optional: bool = False) -> tuple[int, ...]:
    least = -1 if optional else 0
    if any(not least <= value < count for value in values):
        raise NotTflite(f"it names a tensor that it does not have ({count} are there)")
    return values


@dataclass(frozen=True, slots=True)
class _Table:
    """A FlatBuffers table: `position` points at the signed offset to its vtable."""

    data: bytes
    position: int

    def slot(self, index: int) -> int:
        """Position of a field, 0 where it is absent."""
        vtable = self.position - _number(self.data, self.position, "i")
        size = _number(self.data, vtable, "H")
        place = 4 + 2 * index
        if place + 2 > size:
            return 0
        offset = _number(self.data, vtable + place, "H")
        return self.position + offset if offset else 0

    def number(self, index: int, kind: str, default: int) -> int:
        """A scalar field."""
        place = self.slot(index)
        return _number(self.data, place, kind) if place else default

    def table(self, index: int) -> _Table | None:
        """A field that is a table."""
        place = self.slot(index)
        return _Table(self.data, place + _unsigned(self.data, place)) if place else None

    def length(self, index: int) -> int:
        """Number of bytes of a vector of bytes."""
        return self._vector(index, 1)[1]

    def tables(self, index: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self._vector(index, 4)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, place + _unsigned(self.data, place)) for place in places]

    def integers(self, index: int, kind: str = "i") -> tuple[int, ...]:
        """A vector of integers."""
        start, count = self._vector(index, _FORMATS[kind])
        return struct.unpack_from(f"<{count}{kind}", self.data, start)

    def floats(self, index: int) -> tuple[float, ...]:
        """A vector of float32."""
        start, count = self._vector(index, 4)
        return struct.unpack_from(f"<{count}f", self.data, start)

    def text(self, index: int) -> str:
        """A string, empty where it is absent."""
        start, count = self._vector(index, 1)
        return self.data[start : start + count].decode()

    def _vector(self, index: int, width: int) -> tuple[int, int]:
        place = self.slot(index)
        if not place:
            return 0, 0
        start = place + _unsigned(self.data, place)
        count = _unsigned(self.data, start)
        limit = len(self.data) - start - 4
        if count * width > limit or (width > 1 and count > _MAX_ITEMS):
            raise NotTflite("a list of it is longer than the file")
        return start + 4, count


def _unsigned(data: bytes, place: int) -> int:
    return _number(data, place, "I")


def _number(data: bytes, place: int, kind: str) -> int:
    # struct counts negative offsets from the end.
    if place < 0:
        raise NotTflite("an offset of it leads out of the file")
    value: int = struct.unpack_from(f"<{kind}", data, place)[0]
    return value
