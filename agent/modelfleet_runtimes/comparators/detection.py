"""Object detection: decoded boxes.

- decision = the boxes with a score of at least the decoder's `confident`;
- boxes match where they are of the same class and overlap by at least `IOU`, the largest overlap first;
- agree = every box of either model matches one of the other's;
- *close* = what differs is near the incumbent's own threshold: a box that only the incumbent has is less than
  eps above it, and of a box that only the candidate has the incumbent saw a match less than eps below it;
- severity = 1 - F1 of the two sets of boxes; certainty = the largest score of any box, 0 without one;
- score = F1 of the decision against the true boxes; an empty image without boxes is wholly right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..decoders.geometry import Boxes, Indices, match, overlap
from ..decoders.port import BoxDecoder, Detections
from ..truth import Truth
from .port import DEFAULT_EPS, Comparison, Flags, Outputs, Values, comparison, finite_rows, truth_of

IOU = 0.5
# A box of the record may have moved a little where a neighbour suppressed it, or it a neighbour.
_MOVED_IOU = 0.3


@dataclass(frozen=True, slots=True)
class DetectionComparator:
    """See the module."""

    decoder: BoxDecoder
    eps: float = DEFAULT_EPS
    # Two boxes of nearly the same score in one place: which of them suppresses the other is anybody's guess.
    tolerated: float = 0.1

    def compare(self, candidate: Outputs, incumbent: Outputs) -> Comparison:
        """See `Comparator.compare`."""
        ours, theirs = self.decoder.decode(candidate), self.decoder.decode(incumbent)
        level = self.decoder.confident
        seen = [_Pair.of(a, b, level) for a, b in zip(ours, theirs, strict=True)]
        return comparison(
            agree=np.asarray([pair.equal for pair in seen], np.bool_),
            close=np.asarray([pair.is_close(level, self.eps) for pair in seen], np.bool_),
            severity=1.0 - np.asarray([pair.f1 for pair in seen], np.float64),
            scores=(_certainty(ours), _certainty(theirs)),
            ours=finite_rows(candidate),
            theirs=finite_rows(incumbent),
        )

    def score(self, outputs: Outputs, truth: Truth) -> Values:
        """See `Comparator.score`."""
        found = self.decoder.decode(outputs)
        boxes = truth_of(truth, "boxes", len(found))
        classes = truth_of(truth, "classes", len(found))
        scores = np.zeros(len(found))
        for row, (detections, good) in enumerate(zip(found, finite_rows(outputs), strict=True)):
            if good:
                decided = detections.above(self.decoder.confident)
                true_boxes, true_classes = true_objects(boxes[row], classes[row])
                pairs, _ = match(decided.boxes, decided.classes, true_boxes, true_classes, IOU)
                scores[row] = f1(len(pairs), len(decided), len(true_boxes))
        return scores

    def same(self, answer: Outputs, record: Outputs, margin: float) -> Flags:
        """See `Comparator.same`.

        Every box of the record that is clear of the threshold by more than `margin` has one of its class
        about its place.
        """
        clear = self.decoder.confident + margin
        pairs = zip(self.decoder.decode(answer), self.decoder.decode(record), strict=True)
        return np.asarray([_kept(ours, theirs.above(clear)) for ours, theirs in pairs], np.bool_)


def true_objects(boxes: npt.NDArray[np.generic], classes: npt.NDArray[np.generic]) -> tuple[Boxes, Indices]:
    """Boxes and classes of one image without the padding."""
    real = np.asarray(classes, np.int64) >= 0
    return np.asarray(boxes, np.float32)[real], np.asarray(classes, np.int64)[real]


def f1(matched: int, one: int, other: int) -> float:
    """Harmonic mean of precision and recall: 2 m / (one + other); 1 where neither side has anything."""
    return 2.0 * matched / (one + other) if one + other else 1.0


@dataclass(frozen=True, slots=True)
class _Pair:
    """One image, both models: all boxes, the decided ones, and which of those are unmatched."""

    theirs_all: Detections
    ours: Detections
    theirs: Detections
    only_ours: Indices
    only_theirs: Indices

    @classmethod
    def of(cls, candidate: Detections, incumbent: Detections, level: float) -> _Pair:
        ours, theirs = candidate.above(level), incumbent.above(level)
        a, b = match(ours.boxes, ours.classes, theirs.boxes, theirs.classes, IOU)
        only_ours = np.setdiff1d(np.arange(len(ours)), a)
        return cls(incumbent, ours, theirs, only_ours, np.setdiff1d(np.arange(len(theirs)), b))

    @property
    def equal(self) -> bool:
        return not len(self.only_ours) and not len(self.only_theirs)

    @property
    def f1(self) -> float:
        return f1(len(self.ours) - len(self.only_ours), len(self.ours), len(self.theirs))

    def is_close(self, level: float, eps: float) -> bool:
        if bool((self.theirs.scores[self.only_theirs] >= level + eps).any()):
            return False
        everything = self.theirs_all
        weak = (everything.scores < level) & (everything.scores >= level - eps)
        hidden, _ = match(
            self.ours.boxes[self.only_ours],
            self.ours.classes[self.only_ours],
            everything.boxes[weak],
            everything.classes[weak],
            IOU,
        )
        return len(hidden) == len(self.only_ours)


def _kept(answer: Detections, clear: Detections) -> bool:
    if not len(clear) or not len(answer):
        return not len(clear)
    near = overlap(clear.boxes, answer.boxes) >= _MOVED_IOU
    return bool((near & (clear.classes[:, None] == answer.classes[None, :])).any(axis=1).all())


def _certainty(found: list[Detections]) -> Values:
    return np.asarray([float(item.scores[0]) if len(item) else 0.0 for item in found], np.float64)
