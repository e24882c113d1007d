"""What the models answer without Modelfleet's serve: the yardstick for what comes through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelfleet_agent.control.protocol import ModelRef
from modelfleet_agent.worker.model import read_folder
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes import registry
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import for_task


def logits(ref: ModelRef, inputs: FloatArray) -> FloatArray:
    """Answers of a variant, image by image, [n, 10]."""
    _, variant, contract = read_folder(Path(ref.folder), ref.variant)
    session = registry.load(variant.runtime.name).open(Path(ref.folder), variant.entry, contract, 1)
    answers = [session.run({"image": inputs[i : i + 1]})["logits"] for i in range(len(inputs))]
    session.close()
    return np.concatenate(answers)


@dataclass(frozen=True, slots=True)
class Counts:
    """What an evidence report should say about these inputs."""

    compared: int
    agreed: int
    close: int


def compared(candidate: FloatArray, incumbent: FloatArray) -> Counts:
    """Agreement of two models' answers."""
    found = for_task(Task.CLASSIFICATION).compare({"logits": candidate}, {"logits": incumbent})
    both = found.comparable
    return Counts(int(both.sum()), int((found.agree & both).sum()), int((found.close & both).sum()))
