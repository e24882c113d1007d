"""Breaks one layer of a quantized variant, as a converter or a bad calibration would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from modelfleet_runtimes.openvino import silence_telemetry

Deed = Callable[[Path, str], None]


# ------------------------------------------------------------------------------------------ ONNX, QDQ
def _change(model: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    item = next(item for item in model.graph.initializer if item.name == name)
    item.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(item)), name))


def _producer(model: onnx.ModelProto, value: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in model.graph.node if value in node.output)
    return found


def onnx_scale(path: Path, value: str) -> None:
    """The dequantization after the layer doubles its values."""
    model = onnx.load(path)
    node = _producer(model, f"{value}_DequantizeLinear_Output")
    scale = next(i for i in model.graph.initializer if i.name == node.input[1])
    model.graph.initializer.append(numpy_helper.from_array(2 * numpy_helper.to_array(scale), "poisoned"))
    node.input[1] = "poisoned"
    onnx.save(model, path)


def onnx_clip(path: Path, value: str) -> None:
    """The range is a fifth of what calibration found."""
    model = onnx.load(path)
    node = _producer(model, f"{value}_DequantizeLinear_Output")
    _change(model, node.input[1], lambda scale: (scale * 0.2).astype(scale.dtype))
    onnx.save(model, path)


def _onnx_conv(model: onnx.ModelProto, value: str) -> onnx.NodeProto:
    node = _producer(model, value)
    while node.op_type != "Conv":
        node = _producer(model, node.input[0])
    return node


def onnx_swap(path: Path, value: str) -> None:
    """The weights of two channels change places."""
    model = onnx.load(path)
    weights = _producer(model, _onnx_conv(model, value).input[1]).input[0]
    _change(model, weights, _swapped)
    onnx.save(model, path)


def onnx_pad(path: Path, value: str) -> None:
    """All of the padding is put at the top left."""
    model = onnx.load(path)
    for attribute in _onnx_conv(model, value).attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [2, 2, 0, 0]
    onnx.save(model, path)


# -------------------------------------------------------------------------------------------- TFLite
def _tflite(path: Path, change: Callable[[Any], None]) -> None:
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    change(model)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _tensor(model: Any, value: str) -> Any:
    return next(item for item in model.subgraphs[0].tensors if item.name.decode() == value)


def _operator(model: Any, value: str) -> Any:
    graph = model.subgraphs[0]
    return next(op for op in graph.operators if graph.tensors[op.outputs[0]].name.decode() == value)


def tflite_scale(path: Path, value: str) -> None:
    """The scales of the layer's weights are doubled."""

    def change(model: Any) -> None:
        weights = model.subgraphs[0].tensors[_operator(model, value).inputs[1]]
        weights.quantization.scale = [2 * item for item in weights.quantization.scale]

    _tflite(path, change)


def tflite_clip(path: Path, value: str) -> None:
    """The range is a fifth of what calibration found."""

    def change(model: Any) -> None:
        quantization = _tensor(model, value).quantization
        quantization.scale = [0.2 * item for item in quantization.scale]

    _tflite(path, change)


def tflite_swap(path: Path, value: str) -> None:
    """The weights of two channels change places."""

    def change(model: Any) -> None:
        weights = model.subgraphs[0].tensors[_operator(model, value).inputs[1]]
        buffer = model.buffers[weights.buffer]
        data = np.array(buffer.data, np.uint8).view(np.int8).reshape(weights.shape)
        last = weights.quantization.quantizedDimension
        moved = np.moveaxis(_swapped(np.moveaxis(data, last, 0)), 0, last)
        buffer.data = np.ascontiguousarray(moved).view(np.uint8).reshape(-1)

    _tflite(path, change)


def tflite_pad(path: Path, value: str) -> None:
    """All of the padding is put at the top left."""

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        pads = _operator(model, graph.tensors[_operator(model, value).inputs[0]].name.decode()).inputs[1]
        data = np.array([[0, 0], [2, 0], [2, 0], [0, 0]], np.int32)
        model.buffers[graph.tensors[pads].buffer].data = data.view(np.uint8).reshape(-1)

    _tflite(path, change)


# ------------------------------------------------------------------------------------------ OpenVINO
def _openvino(path: Path, change: Callable[[Any, Any], None]) -> None:
    silence_telemetry()
    import openvino

    model = openvino.Core().read_model(str(path))
    change(model, openvino)
    beside = path.with_name("changed.xml")
    openvino.save_model(model, str(beside), compress_to_fp16=False)
    del model
    beside.rename(path)
    beside.with_suffix(".bin").rename(path.with_suffix(".bin"))


def _port(model: Any, value: str) -> Any:
    return next(
        port
        for op in model.get_ordered_ops()
        if op.get_type_name() != "Result"
        for port in op.outputs()
        if value in port.get_names()
    )


def _fake_quantize(model: Any, value: str) -> Any:
    targets = _port(model, value).get_target_inputs()
    return next(t.get_node() for t in targets if t.get_node().get_type_name() == "FakeQuantize")


def _times(openvino: Any, operator: Any, index: int, factor: float) -> None:
    old = operator.input_value(index)
    made = openvino.opset13.multiply(old, np.array(factor, np.float32))
    constant = openvino.op.Constant(_evaluated(openvino, made))
    operator.input(index).replace_source_output(constant.output(0))


def _evaluated(openvino: Any, operator: Any) -> Any:
    model = openvino.Model([openvino.opset13.result(operator.output(0))], [])
    return np.array(openvino.Core().compile_model(model, "CPU")([])[0], np.float32)


def openvino_scale(path: Path, value: str) -> None:
    """What the quantization after the layer gives is doubled."""

    def change(model: Any, openvino: Any) -> None:
        for index in (3, 4):
            _times(openvino, _fake_quantize(model, value), index, 2.0)

    _openvino(path, change)


def openvino_clip(path: Path, value: str) -> None:
    """The range is a fifth of what calibration found."""

    def change(model: Any, openvino: Any) -> None:
        for index in (1, 2, 3, 4):
            _times(openvino, _fake_quantize(model, value), index, 0.2)

    _openvino(path, change)


def openvino_swap(path: Path, value: str) -> None:
    """The weights of two channels change places."""

    def change(model: Any, openvino: Any) -> None:
        node = _port(model, value).get_node()
        while "Convolution" not in node.get_type_name():
            before = [node.input_value(index).get_node() for index in range(node.get_input_size())]
            node = next(item for item in before if item.get_type_name() not in ("Constant", "Convert"))
        source = node.input(1)
        node = node.input_value(1).get_node()
        while node.get_type_name() != "Constant":
            source, node = node.input(0), node.input_value(0).get_node()
        source.replace_source_output(openvino.op.Constant(_swapped(np.array(node.get_data()))).output(0))

    _openvino(path, change)


def openvino_pad(path: Path, value: str) -> None:
    """All of the padding is put at the top left of the convolution before the value."""
    text = path.read_text()
    at = text.index(f'names="{value}"')
    begin = max(text.rindex('type="Convolution"', 0, at), text.rfind('type="GroupConvolution"', 0, at))
    changed = re.sub(
        r'pads_begin="1, 1" pads_end="1, 1"', 'pads_begin="2, 2" pads_end="0, 0"', text[begin:at], count=1
    )
    assert changed != text[begin:at]
    path.write_text(text[:begin] + changed + text[at:])


def _swapped(weights: Any) -> Any:
    """The two rows that differ most from their neighbours change places."""
    changed = weights.copy()
    rows = weights.reshape(len(weights), -1).astype(np.float64)
    one = int(np.abs(rows).sum(axis=1).argmax())
    other = int(((rows - rows[one]) ** 2).sum(axis=1).argmax())
    changed[[one, other]] = weights[[other, one]]
    return changed


DEEDS: dict[str, dict[str, Deed]] = {
    "x86-onnxruntime.int8": {"scale": onnx_scale, "clip": onnx_clip, "swap": onnx_swap, "pad": onnx_pad},
    "arm-litert.int8": {"scale": tflite_scale, "clip": tflite_clip, "swap": tflite_swap, "pad": tflite_pad},
    "x86-openvino.int8": {
        "scale": openvino_scale,
        "clip": openvino_clip,
        "swap": openvino_swap,
        "pad": openvino_pad,
    },
}
