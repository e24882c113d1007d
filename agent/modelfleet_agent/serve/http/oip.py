"""Open Inference Protocol v2 with the binary tensor extension: bytes <-> tensors, no I/O and no numpy.

With the extension the body is JSON of `Inference-Header-Content-Length` bytes followed by the raw
little-endian tensors whose `binary_data_size` the JSON names, in the order of the inputs.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, DType, LogicalTensor

from ...control.framing import Buffer
from ...control.tensors import TensorHead, cut
from ..request import Served

HEADER_LENGTH: Final = "inference-header-content-length"
DATATYPES: Final[dict[str, DType]] = {
    "FP32": DType.FLOAT32,
    "FP16": DType.FLOAT16,
    "INT8": DType.INT8,
    "UINT8": DType.UINT8,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
}
NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_TYPECODES: Final = {
    DType.FLOAT32: "f",
    DType.INT8: "b",
    DType.UINT8: "B",
    DType.INT32: "i",
    DType.INT64: "q",
}
_MAX_DEPTH: Final = 8

Parameter = bool | int | float | str


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    data: object = None


@dataclass(frozen=True, slots=True)
class _Output:
    name: str
    parameters: dict[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Request:
    inputs: tuple[_Input, ...]
    id: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    outputs: tuple[_Output, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A parsed request.

    Attributes:
        request_id: given back.
        inputs, body: the tensors.
        outputs: wanted output -> whether in binary; empty = all of them, as `binary` says.
        timeout_s: what the client is willing to wait, or None.
    """

    request_id: str
    inputs: tuple[TensorHead, ...]
    body: memoryview
    outputs: dict[str, bool]
    binary: bool
    timeout_s: float | None


def parse(body: memoryview, header_length: str | None) -> Wanted:
    """Read an inference request.

    Raises:
        CallerError: MF-4021, it is not one, or it asks for something that is not offered; MF-4036, tensors
            and sizes do not belong together.
    """
    head, raw = _split(body, header_length)
    try:
        request = msgspec.json.decode(head, type=_Request)
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(f"the inference request cannot be read: {str(error)[:300]}") from error
    heads: list[TensorHead] = []
    parts: list[Buffer] = []
    at = 0
    inline = False
    for item in request.inputs:
        dtype = DATATYPES.get(item.datatype)
        if dtype is None:
            raise invalid(
                f"the datatype {item.datatype[:32]!r} is not known", f"one of {', '.join(DATATYPES)}"
            )
        if "shared_memory_region" in item.parameters:
            raise invalid("shared memory is not offered", "tensors in the request")
        head_of = TensorHead(item.name, item.shape, dtype)
        size = item.parameters.get("binary_data_size")
        if size is None:
            parts.append(_inline(item, dtype))
            inline = True
        elif isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(raw) - at:
            raise invalid(
                f"binary_data_size {size!r} of the input {item.name[:64]!r}", f"0 to {len(raw) - at}"
            )
        else:
            parts.append(raw[at : at + size])
            at += size
        heads.append(head_of)
    if at != len(raw):
        raise invalid(f"{len(raw) - at} bytes follow the tensors", "nothing")
    tensors = memoryview(b"".join(parts)) if inline else raw
    cut(heads, tensors)
    binary = request.parameters.get("binary_data_output") is True
    outputs: dict[str, bool] = {}
    for wanted in request.outputs:
        if "classification" in wanted.parameters or "shared_memory_region" in wanted.parameters:
            raise invalid(
                "classification and shared memory of outputs are not offered", "tensors in the response"
            )
        asked = wanted.parameters.get("binary_data", binary)
        outputs[wanted.name] = asked is True
    timeout = request.parameters.get("timeout")
    timeout_s = timeout / 1e6 if isinstance(timeout, int) and timeout > 0 else None
    return Wanted(request.id, tuple(heads), tensors, outputs, binary, timeout_s)


def respond(wanted: Wanted, served: Served, model: str, version: str) -> tuple[list[Buffer], int | None]:
    """The response's body, and the length of its JSON part where binary tensors follow.

    Raises:
        CallerError: MF-4021, an output was asked for that the model does not have.
    """
    parts = dict(zip((head.name for head in served.outputs), cut(served.outputs, served.body), strict=True))
    missing = [name for name in wanted.outputs if name not in parts]
    if missing:
        raise invalid(f"the model has no output {missing[0][:64]!r}", f"one of {', '.join(parts)}")
    outputs: list[dict[str, object]] = []
    bodies: list[Buffer] = []
    for head in served.outputs:
        if wanted.outputs and head.name not in wanted.outputs:
            continue
        entry: dict[str, object] = {
            "name": head.name,
            "datatype": NAMES[head.dtype],
            "shape": head.shape,
        }
        part = parts[head.name]
        if wanted.outputs.get(head.name, wanted.binary):
            entry["parameters"] = {"binary_data_size": part.nbytes}
            bodies.append(part)
        else:
            entry["data"] = _listed(part, head.dtype)
        outputs.append(entry)
    answer: dict[str, object] = {"model_name": model, "model_version": version, "outputs": outputs}
    if wanted.request_id:
        answer["id"] = wanted.request_id
    head_bytes = msgspec.json.encode(answer)
    return [head_bytes, *bodies], len(head_bytes) if bodies else None


def metadata(
    name: str, version: str, platform: str, inputs: Sequence[LogicalTensor], outputs: Sequence[LogicalTensor]
) -> bytes:
    """The model's metadata."""

    def described(tensors: Sequence[LogicalTensor]) -> list[dict[str, object]]:
        return [
            {
                "name": tensor.name,
                "datatype": NAMES[tensor.dtype],
                "shape": [-1 if item == BATCH else item for item in tensor.shape],
            }
            for tensor in tensors
        ]

    return msgspec.json.encode(
        {
            "name": name,
            "versions": [version],
            "platform": platform,
            "inputs": described(inputs),
            "outputs": described(outputs),
        }
    )


def invalid(happened: str, expected: str = "a request of the Open Inference Protocol v2") -> CallerError:
    """The error of a request that cannot be understood."""
    return CallerError(
        Code.REQUEST_INVALID, happened, expected=expected, todo="see docs/guides/serving.md for the protocol"
    )


def _split(body: memoryview, header_length: str | None) -> tuple[memoryview, memoryview]:
    if header_length is None:
        return body, body[len(body) :]
    number = header_length.isascii() and header_length.isdecimal() and len(header_length) <= 12
    if not number or int(header_length) > len(body):
        raise invalid(f"{HEADER_LENGTH} is {header_length[:32]!r}", f"0 to {len(body)}")
    length = int(header_length)
    return body[:length], body[length:]


def _inline(item: _Input, dtype: DType) -> bytes:
    typecode = _TYPECODES.get(dtype)
    if typecode is None:
        raise invalid(f"{item.datatype} in JSON", "FP16 as binary tensor")
    try:
        values = array(typecode, list(_numbers(item.data, 0)))
    except (OverflowError, TypeError) as error:
        raise invalid(f"the data of the input {item.name[:64]!r}: {str(error)[:200]}", "numbers") from error
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _numbers(data: object, depth: int) -> Iterator[int | float]:
    """The elements of a nested list in order."""
    if isinstance(data, list) and depth < _MAX_DEPTH:
        for item in data:
            yield from _numbers(item, depth + 1)
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield data
    else:
        raise TypeError(f"it holds {type(data).__name__} at depth {depth}")


def _listed(part: memoryview, dtype: DType) -> Sequence[float]:
    typecode = _TYPECODES.get(dtype)
    if typecode is None:
        raise invalid(f"{NAMES[dtype]} in JSON", "FP16 as binary tensor")
    values = array(typecode)
    values.frombytes(part)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
