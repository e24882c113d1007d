"""Inner values of TFLite files, in the interpreter's own kernels: a delegate would hide them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelfleet_build.layers.tap import FloatArray, StoredRange, TapRequest, opaque, stored_range
from modelfleet_runtimes.binding import to_physical

_TO_NCHW = (0, 3, 1, 2)


class TfliteTap:
    """A `Tap` over a TFLite file of our converter, whose tensors have the names of the ONNX values."""

    def __init__(self, request: TapRequest) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._contract = request.contract
        try:
            self._interpreter: Any = Interpreter(
                model_path=str(request.path),
                num_threads=1,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise opaque(request.path, " ".join(str(error).split())[:200]) from error
        runner = self._interpreter.get_signature_runner()
        self._inputs = {name: int(item["index"]) for name, item in runner.get_input_details().items()}
        physical = {
            **{item.physical.name: item.logical.name for item in request.contract.inputs},
            **{item.physical.name: item.logical.name for item in request.contract.outputs},
        }
        self._indices: dict[str, int] = {}
        self._stored: dict[str, StoredRange] = {}
        self._details: dict[str, Any] = {}
        for details in self._interpreter.get_tensor_details():
            name = _plain(str(details["name"]))
            name = physical.get(name, name)
            # The last of a name wins: a requantized copy is what the operators after it read.
            if name in request.wanted:
                self._indices[name] = int(details["index"])
                self._details[name] = details
        if not self._indices:
            raise opaque(request.path, "none of its tensors has the name of a value of the float model")
        for name, details in self._details.items():
            found = _stored(details)
            if found is not None:
                self._stored[name] = found

    @property
    def names(self) -> tuple[str, ...]:
        """See `Tap.names`."""
        return tuple(self._indices)

    def stored(self, name: str) -> StoredRange | None:
        """See `Tap.stored`."""
        return self._stored.get(name)

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """See `Tap.run`."""
        for binding in self._contract.inputs:
            value = to_physical(binding, inputs[binding.logical.name])
            self._interpreter.set_tensor(self._inputs[binding.physical.name], value)
        self._interpreter.invoke()
        return {name: self._read(name, index) for name, index in self._indices.items()}

    def _read(self, name: str, index: int) -> FloatArray:
        value = self._interpreter.get_tensor(index)
        details = self._details[name]
        if np.issubdtype(value.dtype, np.integer) and name in self._stored:
            scale, zero_point = details["quantization"]
            value = (value.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        value = np.asarray(value, np.float32)
        return np.ascontiguousarray(value.transpose(_TO_NCHW)) if value.ndim == 4 else value


def _plain(name: str) -> str:
    """The name without what the quantizer appends to tensors that it makes anew."""
    for suffix in ("_dequant", "_quantized", "_requant"):
        name = name.removesuffix(suffix)
    return name


def _stored(details: Any) -> StoredRange | None:
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if not np.issubdtype(dtype, np.integer) or not scale > 0:
        return None
    return stored_range(scale, zero_point, dtype)
