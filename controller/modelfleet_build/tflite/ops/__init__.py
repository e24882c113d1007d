"""The table of ONNX operators that can be converted. A new one is a function and a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelfleet_build.tflite.emitter import Emitter
from modelfleet_build.tflite.graph import Node
from modelfleet_build.tflite.ops import conv, dense, elementwise, pool, resize, shaping


@dataclass(frozen=True, slots=True)
class Row:
    """How one ONNX operator is converted.

    Attributes:
        emit: Emits the TFLite operators for one node.
        fuses: Whether it runs a following Relu, Clip(0, 6) or Clip(-1, 1) by itself.
    """

    emit: Callable[[Emitter, Node], None]
    fuses: bool = False


OPERATORS: Mapping[str, Row] = {
    "Abs": Row(elementwise.unary("ABS")),
    "Add": Row(elementwise.binary("ADD", "AddOptions"), fuses=True),
    "AveragePool": Row(pool.average_pool, fuses=True),
    "BatchNormalization": Row(elementwise.batch_normalization, fuses=True),
    "Clip": Row(elementwise.clip),
    "Concat": Row(shaping.concat),
    "Conv": Row(conv.conv, fuses=True),
    "ConvTranspose": Row(conv.conv_transpose),
    "Div": Row(elementwise.binary("DIV", "DivOptions"), fuses=True),
    "Exp": Row(elementwise.unary("EXP")),
    "Flatten": Row(shaping.reshape),
    "Gemm": Row(dense.gemm, fuses=True),
    "GlobalAveragePool": Row(pool.global_average_pool),
    "GlobalMaxPool": Row(pool.global_max_pool),
    "HardSwish": Row(elementwise.unary("HARD_SWISH")),
    "LeakyRelu": Row(elementwise.leaky_relu),
    "Log": Row(elementwise.unary("LOG")),
    "MatMul": Row(dense.matmul, fuses=True),
    "Max": Row(elementwise.extremum("MAXIMUM")),
    "MaxPool": Row(pool.max_pool, fuses=True),
    "Min": Row(elementwise.extremum("MINIMUM")),
    "Mul": Row(elementwise.binary("MUL", "MulOptions"), fuses=True),
    "Neg": Row(elementwise.unary("NEG")),
    "Pad": Row(shaping.pad),
    "ReduceMean": Row(shaping.reduce_mean),
    "Relu": Row(elementwise.clip),
    "Reshape": Row(shaping.reshape),
    "Resize": Row(resize.resize),
    "Sigmoid": Row(elementwise.unary("LOGISTIC")),
    "Softmax": Row(elementwise.softmax),
    "Sqrt": Row(elementwise.unary("SQRT")),
    "Squeeze": Row(shaping.reshape),
    "Sub": Row(elementwise.binary("SUB", "SubOptions"), fuses=True),
    "Tanh": Row(elementwise.unary("TANH")),
    "Transpose": Row(shaping.transpose),
    "Unsqueeze": Row(shaping.reshape),
}

FUSABLE = frozenset(name for name, row in OPERATORS.items() if row.fuses)
