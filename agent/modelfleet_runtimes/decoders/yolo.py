"""`yolo`: one output of candidates, each with a box and one score per class and no separate objectness.

[n, 4 + classes, candidates] or [n, candidates, 4 + classes]; boxes as centre x, centre y, width, height.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelfleet_core.release.contract import LogicalTensor

from ..binding import FloatArray
from .corners import UNITS, to_pixels
from .geometry import suppress
from .kind import Kind
from .parameters import Limits, Reader, image_size, taken, unfit
from .port import Detections, Tensors

NAME = "yolo"
_IOU_THRESHOLD = 0.45
_BOX = 4
_ORDERS = ("channels-first", "candidates-first")
# Candidates that go into the suppression for each box that may stay.
_CANDIDATES_PER_BOX = 10


@dataclass(frozen=True, slots=True)
class Yolo:
    """The decoder of one model."""

    output: LogicalTensor
    channels_first: bool
    units: str
    agnostic: bool
    image: tuple[int, int]
    limits: Limits

    @property
    def confident(self) -> float:
        """See `BoxDecoder.confident`."""
        return self.limits.confident

    @property
    def classes(self) -> int | None:
        """See `BoxDecoder.classes`."""
        return self.output.shape[1 if self.channels_first else 2] - _BOX

    def decode(self, outputs: Mapping[str, FloatArray]) -> list[Detections]:
        """See `BoxDecoder.decode`."""
        value = taken(outputs, self.output)
        if not self.channels_first:
            value = value.transpose(0, 2, 1)
        return [self._one(sample) for sample in value]

    def _one(self, sample: FloatArray) -> Detections:
        scores = sample[_BOX:].max(axis=0)
        # Also false for NaN.
        good = np.flatnonzero((scores >= self.limits.score_threshold) & np.isfinite(sample).all(axis=0))
        most = self.limits.max_boxes * _CANDIDATES_PER_BOX
        good = good[np.argsort(-scores[good], kind="stable")[:most]]
        classes = sample[_BOX:, good].argmax(axis=0).astype(np.int64)
        corners = to_pixels(sample[:_BOX, good].T, "cxcywh", self.units, self.image)
        among = None if self.agnostic else classes
        kept = suppress(
            corners, scores[good], self.limits.iou_threshold, self.limits.max_boxes, classes=among
        )
        return Detections(corners[kept], np.clip(scores[good][kept], 0.0, 1.0), classes[kept])


def _read(reader: Reader, inputs: Tensors, outputs: Tensors) -> Yolo:
    image = image_size(reader.plugin, inputs)
    if len(outputs) != 1 and "output" not in reader.given:
        raise unfit(reader.plugin, f"the model has {len(outputs)} outputs", "one, or output=NAME")
    output = reader.output("output", outputs[0].name, outputs)
    if len(output.shape) != 3:
        raise unfit(
            reader.plugin,
            f"the output has the shape {list(output.shape[1:])}",
            "[n, 4 + classes, candidates] or [n, candidates, 4 + classes]",
        )
    # There are more candidates than channels in every such model that we know.
    likely = _ORDERS[output.shape[1] > output.shape[2]]
    channels_first = reader.text("order", likely, _ORDERS) == _ORDERS[0]
    channels = output.shape[1 if channels_first else 2]
    if channels <= _BOX:
        raise unfit(reader.plugin, f"a candidate has {channels} values", "4 and one for each class")
    decoder = Yolo(
        output,
        channels_first,
        units=reader.text("units", "pixels", UNITS),
        agnostic=reader.number("agnostic", 0, 0, 1) >= 0.5,
        image=image,
        limits=reader.limits(_IOU_THRESHOLD),
    )
    reader.done()
    return decoder


plugin = Kind(NAME, _read)
