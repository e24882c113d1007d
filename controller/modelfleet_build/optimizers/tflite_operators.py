"""Names of a TFLite file's operators, and the multiply-accumulates that each of them takes.

Counted are the operators whose work is a sum of products: convolutions, fully connected ones and matrix
products. Every other operator counts 0, as is usual where networks are compared.
"""

from __future__ import annotations

from functools import cache

from modelfleet_runtimes.tflite_file import CUSTOM, FileOperator, TfliteFile


@cache
def _names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def operator_name(operator: FileOperator) -> str:
    """Name in the schema's `BuiltinOperator`; a custom operator's own name."""
    if operator.code == CUSTOM:
        return operator.custom
    return _names().get(operator.code, f"operator {operator.code}")


def told(file: TfliteFile, operator: FileOperator) -> str:
    """The operator and what it gives, for people."""
    outputs = [file.tensors[index].name for index in operator.outputs if index >= 0]
    return f"{operator_name(operator)} {outputs[0]!r}" if outputs else operator_name(operator)


def macs(file: TfliteFile, operator: FileOperator) -> int:
    """Multiply-accumulates of one operator for one run, biases left out.

    With [n, h, w, o] the output and [o, kh, kw, i] the weights: CONV_2D n*h*w*o*kh*kw*i; DEPTHWISE_CONV_2D
    n*h*w*o*kh*kw; TRANSPOSE_CONV, which reads each input element once for each weight, input elements *
    kh*kw*o; FULLY_CONNECTED output elements * inputs of one output; BATCH_MATMUL the same.
    """
    name = operator_name(operator)
    if name == "CONV_2D":
        return _out(file, operator) * _product(file.tensors[operator.inputs[1]].shape[1:])
    if name == "DEPTHWISE_CONV_2D":
        return _out(file, operator) * _product(file.tensors[operator.inputs[1]].shape[1:3])
    if name == "TRANSPOSE_CONV":
        source, weights = file.tensors[operator.inputs[2]], file.tensors[operator.inputs[1]]
        return source.elements() * _product(weights.shape[:3])
    if name == "FULLY_CONNECTED":
        return _out(file, operator) * file.tensors[operator.inputs[1]].shape[-1]
    if name == "BATCH_MATMUL":
        left, out = file.tensors[operator.inputs[0]], file.tensors[operator.outputs[0]]
        # [..., m, k] x [..., k, n] -> [..., m, n]; k from the elements, so that a transposed left one counts.
        return out.elements() * (left.elements() // max(1, _product((*left.shape[:-2], out.shape[-2]))))
    return 0


def total_macs(file: TfliteFile) -> int:
    """Multiply-accumulates of the whole file."""
    return sum(macs(file, operator) for operator in file.operators)


def _out(file: TfliteFile, operator: FileOperator) -> int:
    return file.tensors[operator.outputs[0]].elements()


def _product(sizes: tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result
