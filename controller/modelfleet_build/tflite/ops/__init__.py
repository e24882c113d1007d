"""The table of ONNX operators that can be converted. A new one is a function and a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelfleet_build.tflite.ops import (
    activation,
    conv,
    dense,
    elementwise,
    normalise,
    pool,
    reduce,
    resize,
    shaping,
    slicing,
    transposed,
)
from modelfleet_build.tflite.ops.elementwise import EmitFunction, composed


@dataclass(frozen=True, slots=True)
class Row:
    """How one ONNX operator is converted.

    Attributes:
        emit: Emits the TFLite operators for one node.
        makes: The TFLite operators it becomes, RESHAPE and TRANSPOSE between layouts aside.
        refuses: What of it is refused; empty where nothing is.
        fuses: Whether it runs a following Relu, Clip(0, 6) or Clip(-1, 1) by itself.
        any_kind: Whether it takes integers and conditions; all others take float32 alone.
    """

    emit: EmitFunction
    makes: str
    refuses: str = ""
    fuses: bool = False
    any_kind: bool = False


_SHAPE = "only a new shape"
_SPATIAL = "three spatial dimensions"
_WINDOW = f"{_SPATIAL}, negative pads"
_POOL = f"{_WINDOW}, dilations, windows over padding alone, auto_pad with strides above the kernel"

OPERATORS: Mapping[str, Row] = {
    "Abs": Row(composed(elementwise.absolute), "MUL, MAXIMUM"),
    "Add": Row(elementwise.variadic("ADD"), "ADD", fuses=True),
    "And": Row(elementwise.compare("LOGICAL_AND"), "LOGICAL_AND", any_kind=True),
    "ArgMax": Row(reduce.extreme_index("ARG_MAX"), "ARG_MAX", "select_last_index 1"),
    "ArgMin": Row(reduce.extreme_index("ARG_MIN"), "ARG_MIN", "select_last_index 1"),
    "AveragePool": Row(
        pool.average_pool,
        "AVERAGE_POOL_2D; PAD and MUL where padding is not SAME",
        _POOL,
        fuses=True,
    ),
    "BatchNormalization": Row(
        normalise.batch_normalization,
        "part of the convolution before it, else MUL, ADD",
        "training mode, statistics that are no constants",
        fuses=True,
    ),
    "Cast": Row(elementwise.cast, "CAST", "types other than float32, int32, int64 and bool", any_kind=True),
    "Ceil": Row(elementwise.unary("CEIL"), "CEIL"),
    "Clip": Row(
        composed(activation.clip),
        "fused, else MUL with RELU6 or MINIMUM, MAXIMUM",
        "bounds that are no constants",
    ),
    "Concat": Row(slicing.concat, "CONCATENATION", any_kind=True),
    "Conv": Row(
        conv.conv,
        "CONV_2D or DEPTHWISE_CONV_2D; PAD where padding is not SAME",
        f"{_WINDOW}, weights that are no constants",
        fuses=True,
    ),
    "ConvTranspose": Row(
        transposed.conv_transpose,
        "TRANSPOSE_CONV, SLICE; SPLIT for groups; PAD, DEPTHWISE_CONV_2D for one group per channel",
        f"{_WINDOW}, weights that are no constants, auto_pad with output_padding",
    ),
    "Cos": Row(elementwise.unary("COS", "CosOptions"), "COS"),
    "DepthToSpace": Row(shaping.depth_to_space, "RESHAPE, TRANSPOSE, RESHAPE"),
    "Div": Row(elementwise.divide, "DIV, or MUL for a constant divisor", fuses=True),
    "Dropout": Row(shaping.identity, "nothing", "training mode, its mask"),
    "Elu": Row(composed(activation.elu), "ELU"),
    "Equal": Row(elementwise.compare("EQUAL"), "EQUAL", any_kind=True),
    "Erf": Row(
        composed(elementwise.error_function), "a polynomial with error below 1.5e-7; in Gelu's form GELU"
    ),
    "Exp": Row(elementwise.unary("EXP"), "EXP"),
    "Expand": Row(shaping.expand, "BROADCAST_TO"),
    "Flatten": Row(shaping.reshape, _SHAPE, any_kind=True),
    "Floor": Row(elementwise.unary("FLOOR"), "FLOOR"),
    "Gather": Row(slicing.gather, "SLICE or GATHER", "indices that are no constants", any_kind=True),
    "Gelu": Row(composed(activation.gelu), "GELU"),
    "Gemm": Row(dense.gemm, "FULLY_CONNECTED, or BATCH_MATMUL for two values", fuses=True),
    "GlobalAveragePool": Row(pool.global_average_pool, "MEAN"),
    "GlobalMaxPool": Row(pool.global_max_pool, "MAX_POOL_2D", _SPATIAL),
    "Greater": Row(elementwise.compare("GREATER"), "GREATER", any_kind=True),
    "GreaterOrEqual": Row(elementwise.compare("GREATER_EQUAL"), "GREATER_EQUAL", any_kind=True),
    "GroupNormalization": Row(normalise.group_normalization, "MEAN, SUB, MUL, ADD, RSQRT"),
    "HardSigmoid": Row(composed(activation.hard_sigmoid), "MUL, ADD with RELU6, MUL"),
    "HardSwish": Row(elementwise.unary("HARD_SWISH"), "HARD_SWISH"),
    "Identity": Row(shaping.identity, "nothing", any_kind=True),
    "InstanceNormalization": Row(normalise.instance_normalization, "MEAN, SUB, MUL, ADD, RSQRT"),
    "LRN": Row(
        normalise.local_response,
        "MUL, PAD, AVERAGE_POOL_2D, ADD, RSQRT; POW for exponents other than 0.5, 0.75 and 1",
        "even sizes",
    ),
    "LayerNormalization": Row(
        normalise.layer_normalization, "MEAN, SUB, MUL, ADD, RSQRT", "outputs of mean and deviation"
    ),
    "LeakyRelu": Row(
        composed(activation.leaky_relu), "MUL, MAXIMUM; LEAKY_RELU for slopes outside of 0 to 1"
    ),
    "Less": Row(elementwise.compare("LESS"), "LESS", any_kind=True),
    "LessOrEqual": Row(elementwise.compare("LESS_EQUAL"), "LESS_EQUAL", any_kind=True),
    "Log": Row(elementwise.unary("LOG"), "LOG"),
    "LogSoftmax": Row(activation.log_softmax, "LOG_SOFTMAX"),
    "LpNormalization": Row(normalise.lp_normalization, "MUL, SUM, SQRT, DIV"),
    "MatMul": Row(
        dense.matmul,
        "FULLY_CONNECTED for a constant matrix on the right, else BATCH_MATMUL",
        "rank above 5",
        fuses=True,
    ),
    "Max": Row(elementwise.variadic("MAXIMUM"), "MAXIMUM"),
    "MaxPool": Row(
        pool.max_pool,
        "MAX_POOL_2D; PAD or MIRROR_PAD where padding is not SAME",
        f"{_POOL}, its indices",
        fuses=True,
    ),
    "Mean": Row(elementwise.mean, "ADD, MUL", fuses=True),
    "Min": Row(elementwise.variadic("MINIMUM"), "MINIMUM"),
    "Mish": Row(composed(activation.mish), "LOGISTIC, LOG, TANH, MUL"),
    "Mul": Row(elementwise.variadic("MUL"), "MUL", fuses=True),
    "Neg": Row(composed(elementwise.negative), "MUL"),
    "Not": Row(elementwise.unary("LOGICAL_NOT"), "LOGICAL_NOT", any_kind=True),
    "Or": Row(elementwise.compare("LOGICAL_OR"), "LOGICAL_OR", any_kind=True),
    "PRelu": Row(activation.prelu, "RELU, SUB, MUL, ADD"),
    "Pad": Row(slicing.pad, "PAD, PADV2 or MIRROR_PAD; SLICE for negative pads", "mode wrap, rank above 4"),
    "Pow": Row(elementwise.power, "MUL, SQRT, DIV or POW"),
    "Reciprocal": Row(composed(elementwise.reciprocal), "DIV"),
    "ReduceL1": Row(reduce.absolute_sum, "ABS, SUM"),
    "ReduceL2": Row(reduce.norm, "MUL, SUM, SQRT"),
    "ReduceLogSum": Row(reduce.log_sum, "SUM, LOG"),
    "ReduceLogSumExp": Row(reduce.log_sum_exp, "REDUCE_MAX, SUB, EXP, SUM, LOG, ADD"),
    "ReduceMax": Row(reduce.reduction("REDUCE_MAX"), "REDUCE_MAX"),
    "ReduceMean": Row(reduce.reduction("MEAN"), "MEAN"),
    "ReduceMin": Row(reduce.reduction("REDUCE_MIN"), "REDUCE_MIN"),
    "ReduceProd": Row(reduce.reduction("REDUCE_PROD"), "REDUCE_PROD"),
    "ReduceSum": Row(reduce.reduction("SUM"), "SUM"),
    "ReduceSumSquare": Row(reduce.square_sum, "MUL, SUM"),
    "Relu": Row(composed(activation.clip), "fused, else RELU"),
    "Reshape": Row(shaping.reshape, _SHAPE, any_kind=True),
    "Resize": Row(
        resize.resize,
        "RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR where exact; else GATHER, or BATCH_MATMUL by a constant",
        f"{_SPATIAL}, tf_crop_and_resize, antialias, keep_aspect_ratio_policy",
    ),
    "Selu": Row(composed(activation.selu), "ELU, RELU, SUB, MUL, ADD"),
    "Sigmoid": Row(elementwise.unary("LOGISTIC"), "LOGISTIC"),
    "Sin": Row(elementwise.unary("SIN"), "SIN"),
    "Slice": Row(slicing.slice_, "SLICE, STRIDED_SLICE; REVERSE_V2 for negative steps", any_kind=True),
    "Softmax": Row(activation.softmax, "SOFTMAX"),
    "Softplus": Row(composed(activation.softplus), "ABS, LOGISTIC, LOG, RELU, SUB"),
    "SpaceToDepth": Row(shaping.space_to_depth, "SPACE_TO_DEPTH"),
    "Split": Row(slicing.split, "SPLIT, or SLICE for parts that differ", any_kind=True),
    "Sqrt": Row(elementwise.unary("SQRT"), "SQRT"),
    "Squeeze": Row(shaping.reshape, _SHAPE, any_kind=True),
    "Sub": Row(elementwise.variadic("SUB"), "SUB", fuses=True),
    "Sum": Row(elementwise.variadic("ADD"), "ADD", fuses=True),
    "Tanh": Row(elementwise.unary("TANH"), "TANH"),
    "Tile": Row(shaping.tile, "TILE"),
    "Transpose": Row(shaping.transpose, "nothing; a TRANSPOSE only where a reader needs it", any_kind=True),
    "Unsqueeze": Row(shaping.reshape, _SHAPE, any_kind=True),
    "Upsample": Row(resize.resize, "as Resize", _SPATIAL),
    "Where": Row(elementwise.where, "SELECT_V2", any_kind=True),
}

FUSABLE = frozenset(name for name, row in OPERATORS.items() if row.fuses)
