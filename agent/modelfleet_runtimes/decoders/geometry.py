"""Boxes: overlap, suppression and matching. All boxes are x0 y0 x1 y1."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]

_TINY = 1e-9


def overlap(a: Boxes, b: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of a [n, 4] and b [m, 4] -> [n, m], 0 to 1."""
    one, two = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    union = area(one)[:, None] + area(two)[None, :] - shared
    ratio: npt.NDArray[np.float64] = shared / np.maximum(union, _TINY)
    return ratio


def area(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Areas of [n, 4] boxes; 0 where a side is negative."""
    sides: npt.NDArray[np.float64] = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).astype(np.float64)
    return np.asarray(sides.prod(axis=-1))


def suppress(
    boxes: Boxes, scores: Boxes, threshold: float, most: int, classes: Indices | None = None
) -> Indices:
    """Greedy non-maximum suppression: rows that stay, best score first.

    Args:
        boxes: [n, 4].
        scores: [n].
        threshold: A row is dropped that overlaps a better one by more.
        most: Rows that stay at most.
        classes: [n]; where given, only rows of the same class suppress one another.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        if threshold >= 1.0 or not order.size:
            continue
        stays = overlap(boxes[best : best + 1], boxes[order])[0] <= threshold
        if classes is not None:
            stays |= classes[order] != classes[best]
        order = order[stays]
    return np.asarray(kept, np.int64)


def match(
    a: Boxes, a_classes: Indices, b: Boxes, b_classes: Indices, threshold: float
) -> tuple[Indices, Indices]:
    """Pair boxes of the same class, the largest overlap first, each box at most once.

    Returns:
        Rows of `a` and of `b` of the pairs that overlap by at least `threshold`. Swapping the sides swaps
        the answer, apart from exact ties.
    """
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    found = np.where(a_classes[:, None] == b_classes[None, :], overlap(a, b), -1.0)
    rows, columns = np.nonzero(found >= threshold)
    order = np.argsort(-found[rows, columns], kind="stable")
    used_a, used_b = np.zeros(len(a), np.bool_), np.zeros(len(b), np.bool_)
    pairs: list[tuple[int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if not used_a[row] and not used_b[column]:
            used_a[row] = used_b[column] = True
            pairs.append((row, column))
    paired = np.asarray(pairs, np.int64).reshape(-1, 2)
    return paired[:, 0], paired[:, 1]
