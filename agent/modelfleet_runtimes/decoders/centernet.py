"""`centernet`: an anchor-free detector's heads on a grid.

- heatmap [n, classes, h, w]: for each class the probability that an object's centre lies in the cell;
- size [n, 2, h, w]: width and height of the object in units of `size_unit` pixels;
- offset [n, 2, h, w]: x and y of the centre inside the cell, in cells of `stride` pixels.

A cell is a peak where no neighbour of its class is higher. Formula: Zhou, Wang, Kraehenbuehl, "Objects as
Points" (2019), section 4; then suppression regardless of class, because one place holds one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelfleet_core.release.contract import LogicalTensor

from ..binding import FloatArray
from .geometry import suppress
from .kind import Kind
from .parameters import Limits, Reader, image_size, taken, unfit
from .port import Detections, Tensors

NAME = "centernet"
_SIZE_UNIT = 32.0
_IOU_THRESHOLD = 0.45
# Peaks that go into the suppression for each box that may stay.
_PEAKS_PER_BOX = 4


@dataclass(frozen=True, slots=True)
class CenterNet:
    """The decoder of one model."""

    heatmap: LogicalTensor
    size: LogicalTensor
    offset: LogicalTensor
    stride: float
    size_unit: float
    image: tuple[int, int]
    limits: Limits

    @property
    def confident(self) -> float:
        """See `BoxDecoder.confident`."""
        return self.limits.confident

    @property
    def classes(self) -> int | None:
        """See `BoxDecoder.classes`."""
        return self.heatmap.shape[1]

    def decode(self, outputs: Mapping[str, FloatArray]) -> list[Detections]:
        """See `BoxDecoder.decode`."""
        heads = [taken(outputs, tensor) for tensor in (self.heatmap, self.size, self.offset)]
        return [self._one(*(head[row] for head in heads)) for row in range(len(heads[0]))]

    def _one(self, heatmap: FloatArray, size: FloatArray, offset: FloatArray) -> Detections:
        _, rows, columns = heatmap.shape
        padded = np.pad(heatmap, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        highest = heatmap
        for down in range(3):
            for right in range(3):
                highest = np.maximum(highest, padded[:, down : down + rows, right : right + columns])
        # A comparison with NaN is false: a broken head has no peaks.
        classes, row, column = np.nonzero((heatmap >= highest) & (heatmap >= self.limits.score_threshold))
        scores = heatmap[classes, row, column]
        best = np.argsort(-scores, kind="stable")[: self.limits.max_boxes * _PEAKS_PER_BOX]
        classes, row, column, scores = classes[best], row[best], column[best], scores[best]
        centre = np.stack([column + offset[0, row, column], row + offset[1, row, column]], axis=1)
        half = np.stack([size[0, row, column], size[1, row, column]], axis=1) * (self.size_unit / 2)
        corners = np.concatenate([centre * self.stride - half, centre * self.stride + half], axis=1)
        boxes = np.clip(corners, 0, [*self.image, *self.image]).astype(np.float32)
        whole = np.isfinite(boxes).all(axis=1)
        boxes, scores, classes = boxes[whole], scores[whole], classes[whole]
        kept = suppress(boxes, scores, self.limits.iou_threshold, self.limits.max_boxes)
        return Detections(boxes[kept], np.clip(scores[kept], 0.0, 1.0), np.asarray(classes[kept], np.int64))


def _read(reader: Reader, inputs: Tensors, outputs: Tensors) -> CenterNet:
    image = image_size(reader.plugin, inputs)
    heatmap = reader.output("heatmap", "heatmap", outputs)
    size = reader.output("size", "size", outputs)
    offset = reader.output("offset", "offset", outputs)
    grid = heatmap.shape[2:]
    if len(grid) != 2 or not size.shape[1:] == offset.shape[1:] == (2, *grid):
        raise unfit(
            reader.plugin,
            f"the heads have the shapes {[list(t.shape[1:]) for t in (heatmap, size, offset)]}",
            "heatmap [n, classes, h, w], size and offset [n, 2, h, w]",
        )
    decoder = CenterNet(
        heatmap,
        size,
        offset,
        stride=reader.number("stride", image[0] / grid[1], 1.0, 1024.0),
        size_unit=reader.number("size_unit", _SIZE_UNIT, 1e-6, 1e6),
        image=image,
        limits=reader.limits(_IOU_THRESHOLD),
    )
    reader.done()
    return decoder


plugin = Kind(NAME, _read)
