"""Moves an activation into the operator before it, where TFLite can run it there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from modelfleet_build.tflite.graph import Activation, Graph, Node

_CLIPS = {
    (0.0, 6.0): Activation.RELU6,
    (-1.0, 1.0): Activation.RELU_N1_TO_1,
    (0.0, float("inf")): Activation.RELU,
}


def activation_of(graph: Graph, node: Node) -> Activation:
    """Which fusable activation ``node`` is; ``NONE`` where it is something else."""
    if node.op == "Relu":
        return Activation.RELU
    if node.op != "Clip":
        return Activation.NONE
    bounds = clip_bounds(graph, node)
    return _CLIPS.get(bounds, Activation.NONE) if bounds is not None else Activation.NONE


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Lower and upper bound of a ``Clip``; None where they are not constants."""
    found: list[float] = []
    for index, (attribute, unbounded) in enumerate((("min", float("-inf")), ("max", float("inf"))), start=1):
        if node.has_input(index):
            constant = graph.constants.get(node.inputs[index])
            if constant is None or constant.size != 1:
                return None
            found.append(float(constant.reshape(())))
        else:
            found.append(node.number(attribute, unbounded))
    return found[0], found[1]


def fuse(graph: Graph, fusable: Collection[str]) -> Graph:
    """Fold each activation into its producer.

    Only where the producer is of an operator in ``fusable``, is read by the activation alone and is not
    itself an output of the model.
    """
    consumers = graph.consumers()
    producers = graph.producers()
    absorbed: dict[str, tuple[Activation, str]] = {}
    dropped: set[int] = set()
    for node in graph.nodes:
        activation = activation_of(graph, node)
        if activation is Activation.NONE:
            continue
        source = node.inputs[0]
        producer = producers.get(source)
        if producer is None or producer.op not in fusable or source in graph.outputs:
            continue
        if len(consumers[source]) == 1 and source not in absorbed:
            absorbed[source] = (activation, node.output)
            dropped.add(id(node))
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node) in dropped:
            continue
        if node.output in absorbed:
            activation, output = absorbed[node.output]
            node = replace(node, outputs=(output, *node.outputs[1:]), activation=activation)
        nodes.append(node)
    return graph.with_nodes(tuple(nodes))
