"""Which operators of a TFLite file stay in float, and whether they did.

`Recipe.keep_float` names nodes of the ONNX model by their first output. The converter keeps the names of
values but fuses and folds nodes: a node whose value is gone lives on in the operators that take in what it
gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_runtimes import tflite_file
from modelfleet_runtimes.tflite_file import FileOperator, TfliteFile

# Shapes, axes and the like are int32 in float operators, too; half-precision weights never mix with int8.
_FLOAT_SAFE = (tflite_file.FLOAT32, tflite_file.INT32)


def kept_tensors(model: Path, names: tuple[str, ...], file: TfliteFile) -> tuple[str, ...]:
    """Output tensors of the operators that must not be quantized, sorted.

    Args:
        model: The ONNX model.
        names: `Recipe.keep_float`.
        file: The float TFLite model made from it.

    Raises:
        CallerError: MF-1461, a name is no node's first output, or nothing of its node is left in the file.
    """
    if not names:
        return ()
    import onnx

    readers: dict[str, list[tuple[str, ...]]] = {}
    nodes: set[str] = set()
    for node in onnx.load(str(model), load_external_data=False).graph.node:
        nodes.add(node.output[0])
        for value in node.input:
            readers.setdefault(value, []).append(tuple(node.output))
    present = file.producers()
    kept: set[str] = set()
    for name in names:
        if name not in nodes:
            raise _unknown(name, "the model has no node with that first output")
        found = _absorbed(name, present, readers)
        if not found:
            raise _unknown(name, "the converter computed its node away")
        kept |= found
    return tuple(sorted(kept))


def check_kept(file: TfliteFile, kept: tuple[str, ...]) -> None:
    """Refuse a quantized file in which an operator that must stay in float is not.

    Raises:
        WorldError: MF-1432.
    """
    producers = file.producers()
    for name in kept:
        operator = producers.get(name)
        if operator is None or not _is_float(file, operator):
            raise WorldError(
                Code.CONVERSION_FAILED,
                f"ai-edge-quantizer did not leave the operator that gives {name!r} in float",
                expected="every operator of `keep_float` in float",
                todo="report the model",
            )


def _absorbed(
    name: str, present: Mapping[str, FileOperator], readers: Mapping[str, list[tuple[str, ...]]]
) -> set[str]:
    """The value itself where the file has it, else the nearest values after it that the file has."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in present:
            found.add(value)
            continue
        waiting.extend(output for outputs in readers.get(value, ()) for output in outputs)
    return found


def _is_float(file: TfliteFile, operator: FileOperator) -> bool:
    touched = [file.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    # Weights of less precision may also come in through an operator that widens them.
    widened = {
        item.outputs[0]
        for item in file.operators
        if item.code == tflite_file.DEQUANTIZE and file.tensors[item.inputs[0]].constant
    }
    return not widened & set(operator.inputs) and all(
        tensor.kind in _FLOAT_SAFE and not tensor.scales for tensor in touched
    )


def _unknown(name: str, why: str) -> CallerError:
    return CallerError(
        Code.KEEP_FLOAT_UNKNOWN,
        f"{name!r} cannot stay in float: {why}",
        expected="names of nodes' first outputs in the ONNX model",
        todo="correct `keep_float`; `fleetctl build` lists the names in its report",
    )
