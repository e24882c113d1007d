"""What is true of labelled samples: the names, forms and bounds of the arrays, per task.

The builder's data sets and the golden set in a variant folder hold the same arrays:

- classification: `labels` int64 [n], `NO_LABEL` where there is none;
- detection: `boxes` float32 [n, k, 4], x0 y0 x1 y1 in pixels of the input, and `classes` int64 [n, k],
  `NO_LABEL` where a row is padding;
- segmentation: `masks` uint8 or int64 [n, h, w], the class of every pixel of the output, `IGNORED` where
  there is none;
- regression: `targets` float32 [n, ...] in the shape of the first output;
- embedding: `embeddings` float32 [n, ...], what the float parent answered: only in golden sets, written by
  the builder. `labels` (identities) may stand beside it and are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_core.release.manifest import Task

Array = npt.NDArray[Any]
Truth = Mapping[str, Array]

NO_LABEL = -1
IGNORED = 255
MAX_BOXES = 1000
"""Boxes of one image, in truth and in what is decoded."""

FIELDS: dict[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("labels",),
    Task.DETECTION: ("boxes", "classes"),
    Task.SEGMENTATION: ("masks",),
    Task.REGRESSION: ("targets",),
    Task.EMBEDDING: ("labels", "embeddings"),
}
ALL_FIELDS = tuple(dict.fromkeys(name for names in FIELDS.values() for name in names))

_INT64, _FLOAT32, _UINT8 = np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.uint8)
_FORMS: dict[str, tuple[tuple[np.dtype[Any], ...], int, int]] = {
    "labels": ((_INT64,), 1, 1),
    "boxes": ((_FLOAT32,), 3, 3),
    "classes": ((_INT64,), 2, 2),
    "masks": ((_UINT8, _INT64), 3, 3),
    "targets": ((_FLOAT32,), 2, 6),
    "embeddings": ((_FLOAT32,), 2, 6),
}


class TruthError(ValueError):
    """An array has not the form of its name; the message says what is wrong."""


def check_form(truth: Truth, samples: int) -> None:
    """Check element types, dimensions and that numbers are finite.

    Raises:
        TruthError: An array is not known, or not of the form that its name stands for.
    """
    for name, array in truth.items():
        form = _FORMS.get(name)
        if form is None:
            raise TruthError(f"there is no truth called {name!r}")
        dtypes, least, most = form
        told = f"{name} are {array.dtype} of shape {list(array.shape)}"
        if array.dtype not in dtypes or not least <= array.ndim <= most or len(array) != samples:
            raise TruthError(told)
        if array.dtype == _FLOAT32 and not np.isfinite(array).all():
            raise TruthError(f"{name} hold NaN or infinite values")
    if ("boxes" in truth) != ("classes" in truth):
        raise TruthError("boxes and classes belong together")
    if "boxes" in truth:
        boxes, classes = truth["boxes"], truth["classes"]
        if boxes.shape != (*classes.shape, 4) or classes.shape[1] > MAX_BOXES:
            raise TruthError(f"boxes have the shape {list(boxes.shape)}, classes {list(classes.shape)}")


def rows(truth: Truth, chosen: slice) -> dict[str, Array]:
    """The truth of some samples."""
    return {name: array[chosen] for name, array in truth.items()}
