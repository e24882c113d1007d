"""What `Recipe.keep_float` means for a model, in a form that every converter can be told.

A converter that is given a name it does not know says nothing and quantizes the node all the same; so names
are checked against the model here, and a node that the converter folded into another is followed there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError


@dataclass(frozen=True, slots=True)
class KeptNode:
    """A node that stays in float.

    Attributes:
        output: Name of its first output value.
        operator: Its operator type.
        inputs: Names of the values that it takes and that are not constants, in order.
    """

    output: str
    operator: str
    inputs: tuple[str, ...]


def kept_nodes(model: Any, keep_float: Collection[str]) -> tuple[KeptNode, ...]:
    """The nodes of a model that a recipe keeps in float.

    Args:
        model: An `onnx.ModelProto`.
        keep_float: See `port.Recipe.keep_float`.

    Raises:
        CallerError: MF-1461, the model has no node whose first output has that name.
    """
    constants = {item.name for item in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    known = {node.output[0]: node for node in model.graph.node}
    strange = sorted(set(keep_float) - set(known))
    if strange:
        raise CallerError(
            Code.KEEP_FLOAT_UNKNOWN,
            f"the model has no operator that gives {', '.join(map(repr, strange[:3]))}",
            expected="names of first outputs of the ONNX model's operators",
            todo="correct the list of operators that stay in float",
        )
    return tuple(
        KeptNode(name, known[name].op_type, tuple(i for i in known[name].input if i and i not in constants))
        for name in sorted(keep_float)
    )


@dataclass(frozen=True, slots=True)
class Followed:
    """Where kept nodes are in a folded model.

    Attributes:
        outputs: First outputs of the folded model's nodes, sorted.
        notes: One sentence for each node that has nothing left to keep in float.
    """

    outputs: tuple[str, ...]
    notes: tuple[str, ...]


def followed(model: Any, folded: Any, keep_float: Collection[str]) -> Followed:
    """The nodes of a folded model that compute what the kept nodes of the original did.

    A convolution whose batch normalisation was folded into it gives the value of the latter.

    Args:
        model: The original `onnx.ModelProto`.
        folded: The model that was made from it.
        keep_float: See `port.Recipe.keep_float`.

    Raises:
        CallerError: MF-1461, see `kept_nodes`.
    """
    left = {node.output[0] for node in folded.graph.node}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: set[str] = set()
    notes: list[str] = []
    for node in kept_nodes(model, keep_float):
        name = node.output
        while name not in left and len(readers.get(name, ())) == 1:
            name = readers[name][0].output[0]
        if name in left:
            found.add(name)
        else:
            notes.append(f"{node.output} ({node.operator}) is folded away; nothing of it is left to quantize")
    return Followed(tuple(sorted(found)), tuple(notes))
