"""Rewrites of groups of operators that have one name in TFLite, or need no operator of their own.

Each only where the values in between are read by nobody else and are no outputs of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from modelfleet_build.tflite.graph import Constant, Graph, Node


def name_activations(graph: Graph) -> Graph:
    """``x * HardSigmoid(x)`` -> ``HardSwish``, and the exporters' spelling of ``Gelu`` by ``Erf``."""
    found = Found(graph)
    for node in graph.nodes:
        match = found.hard_swish(node) or found.gelu(node)
        if match is not None:
            source, op, gone = match
            found.replace(node, Node(node.name, op, (source,), node.outputs), gone)
    return graph.with_nodes(found.nodes())


def add_biases(graph: Graph) -> Graph:
    """``MatMul`` by a constant and ``Add`` of a vector -> ``MatMul`` with a third input.

    A single column stays apart. It is a denominator or the like more often than a layer; there a sum that
    nearly cancels shows in which order it was added, and one ``Add`` of one element costs nothing.
    """
    found = Found(graph)
    for node in graph.nodes:
        product = found.producer(node, "Add", "MatMul")
        if product is None or len(product.inputs) != 2:
            continue
        others = [name for name in node.inputs if name != product.output]
        weights = graph.constants.get(product.inputs[1])
        bias = graph.constants.get(others[0]) if others else None
        if weights is None or bias is None or weights.ndim != 2 or len(graph.shape(product.inputs[0])) < 2:
            continue
        if bias.size == 1 or bias.ndim == 0:
            continue
        if bias.size == bias.shape[-1] == weights.shape[1] and bias.ndim <= len(graph.shape(node.output)):
            name = f"{node.output}:bias"
            found.constants[name] = bias.reshape(-1)
            merged = replace(product, inputs=(*product.inputs, name), outputs=node.outputs)
            found.replace(node, merged, [product])
    return graph.with_nodes(found.nodes(), found.constants)


def absorb_pads(graph: Graph) -> Graph:
    """``Pad`` by zeros before a ``Conv`` -> pads of the ``Conv``."""
    found = Found(graph)
    for node in graph.nodes:
        before = found.producer(node, "Conv", "Pad")
        if (
            before is None
            or before.output != node.inputs[0]
            or node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        ):
            continue
        amounts = _zero_pads(graph, before)
        rank = len(graph.shape(before.inputs[0]))
        if amounts is None or any(amounts[:2]) or any(amounts[rank : rank + 2]) or min(amounts) < 0:
            continue
        own = node.integers("pads", None) if node.text("auto_pad", "NOTSET") == "NOTSET" else None
        own = own or (0,) * (2 * rank - 4)
        added = (*amounts[2:rank], *amounts[rank + 2 :])
        pads = tuple(a + b for a, b in zip(own, added, strict=True))
        attributes = {key: value for key, value in node.attributes.items() if key != "auto_pad"}
        merged = replace(
            node, inputs=(before.inputs[0], *node.inputs[1:]), attributes={**attributes, "pads": pads}
        )
        found.replace(node, merged, [before])
    return graph.with_nodes(found.nodes())


def _zero_pads(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Pads of all axes of a ``Pad`` that fills with zeros."""
    if node.text("mode", "constant") != "constant" or node.number("value", 0.0) != 0.0 or node.has_input(3):
        return None
    if node.has_input(2) and graph.scalar(node.inputs[2]) != 0.0:
        return None
    if not node.has_input(1):
        return node.integers("pads", None)
    pads = graph.constants.get(node.inputs[1])
    return None if pads is None else tuple(int(item) for item in pads.reshape(-1))


class Found:
    """What is replaced in a graph, and the questions that the patterns ask of it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants: dict[str, Constant] = {}
        self._producers = graph.producers()
        self._readers = graph.consumers()
        self._replaced: dict[str, Node] = {}
        self._gone: set[str] = set()

    def nodes(self) -> Iterator[Node]:
        """The nodes after all replacements, in order."""
        for node in self.graph.nodes:
            if node.output not in self._gone:
                yield self._replaced.get(node.output, node)

    def replace(self, node: Node, by: Node, gone: list[Node]) -> None:
        """Put ``by`` in the place of ``node`` and take the nodes ``gone`` out."""
        self._replaced[node.output] = by
        self._gone |= {item.output for item in gone}

    def producer(self, node: Node, op: str, before: str) -> Node | None:
        """The node of operator ``before`` whose output only ``node``, of operator ``op``, reads."""
        if node.op != op:
            return None
        for name in node.inputs:
            producer = self._producers.get(name)
            if producer is not None and producer.op == before and self._is_private(name, 1):
                return producer
        return None

    def hard_swish(self, node: Node) -> tuple[str, str, list[Node]] | None:
        """``x * HardSigmoid(x)`` with slope 1/6 and offset 1/2."""
        gate = self.producer(node, "Mul", "HardSigmoid")
        if gate is None or gate.inputs[0] not in node.inputs:
            return None
        exact = (
            math.isclose(gate.number("alpha", 0.2), 1 / 6, rel_tol=1e-5) and gate.number("beta", 0.5) == 0.5
        )
        return (gate.inputs[0], "HardSwish", [gate]) if exact else None

    def gelu(self, node: Node) -> tuple[str, str, list[Node]] | None:
        """``0.5 x (1 + erf(x / sqrt 2))`` in either order of its products."""
        if node.op != "Mul":
            return None
        factors, inner = self._factors(node)
        halves = [name for name in factors if _is_number(self.graph, name, 0.5)]
        values = [name for name in factors if name not in self.graph.constants]
        if len(factors) != 3 or len(halves) != 1 or len(values) != 2:
            return None
        for source, shifted in (values, values[::-1]):
            add = self._private_producer(shifted, "Add")
            if add is None or not any(_is_number(self.graph, name, 1.0) for name in add.inputs):
                continue
            for name in add.inputs:
                erf = self._private_producer(name, "Erf")
                scaled = self._private_producer(erf.inputs[0], "Div", "Mul") if erf is not None else None
                if erf is None or scaled is None or scaled.inputs[0] != source:
                    continue
                root = math.sqrt(2.0) if scaled.op == "Div" else math.sqrt(0.5)
                if _is_number(self.graph, scaled.inputs[1], root):
                    return source, "Gelu", [*inner, add, erf, scaled]
        return None

    def _factors(self, node: Node) -> tuple[list[str], list[Node]]:
        """The factors of a product of products, and the inner ones."""
        for position, name in enumerate(node.inputs):
            inner = self._private_producer(name, "Mul")
            if inner is not None:
                return [*inner.inputs, node.inputs[1 - position]], [inner]
        return list(node.inputs), []

    def _private_producer(self, name: str, *ops: str) -> Node | None:
        producer = self._producers.get(name)
        if producer is None or producer.op not in ops or not self._is_private(name, 1):
            return None
        return producer

    def _is_private(self, name: str, readers: int) -> bool:
        return name not in self.graph.outputs and len(self._readers.get(name, [])) == readers


def _is_number(graph: Graph, name: str, value: float) -> bool:
    found = graph.scalar(name)
    return found is not None and bool(np.isclose(found, value, rtol=1e-6))
