"""The port that every decoder plug-in implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelfleet_core.release.contract import LogicalTensor

from ..binding import FloatArray

ENTRY_POINTS = "modelfleet.decoders"

Parameters = dict[str, float | str]
Tensors = tuple[LogicalTensor, ...]


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector found in one image, best score first.

    Attributes:
        boxes: [k, 4] float32, x0 y0 x1 y1 in pixels of the input, inside the image.
        scores: [k] float32, 0 to 1.
        classes: [k] int64, from 0.
    """

    boxes: FloatArray
    scores: FloatArray
    classes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Those with at least that score."""
        chosen = self.scores >= score
        return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen])


class BoxDecoder(Protocol):
    """A decoder with its parameters, made for one model. Pure: the same outputs give the same boxes."""

    @property
    def confident(self) -> float:
        """Score from which a box counts as a decision, 0 to 1; weaker ones only serve to rank."""
        ...

    @property
    def classes(self) -> int | None:
        """How many classes the model tells apart; None where the outputs do not say."""
        ...

    def decode(self, outputs: Mapping[str, FloatArray]) -> list[Detections]:
        """The boxes of every sample, a bounded number each. Values that are not finite give no boxes.

        Args:
            outputs: Logical outputs [n, ...] by name.

        Raises:
            CallerError: MF-4011, an output is missing or of another shape.
        """
        ...


class DecoderPlugin(Protocol):
    """A kind of decoding."""

    @property
    def name(self) -> str:
        """Name of the plug-in, as manifests spell it."""
        ...

    def settle(self, given: Parameters, inputs: Tensors, outputs: Tensors) -> Parameters:
        """All parameters, the given ones and the plug-in's own values for the rest.

        Raises:
            CallerError: MF-4014, a parameter is not known or out of range, or the outputs do not fit.
        """
        ...

    def open(self, parameters: Parameters, inputs: Tensors, outputs: Tensors) -> BoxDecoder:
        """The decoder for a model.

        Args:
            parameters: As given or as settled.
            inputs, outputs: The model's logical tensors.

        Raises:
            CallerError: MF-4014, as in `settle`.
        """
        ...
