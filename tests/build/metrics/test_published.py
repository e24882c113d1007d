"""The metrics against figures that another implementation got for the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelfleet_build.metrics.detection import MeanAveragePrecision
from modelfleet_build.metrics.segmentation import MeanIou
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import for_task
from modelfleet_runtimes.decoders import Detections

from tests.runtimes.scenes import MODELS


@dataclass(frozen=True, slots=True)
class WrittenDown:
    """A decoder of outputs that number the boxes somebody else decoded."""

    found: tuple[Detections, ...]
    confident: float = 0.3
    classes: int | None = 10

    def decode(self, outputs: Mapping[str, FloatArray]) -> list[Detections]:
        return [self.found[int(number)] for number in outputs["number"][:, 0]]


def _stored(name: str) -> dict[str, npt.NDArray[Any]]:
    with np.load(MODELS / name, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _found(version: str) -> tuple[WrittenDown, dict[str, npt.NDArray[Any]]]:
    stored = _stored("scenes-found.npz")
    rows = np.split(stored[f"found_{version}"], np.cumsum(stored[f"counts_{version}"])[:-1])
    found = tuple(Detections(r[:, :4], r[:, 4], r[:, 5].astype(np.int64)) for r in rows)
    return WrittenDown(found), {name: stored[name] for name in ("boxes", "classes")}


NUMBERS = {"number": np.arange(200, dtype=np.float32)[:, None]}


@pytest.mark.parametrize(("version", "published"), [("1.0", 0.6674), ("1.1", 0.9092), ("1.2", 0.6020)])
def test_mean_average_precision(version: str, published: float) -> None:
    decoder, truth = _found(version)
    quality = MeanAveragePrecision(decoder).quality(NUMBERS, truth)
    assert quality.value == pytest.approx(published, abs=5e-5)
    assert (quality.metric, quality.samples, quality.not_finite) == ("map50", 200, 0)
    assert sorted(quality.by_class) == list(range(10))
    assert sum(item.samples for item in quality.by_class.values()) == (truth["classes"] >= 0).sum()
    assert quality.value == pytest.approx(np.mean([item.value for item in quality.by_class.values()]))


def test_a_detector_that_misses_small_objects_scores_low_on_devices_too() -> None:
    """F1 of an image, not mAP; it has to tell the same story."""
    scores = {}
    for version in ("1.0", "1.1", "1.2"):
        decoder, truth = _found(version)
        scores[version] = for_task(Task.DETECTION, decoder=decoder).score(NUMBERS, truth).mean()
    assert scores["1.1"] > max(scores["1.0"], scores["1.2"]) + 0.1


def test_mean_intersection_over_union() -> None:
    stored = _stored("masks-found.npz")
    found, masks = stored["found"], stored["masks"]
    logits = np.zeros((len(found), 11, 96, 96), np.float32)
    np.put_along_axis(logits, found[:, None].astype(np.int64), 1.0, axis=1)
    quality = MeanIou().quality({"logits": logits}, {"masks": masks})
    assert quality.value == pytest.approx(0.4507, abs=5e-5)
    assert (quality.metric, quality.samples) == ("miou", 200)
    assert quality.by_class[0].samples == 200
    assert quality.by_class[0].value > 0.9
    assert sum(item.samples for number, item in quality.by_class.items() if number) > 300
