"""What a run of a training hook brought: `report.json` beside the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelfleet_build.search import Knobs
from modelfleet_build.training.evidence import Difference, Interval, Verdict
from modelfleet_core.release.manifest import Measurements

REPORT_NAME = "report.json"
MAX_REPORT_BYTES = 1024 * 1024


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
class TryReport:
    """One try of a search.

    Attributes:
        knobs: The pruning ratio, and those of the hook; none = the parent as it is.
        variant: Recipe of the best variant of the class, empty where none ran.
        cost: What the objective says of it, less is better: share of the time of the parent's reference
            variant, bytes, or the accuracy turned round; None where it is no answer.
        within: It is within the budget and the limits of the class.
        reason: Why it is no answer, else empty.
        seconds: Training, conversions and measurements together.
        macs, parameters: As torch-pruning counts them; None where training failed.
        measurements: Of the variant, in its runtime, against the parent; None where none ran.
    """

    knobs: Knobs
    variant: str
    cost: float | None
    within: bool
    reason: str
    seconds: float
    macs: int | None = None
    parameters: int | None = None
    measurements: Measurements | None = None


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What a search tried, one training run for each.

    Attributes:
        objective: `latency`, `size`, `memory` or `accuracy`.
        device_class: Whose variants were measured; empty = ONNX Runtime, fp32.
        reference: Recipe of the parent's variant that the others were timed against; empty without one.
        max_drop_points: The budget, against the float parent.
        asked: Tries that were asked for; fewer were made where time or the space ran out.
        parent: The parent's own best variant.
        tries: In their order.
        chosen: Index of the best of them.
        conclusion: One sentence.
    """

    objective: str
    device_class: str
    reference: str
    max_drop_points: float
    asked: int
    parent: TryReport
    tries: tuple[TryReport, ...]
    chosen: int
    conclusion: str

    @property
    def best(self) -> TryReport:
        """The one whose knobs the run was made with."""
        return self.tries[self.chosen]


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
        knobs: What `load` of the hook was given beyond that.
        search: How ratio and knobs were found; None where they were given.
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
    knobs: Knobs = field(default_factory=dict[str, int | float | str])
    search: SearchReport | None = None
    schema: int = 1
