"""Mean intersection over union, from one confusion matrix over all pixels of the set.

The mean is over the classes that the truth shows. The pixels of an answer that is not finite are missed: they
count for the union of their true class, and for no intersection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelfleet_build.quality import ClassQuality, Quality
from modelfleet_runtimes.comparators import Outputs, finite_rows
from modelfleet_runtimes.comparators.segmentation import confusion, pixel_scores
from modelfleet_runtimes.truth import Truth

NAME = "miou"


@dataclass(frozen=True, slots=True)
class MeanIou:
    """See the module. A class's value is its intersection over union; its samples are the images that
    show it.
    """

    name: str = NAME

    def quality(self, answers: Outputs, truth: Truth) -> Quality:
        """See `Metric.quality`."""
        scores, masks, good = pixel_scores(answers), truth["masks"], finite_rows(answers)
        classes = scores.shape[1]
        matrix = np.zeros((classes, classes), np.int64)
        missed, shown = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        for row in range(len(scores)):
            found = confusion(scores[row].argmax(axis=0), masks[row], classes)
            true = found.sum(axis=1)
            shown += true > 0
            if good[row]:
                matrix += found
            else:
                missed += true
        hit = np.diag(matrix)
        union = matrix.sum(axis=0) + matrix.sum(axis=1) + missed - hit
        known = {
            int(number): ClassQuality(float(hit[number] / union[number]), int(shown[number]))
            for number in np.flatnonzero(shown)
        }
        value = float(np.mean([item.value for item in known.values()])) if known else 0.0
        return Quality(value, len(scores), int((~good).sum()), self.name, tuple(known.items()))

    def agreement(self, answers: Outputs, parent: Outputs) -> float:
        """See `Metric.agreement`."""
        ours, theirs = pixel_scores(answers), pixel_scores(parent)
        both = np.flatnonzero(finite_rows(answers) & finite_rows(parent))
        equal = [float((ours[row].argmax(axis=0) == theirs[row].argmax(axis=0)).mean()) for row in both]
        return float(np.mean(equal)) if equal else 0.0
