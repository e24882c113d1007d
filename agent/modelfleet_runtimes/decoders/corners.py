"""The ways in which models spell a box, and how they become x0 y0 x1 y1 in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..binding import FloatArray

FORMS = ("xyxy", "yxyx", "xywh", "cxcywh")
UNITS = ("pixels", "image")
"""`image`: shares of the image's width and height, 0 to 1."""


def to_pixels(
    boxes: FloatArray | npt.NDArray[np.float64], form: str, units: str, image: tuple[int, int]
) -> FloatArray:
    """Boxes [k, 4] of one of `FORMS` -> [k, 4] float32, x0 y0 x1 y1 in pixels, inside the image."""
    values = boxes.astype(np.float64)
    if form == "yxyx":
        values = values[:, [1, 0, 3, 2]]
    elif form == "xywh":
        values = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)
    elif form == "cxcywh":
        half = values[:, 2:] / 2
        values = np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)
    limits = np.asarray([*image, *image], np.float64)
    if units == "image":
        values = values * limits
    return np.clip(values, 0, limits).astype(np.float32)
