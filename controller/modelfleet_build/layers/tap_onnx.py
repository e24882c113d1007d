"""Inner values of ONNX files in ONNX Runtime: fp32, fp16, QDQ and dynamic int8, TensorRT's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from modelfleet_build.layers.tap import FloatArray, StoredRange, TapRequest, opaque, stored_range

_DEQUANTISED = "_DequantizeLinear_Output"


class OnnxSession:
    """A model in memory, run on the CPU with one thread."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=settings, providers=["CPUExecutionProvider"]
        )
        self._outputs = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, FloatArray]:
        """Every output by name, as float32."""
        answers = self._session.run(self._outputs, dict(inputs))
        return {name: np.asarray(item, np.float32) for name, item in zip(self._outputs, answers, strict=True)}


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The same model that gives exactly these values; their types are left to the runtime."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[:]
    made.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return made


class OnnxTap:
    """A `Tap` over an ONNX file. A quantized value is read as its consumers read it: after dequantization."""

    def __init__(self, request: TapRequest) -> None:
        model = onnx.load(str(request.path))
        made_by = {output: node for node in model.graph.node for output in node.output if output}
        self._places = {
            name: place
            for name in request.wanted
            if (place := _place(name, made_by, model.graph)) is not None
        }
        if not self._places:
            raise opaque(request.path, "none of its values has the name of one of the float model")
        constants = {item.name: item for item in model.graph.initializer}
        self._stored = {
            name: found
            for name, place in self._places.items()
            if (found := _stored(made_by.get(place), constants)) is not None
        }
        self._session = OnnxSession(with_outputs(model, sorted(set(self._places.values()))))

    @property
    def names(self) -> tuple[str, ...]:
        """See `Tap.names`."""
        return tuple(self._places)

    def stored(self, name: str) -> StoredRange | None:
        """See `Tap.stored`."""
        return self._stored.get(name)

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """See `Tap.run`."""
        values = self._session.run(inputs)
        return {name: values[place] for name, place in self._places.items()}


def _place(name: str, made_by: Mapping[str, onnx.NodeProto], graph: onnx.GraphProto) -> str | None:
    """The value to read for a value of the parent."""
    dequantised = name + _DEQUANTISED
    if dequantised in made_by:
        return dequantised
    if name not in made_by:
        return None
    # Other tools give the pair names of their own: follow the value through it.
    for quantise in graph.node:
        if quantise.op_type == "QuantizeLinear" and quantise.input[0] == name:
            for restore in graph.node:
                if restore.op_type == "DequantizeLinear" and restore.input[0] == quantise.output[0]:
                    return str(restore.output[0])
    return name


def _stored(node: onnx.NodeProto | None, constants: Mapping[str, onnx.TensorProto]) -> StoredRange | None:
    if node is None or node.op_type != "DequantizeLinear" or node.input[1] not in constants:
        return None
    scale = numpy_helper.to_array(constants[node.input[1]])
    if scale.size != 1:
        return None
    has_zero = len(node.input) > 2 and node.input[2] in constants
    zero = numpy_helper.to_array(constants[node.input[2]]) if has_zero else np.zeros((), np.uint8)
    return stored_range(scale.reshape(()), zero.reshape(()), zero.dtype)
