"""Scales and offsets by channel that constant operators apply, and their way into a convolution.

``BatchNormalization`` and a ``Mul`` or ``Add`` of a constant per channel are all ``gain * x + shift``. A run
of them becomes one, and one behind a convolution becomes a part of its weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from modelfleet_build.tflite.graph import Constant, FloatArray, Graph, Node, Shape

Affine = tuple[FloatArray, FloatArray]
_ABSORBING = frozenset({"Conv", "ConvTranspose"})


def gain_and_shift(graph: Graph, node: Node) -> Affine:
    """What a ``BatchNormalization`` does to each channel.

    Raises:
        Refused: It is in training mode or its statistics are no constants.
    """
    if node.integer("training_mode", 0):
        raise node.refuse("training mode cannot be converted")
    parts = [graph.constants.get(name) for name in node.inputs[1:5]]
    if any(part is None or part.dtype != np.float32 for part in parts) or len(parts) != 4:
        raise node.refuse("its scale, offset, mean and variance must be float32 constants of the model")
    scale, offset, mean, variance = (np.asarray(part, np.float64).reshape(-1) for part in parts)
    gain = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
    return gain.astype(np.float32), (offset - mean * gain).astype(np.float32)


def fold_affines(graph: Graph) -> Graph:
    """Merge runs of affine operators, and those behind a convolution into its weights."""
    readers, producers = graph.consumers(), graph.producers()
    nodes: dict[str, Node] = {node.output: node for node in graph.nodes}
    constants: dict[str, Constant] = {}
    for node in graph.nodes:
        found = _affine(graph, node)
        if found is None:
            continue
        source, affine = found
        before = nodes.get(source)
        lonely = before is not None and len(readers[source]) == 1 and source not in graph.outputs
        known = graph.with_nodes((), constants)
        if before is None or not lonely or source not in producers:
            pass
        elif before.op in _ABSORBING and _weights(known, before) is not None:
            del nodes[source]
            nodes[node.output] = _absorbed(known, before, node, affine, constants)
        elif before.op == "BatchNormalization":
            gain, shift = gain_and_shift(known, before)
            del nodes[source]
            combined = (gain * affine[0], shift * affine[0] + affine[1])
            nodes[node.output] = _normalization(before.inputs[0], node, combined, constants)
        elif node.op != "BatchNormalization" and (behind := _affine(known, before)) is not None:
            gain, shift = behind[1]
            del nodes[source]
            combined = (gain * affine[0], shift * affine[0] + affine[1])
            nodes[node.output] = _normalization(behind[0], node, combined, constants)
    return graph.with_nodes(nodes.values(), constants)


def _affine(graph: Graph, node: Node) -> tuple[str, Affine] | None:
    """The value that ``node`` scales and what it does to each channel, or None."""
    if node.op == "BatchNormalization":
        return (node.inputs[0], gain_and_shift(graph, node)) if len(graph.shape(node.inputs[0])) > 1 else None
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    for position, source in enumerate(node.inputs):
        constant = graph.constants.get(node.inputs[1 - position])
        if constant is None or source in graph.constants or constant.dtype != np.float32:
            continue
        value = _by_channel(np.asarray(constant, np.float32), graph.shape(source), graph.shape(node.output))
        if value is None or (position == 1 and node.op in ("Sub", "Div")):
            return None
        one, zero = np.ones_like(value), np.zeros_like(value)
        if node.op == "Div" and not np.all(np.abs(value) > 1e-30):
            return None
        with np.errstate(divide="ignore"):
            table: dict[str, Affine] = {
                "Add": (one, value),
                "Sub": (one, -value),
                "Mul": (value, zero),
                "Div": (one / value, zero),
            }
        return source, table[node.op]
    return None


def _by_channel(constant: FloatArray, shape: Shape, result: Shape) -> FloatArray | None:
    """The constant as one number per channel, where it is nothing else."""
    if shape != result or len(shape) < 3 or constant.ndim > len(shape):
        return None
    wide = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if wide.size != wide.shape[1]:
        return None
    return np.ascontiguousarray(np.broadcast_to(wide.reshape(-1), (shape[1],)))


def _weights(graph: Graph, node: Node) -> FloatArray | None:
    """Weights of a convolution whose constants are all there to be changed."""
    weights = graph.constants.get(node.inputs[1])
    bias = graph.constants.get(node.inputs[2]) if node.has_input(2) else np.zeros(0)
    if weights is None or bias is None or weights.dtype != np.float32:
        return None
    return np.asarray(weights, np.float32)


def _absorbed(graph: Graph, conv: Node, node: Node, affine: Affine, constants: dict[str, Constant]) -> Node:
    """The convolution with ``affine`` in its weights, and ``node``'s output."""
    gain, shift = affine
    weights = graph.constants[conv.inputs[1]]
    if conv.op == "Conv":
        scaled = weights * gain.reshape(-1, *(1,) * (weights.ndim - 1))
    else:  # [channels, filters of a group, ...]: every group has its own filters
        groups = conv.integer("group", 1)
        by_group = weights.reshape(groups, -1, *weights.shape[1:])
        factor = gain.reshape(groups, 1, -1, *(1,) * (weights.ndim - 2))
        scaled = (by_group * factor).reshape(weights.shape)
    bias = graph.constants[conv.inputs[2]].reshape(-1) * gain if conv.has_input(2) else 0.0
    names = (f"{node.output}:weights", f"{node.output}:bias")
    constants[names[0]] = scaled.astype(np.float32)
    constants[names[1]] = (bias + shift).astype(np.float32)
    return replace(conv, inputs=(conv.inputs[0], *names), outputs=node.outputs[:1])


def _normalization(source: str, node: Node, affine: Affine, constants: dict[str, Constant]) -> Node:
    """``affine`` as a ``BatchNormalization`` with mean 0 and variance 1."""
    gain, shift = (np.asarray(part, np.float32) for part in affine)
    values = {"gain": gain, "shift": shift, "mean": np.zeros_like(gain), "variance": np.ones_like(gain)}
    names = [f"{node.output}:{key}" for key in values]
    constants.update(zip(names, values.values(), strict=True))
    return Node(node.name, "BatchNormalization", (source, *names), node.outputs[:1], {"epsilon": 0.0})
