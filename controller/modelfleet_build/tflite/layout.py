"""Where a tensor's logical axes are stored.

Every value carries an *order*: stored axis ``i`` holds the logical axis ``order[i]``. Operators on images ask
for channels last, products for their natural order, most take what they get. So a ``Transpose`` costs nothing
but a new order, and elements move only where an operator needs them elsewhere.
"""

from __future__ import annotations

from modelfleet_build.tflite.graph import Shape

Order = tuple[int, ...]


def natural(rank: int) -> Order:
    """The logical order itself."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Batch, spatial axes, channels: NHWC at rank 4, NLC at rank 3, the natural order below."""
    return (0, *range(2, rank), 1) if rank > 2 else natural(rank)


def contract_order(rank: int) -> Order:
    """How inputs and outputs of the model are stored: images channels last, all else as in the model."""
    return channels_last(rank) if rank == 4 else natural(rank)


def stored(shape: Shape, order: Order) -> Shape:
    """Shape as stored, of a value with the logical ``shape``."""
    return tuple(shape[axis] for axis in order)


def without_unit_axes(shape: Shape, order: Order) -> Order:
    """The axes of ``order`` that hold more than one element."""
    return tuple(axis for axis in order if shape[axis] != 1)


def last(order: Order, axis: int) -> Order:
    """The same order with ``axis`` moved to the end."""
    return (*(item for item in order if item != axis), axis)


def reshape_plan(before: Shape, after: Shape, order: Order) -> tuple[Order, Order]:
    """How to reshape with as little movement as there can be.

    The axes fall into blocks with equal products (C to G x C/G, H to H, ...). Blocks may be stored in any
    order as long as each is in one piece with its axes ascending.

    Args:
        before: Logical shape of the source.
        after: Logical shape of the result, with as many elements.
        order: How the source is stored.

    Returns:
        The order that the source has to be brought into (``order`` itself where nothing has to move), and
        the order of the result of a plain RESHAPE then.
    """
    position = {axis: index for index, axis in enumerate(order)}
    # Sorted by their innermost axes: what is stored last, in the longest runs, stays last.
    blocks = sorted(_blocks(before, after), key=lambda block: max(position[axis] for axis in block[0]))
    wanted = tuple(axis for sources, _ in blocks for axis in sources)
    units = tuple(axis for axis in order if before[axis] == 1)
    source = order if without_unit_axes(before, order) == wanted else (*units, *wanted)
    return source, _with_unit_axes(after, tuple(axis for _, targets in blocks for axis in targets))


def _blocks(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Pairs of axis groups with equal products, units left out, each as small as it can be."""
    left = [axis for axis, size in enumerate(before) if size != 1]
    right = [axis for axis, size in enumerate(after) if size != 1]
    blocks: list[tuple[list[int], list[int]]] = []
    while left:
        sources, targets = [left.pop(0)], [right.pop(0)]
        product, wanted = before[sources[0]], after[targets[0]]
        while product != wanted:
            if product < wanted:
                sources.append(left.pop(0))
                product *= before[sources[-1]]
            else:
                targets.append(right.pop(0))
                wanted *= after[targets[-1]]
        blocks.append((sources, targets))
    return blocks


def _with_unit_axes(shape: Shape, order: Order) -> Order:
    """Complete ``order`` by the axes of size 1, to channels last or the natural order where that fits."""
    for candidate in (contract_order(len(shape)), natural(len(shape))):
        if without_unit_axes(shape, candidate) == order:
            return candidate
    return (*(axis for axis, size in enumerate(shape) if size == 1), *order)
