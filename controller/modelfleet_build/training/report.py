"""What a run of a training hook brought: `report.json` beside the model."""

from __future__ import annotations

from dataclasses import dataclass

from modelfleet_build.training.evidence import Difference, Interval, Verdict

REPORT_NAME = "report.json"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model of the run.

    Attributes:
        name: `parent`, `pruned` (not trained since), `result`, or `control` (trained alike, not pruned).
        seed: Of the run; None for the parent.
        macs, parameters: As torch-pruning counts them, for one sample.
        size_bytes: Of the ONNX file.
        value: Share of right answers on the validation samples, 0 to 1.
        interval: Of that share, 95 %.
        latency_ratio, latency_ratio_low, latency_ratio_high: Time in ONNX Runtime / time of the parent,
            interleaved: median, 10th and 90th percentile of the rounds; None for the parent itself.
        against_parent: The difference in right answers; None for the parent itself.
    """

    name: str
    seed: int | None
    macs: int
    parameters: int
    size_bytes: int
    value: float
    interval: Interval
    latency_ratio: float | None = None
    latency_ratio_low: float | None = None
    latency_ratio_high: float | None = None
    against_parent: Difference | None = None


@dataclass(frozen=True, slots=True)
class PruneReport:
    """The whole run.

    Attributes:
        ratio, round_to, epochs, distil: What was asked for.
        samples: Validation samples.
        models: The parent, then those of every seed.
        against_parent: What the results of all seeds say together.
        against_control: The same against the controls of the same seeds; None without controls.
        seed: The one whose result is the model that was written: the first, never the best, since a choice
            by the validation samples would flatter it.
        conclusion: One sentence.
        tools: Versions of what made the models.
        seconds: Time the run took.
    """

    ratio: float
    round_to: int
    epochs: int
    distil: bool
    samples: int
    models: tuple[ModelReport, ...]
    against_parent: Verdict
    against_control: Verdict | None
    seed: int
    conclusion: str
    tools: dict[str, str]
    seconds: float
    schema: int = 1
