"""What a build is made from and what it makes, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.child.jobs import Loadable, Measured
from modelfleet_build.facts import ModelFacts
from modelfleet_build.port import Converted, Recipe
from modelfleet_build.progress import Happening
from modelfleet_runtimes.comparators import Outputs


@dataclass(frozen=True, slots=True)
class Material:
    """What every variant of a build is made from.

    Attributes:
        model: The single-file model.
        facts: Of the model.
        calibration: File of the calibration samples, None where there are none.
        calibration_digest: Identity of those samples.
        validation, golden: Files of the samples to answer.
        counts: How many those are.
        data_digests: Identity of both, the truth included.
        tuning: File of samples apart from all others, to choose settings by; None where there are none.
        tuning_count, tuning_digest: How many those are, and their identity.
        companion: The model in another form, None without; and its digest.
    """

    model: Path
    facts: ModelFacts
    calibration: Path | None
    calibration_digest: str | None
    validation: Path
    golden: Path
    counts: tuple[int, int]
    data_digests: tuple[str, str]
    tuning: Path | None = None
    tuning_count: int = 0
    tuning_digest: str = ""
    companion: Path | None = None
    companion_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A converted variant on disk.

    Attributes:
        loadable: How its own runtime opens it.
        measurable: How it is opened to be measured: the same, or a stand-in.
        recipe: How it was made.
        tools: With what.
        size_bytes: Size of the runtime's files.
        converted: What the converter said.
        seconds: Time the conversion took.
        cached: It came from the cache.
    """

    loadable: Loadable
    measurable: Loadable
    recipe: Recipe
    tools: dict[str, str]
    size_bytes: int
    converted: Converted
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """What a variant answered and how it ran.

    Attributes:
        validation, golden: Every output [n, ...] by name.
        measured: Latency and memory.
        seconds: Time the measurement took.
    """

    validation: Outputs
    golden: Outputs
    measured: Measured
    seconds: float


def finished_how(made: Made) -> Happening:
    """How the progress calls a conversion that ended well."""
    return Happening.CACHED if made.cached else Happening.DONE
