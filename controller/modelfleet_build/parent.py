"""The float parent: the given model in ONNX Runtime, which every variant is measured against."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from modelfleet_build.child.jobs import Loadable, Measured
from modelfleet_build.datasets import Dataset
from modelfleet_build.metrics import Metric
from modelfleet_build.quality import Quality
from modelfleet_build.variants import Answers
from modelfleet_core.release.manifest import Decoder

PARENT_RUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True)
class ParentFindings:
    """What is kept of the parent's measurement, besides its answers.

    Attributes:
        quality: The metric on the validation data.
        golden: Mean score on the golden data.
        measured: Latency and memory.
    """

    quality: Quality
    golden: Quality
    measured: Measured


@dataclass(frozen=True, slots=True)
class Judgement:
    """How answers are judged.

    Attributes:
        metric: Of the task.
        validation, golden: Data with their truth.
        decoder, scale: What the metric depends on besides.
    """

    metric: Metric
    validation: Dataset
    golden: Dataset
    decoder: Decoder | None
    scale: float | None


class Parent:
    """The float parent of a build.

    Its answers are needed only where a variant is measured; where all measurements are known from earlier
    builds, the parent is not run either.

    Args:
        loadable: How it is opened.
        findings: What is known of it.
        measure: Runs it; called once at most, by whoever needs the answers first.
        answers: Where they are there already.
    """

    def __init__(
        self,
        loadable: Loadable,
        findings: ParentFindings,
        measure: Callable[[], Answers],
        answers: Answers | None = None,
    ) -> None:
        self.loadable = loadable
        self.findings = findings
        self._measure = measure
        self._answers = answers
        self._lock = threading.Lock()

    @property
    def quality(self) -> Quality:
        """The metric on the validation data."""
        return self.findings.quality

    def answers(self) -> Answers:
        """Its answers to all data.

        Raises:
            ModelfleetError: It cannot be run.
        """
        with self._lock:
            if self._answers is None:
                self._answers = self._measure()
            return self._answers
