"""`boxes`: the model itself gives boxes [n, k, 4], scores [n, k] and classes [n, k] for each image.

Rows that are padding have a score below the threshold or a negative class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelfleet_core.release.contract import LogicalTensor

from ..binding import FloatArray
from .corners import FORMS, UNITS, to_pixels
from .geometry import suppress
from .kind import Kind
from .parameters import Limits, Reader, image_size, taken, unfit
from .port import Detections, Tensors

NAME = "boxes"
# The model has suppressed already.
_IOU_THRESHOLD = 1.0
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class PlainBoxes:
    """The decoder of one model."""

    boxes: LogicalTensor
    scores: LogicalTensor
    labels: LogicalTensor
    form: str
    units: str
    classes: int | None
    image: tuple[int, int]
    limits: Limits

    @property
    def confident(self) -> float:
        """See `BoxDecoder.confident`."""
        return self.limits.confident

    def decode(self, outputs: Mapping[str, FloatArray]) -> list[Detections]:
        """See `BoxDecoder.decode`."""
        boxes, scores, labels = (taken(outputs, t) for t in (self.boxes, self.scores, self.labels))
        count = len(boxes)
        flat_scores, flat_labels = scores.reshape(count, -1), labels.reshape(count, -1)
        return [self._one(boxes[row], flat_scores[row], flat_labels[row]) for row in range(count)]

    def _one(self, boxes: FloatArray, scores: FloatArray, labels: FloatArray) -> Detections:
        good = (scores >= self.limits.score_threshold) & (labels >= 0) & np.isfinite(boxes).all(axis=1)
        good &= np.isfinite(labels)
        corners = to_pixels(boxes[good], self.form, self.units, self.image)
        classes = np.rint(labels[good]).astype(np.int64)
        kept = suppress(
            corners, scores[good], self.limits.iou_threshold, self.limits.max_boxes, classes=classes
        )
        return Detections(corners[kept], np.clip(scores[good][kept], 0.0, 1.0), classes[kept])


def _read(reader: Reader, inputs: Tensors, outputs: Tensors) -> PlainBoxes:
    image = image_size(reader.plugin, inputs)
    boxes = reader.output("boxes", "boxes", outputs)
    scores = reader.output("scores", "scores", outputs)
    labels = reader.output("classes", "classes", outputs)
    rows = boxes.shape[1:2]
    shaped = len(boxes.shape) == 3 and boxes.shape[2] == 4
    if not shaped or any(tensor.shape[1:] not in (rows, (*rows, 1)) for tensor in (scores, labels)):
        raise unfit(
            reader.plugin,
            f"the outputs have the shapes {[list(t.shape[1:]) for t in (boxes, scores, labels)]}",
            "boxes [n, k, 4], scores [n, k] and classes [n, k]",
        )
    known = int(reader.number("class_count", 0, 0, _MOST_CLASSES))
    decoder = PlainBoxes(
        boxes,
        scores,
        labels,
        form=reader.text("form", "xyxy", FORMS),
        units=reader.text("units", "pixels", UNITS),
        classes=known or None,
        image=image,
        limits=reader.limits(_IOU_THRESHOLD),
    )
    reader.done()
    return decoder


plugin = Kind(NAME, _read)
