"""What the builder and its child process tell each other: one job file in, one result file out.

Progress goes over a pipe, one JSON line each. Paths are absolute and chosen by the builder.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import StrEnum

from modelfleet_build.facts import ModelFacts
from modelfleet_build.layers.report import LayerReport
from modelfleet_build.port import Converted, Recipe
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import Precision

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
MAX_RESULT_BYTES = 4 * 1024 * 1024
DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Blame(StrEnum):
    """Root class of an error that crossed the process boundary."""

    CALLER = "caller"
    INTEGRITY = "integrity"
    WORLD = "world"


@dataclass(frozen=True, slots=True)
class ChildError:
    """One of our errors as data."""

    blame: Blame
    code: str
    happened: str
    expected: str
    todo: str


@dataclass(frozen=True, slots=True)
class IntakeJob:
    """Take the model `source` in, as one file `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class ConvertJob:
    """Run an optimizer (`module:attribute`); the rest is `port.ConversionTask`."""

    optimizer: str
    model: str
    facts: ModelFacts
    recipe: Recipe
    calibration: str | None
    folder: str
    beside: str
    options: dict[str, str] = field(default_factory=dict)
    companion: str | None = None
    python: str | None = None


@dataclass(frozen=True, slots=True)
class IsolatedJob:
    """Run a script of `isolated/scripts`, see `isolated.call`.

    Attributes:
        python: Interpreter of the environment.
        script: File name.
        settings: What the script is told.
        folder: For job, result, log and what the script makes.
        threads: Of the numeric libraries.
    """

    python: str
    script: str
    settings: dict[str, object]
    folder: str
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Loadable:
    """A variant as a runtime opens it; `python`: the interpreter that has the runtime, None = ours."""

    runtime: str
    folder: str
    entry: str
    contract: InputContract
    options: dict[str, str] = field(default_factory=dict)
    python: str | None = None


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """Run a variant in its real runtime.

    Attributes:
        target: The variant.
        reference: The float parent of its class, None where the target is that itself.
        validation, golden: Files of `arrays.write_inputs`; without golden set only the first is answered.
        turn: File to lock while time is measured, so that measurements of other classes wait.
        answers: Folder for the answers to `validation` and `golden` (`arrays.AnswerWriter`): every output for
            each sample; NaN where the runtime failed.
        rounds, calls_per_round, latency_s: See `request.Limits`; without rounds time is not measured.
        seed: Of the order of calls and the choice of inputs.
    """

    target: Loadable
    reference: Loadable | None
    validation: str
    golden: str | None
    answers: str
    turn: str
    rounds: int
    calls_per_round: int
    latency_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class ExplainJob:
    """Compare a variant with its float parent layer by layer.

    Attributes:
        parent: The single-file model.
        target: The variant.
        precision: Of the variant.
        inputs: File of `arrays.write_inputs`.
        run: Also run the variant in its own runtime.
    """

    parent: str
    target: Loadable
    precision: Precision
    inputs: str
    run: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 10th and 90th percentile over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a `MeasureJob` found.

    Attributes:
        failed: Validation samples on which the runtime raised an error.
        rss_bytes: Peak resident memory after validation and golden set, one model loaded; None = unknown.
        latency_us: Median time of one call with one sample, microseconds; None where no time was measured.
        ratio: Time of the target / time of the reference; None without a reference.
        control: Time of a second copy of the reference / the reference (A/A): what the machine's noise does;
            None where no time was measured.
        rounds: Rounds that were run.
    """

    failed: int
    rss_bytes: int | None
    latency_us: float | None
    ratio: Spread | None
    control: Spread | None
    rounds: int


@dataclass(frozen=True, slots=True)
class SensitivityJob:
    """Find out which operators suffer from int8.

    Attributes:
        model: The single-file ONNX model.
        calibration, tuning: Files of samples: ranges come from the first, errors from the second.
        folder: For files between the steps.
        seconds: No further measurement is begun after these.
    """

    model: str
    calibration: str
    tuning: str
    folder: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What is gained when the operators around one value stay in float.

    Attributes:
        value: Name of the ONNX value that then stays in float.
        nodes: The operators, by their first output; see `Recipe.keep_float`.
        error: Relative RMS error of the outputs that is left.
    """

    value: str
    nodes: tuple[str, ...]
    error: float


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """What a `SensitivityJob` found.

    Attributes:
        baseline: Relative RMS error of the outputs with everything quantized.
        found: From the largest gain to the least.
        groups: How many there are; more than `found` and `refused` where time was up.
        refused: How many the quantizer could not leave in float.
        reason: Of the last of these.
    """

    baseline: float
    found: tuple[Sensitivity, ...]
    groups: int
    refused: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """Exactly one of the jobs is set.

    Attributes:
        folder: Working folder of the child; it writes nothing outside it but what the job names.
        data_limit_bytes: Hard limit of private memory (RLIMIT_DATA).
        nice: Added to the niceness.
        cores: Processors it may use; empty = all. Libraries start as many threads as they like, so the
            builder's core budget is kept by affinity.
    """

    folder: str
    data_limit_bytes: int
    nice: int = 0
    cores: tuple[int, ...] = ()
    intake: IntakeJob | None = None
    convert: ConvertJob | None = None
    measure: MeasureJob | None = None
    sensitivity: SensitivityJob | None = None
    isolated: IsolatedJob | None = None
    explain: ExplainJob | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Exactly one is set."""

    error: ChildError | None = None
    intake: ModelFacts | None = None
    convert: Converted | None = None
    measure: Measured | None = None
    sensitivity: Sensitivities | None = None
    isolated: dict[str, object] | None = None
    explain: LayerReport | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of progress."""

    text: str
