"""The data sets of one build: read, told apart, held together, and split for their purposes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelfleet_build import metrics
from modelfleet_build.arrays import answer_bytes, samples_that_fit
from modelfleet_build.datasets import (
    Dataset,
    check_disjoint,
    read_dataset,
    set_apart_golden,
    set_apart_tuning,
)
from modelfleet_build.decoding import choose_decoder
from modelfleet_build.facts import ModelFacts
from modelfleet_build.request import BuildRequest
from modelfleet_build.roles import Role
from modelfleet_build.truth import rules_of
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Decoder, Task
from modelfleet_runtimes.decoders import BoxDecoder, open_decoder
from modelfleet_runtimes.golden import MAX_GOLDEN_BYTES, record_count

# Calibration images of another range than those of the budget are scaled otherwise: 0 to 255 for 0 to 1, say.
_UNLIKE_RANGE = 4.0


@dataclass(frozen=True, slots=True)
class BuildData:
    """The data sets of a build, and what is needed to judge answers to them.

    Attributes:
        decoder, boxes: Detection: as the manifest declares it, and made for the model.
        scale: Regression: spread of the validation targets.
    """

    validation: Dataset
    golden: Dataset
    calibration: Dataset | None
    tuning: Dataset | None
    warnings: tuple[str, ...]
    decoder: Decoder | None = None
    boxes: BoxDecoder | None = None
    scale: float | None = None

    def all(self) -> list[Dataset]:
        """Every data set that there is."""
        sets = (self.calibration, self.tuning, self.validation, self.golden)
        return [item for item in sets if item is not None]


def gather(request: BuildRequest, facts: ModelFacts) -> tuple[ModelFacts, BuildData]:
    """Read and check all data of a build.

    Returns:
        The facts with the range of the input, which follows from how the images are stored, and the data.

    Raises:
        CallerError: MF-1406 and MF-1410 to MF-1419: data, decoder and model do not belong together.
    """
    decoder, told = choose_decoder(request.task, request.decoder, facts)
    boxes = open_decoder(decoder, facts.inputs, facts.outputs) if decoder is not None else None
    tensor, rules = facts.inputs[0], rules_of(request.task, facts, boxes)
    warnings = [told] if told else []
    validation = read_dataset(request.validation, Role.VALIDATION, tensor, rules)
    calibration = None
    if request.calibration is not None:
        calibration = read_dataset(request.calibration, Role.CALIBRATION, tensor, rules)
    if request.golden is not None:
        golden = read_dataset(request.golden, Role.GOLDEN, tensor, rules)
    else:
        validation, golden = set_apart_golden(validation)
        warnings.append(
            f"no golden set was given: the last {len(golden)} validation samples became it, "
            f"{len(validation)} are left for the budget"
        )
    sets = [item for item in (calibration, validation, golden) if item is not None]
    check_disjoint(sets)
    _check_golden_size(golden, facts)
    limit = min(request.limits.validation_samples, samples_that_fit(facts.outputs))
    if len(validation) > limit:
        warnings.append(f"only the first {limit} of {len(validation)} validation samples were used")
        validation = validation.part(slice(0, limit), Role.VALIDATION)
    tuning = None
    if calibration is not None:
        calibration, tuning = set_apart_tuning(calibration, request.limits.tuning_samples)
        calibration = calibration.part(slice(0, request.limits.calibration_samples), Role.CALIBRATION)
    stored_as_bytes = all(item.scale != 1.0 for item in sets)
    if stored_as_bytes:
        facts = facts.with_range(0.0, 1.0)
    if calibration is not None and (unlike := _unlike(calibration, validation)):
        warnings.append(unlike)
    scale = _spread(validation) if request.task is Task.REGRESSION else None
    return facts, BuildData(validation, golden, calibration, tuning, tuple(warnings), decoder, boxes, scale)


def _check_golden_size(golden: Dataset, facts: ModelFacts) -> None:
    """The golden set travels with every variant and is read whole on the device."""
    each = answer_bytes(facts.outputs)
    truth = sum(array.nbytes for array in golden.truth.values())
    size = golden.stored.nbytes + truth + each * record_count(len(golden), each // 4)
    if size > MAX_GOLDEN_BYTES:
        raise CallerError(
            Code.DATASET_TOO_LARGE,
            f"the golden set and its recorded answers take {size} bytes",
            expected=f"at most {MAX_GOLDEN_BYTES} bytes; 64 samples are enough",
            todo="give a smaller golden set, as uint8 images where that is possible",
        )


def _unlike(calibration: Dataset, validation: Dataset) -> str:
    """A warning where calibration images are scaled otherwise than validation images, else empty."""
    ours, theirs = (float(np.abs(item.inputs).max()) for item in (calibration, validation))
    low, high = sorted((ours, theirs))
    if high <= _UNLIKE_RANGE * max(low, 1e-12):
        return ""
    return (
        f"calibration images reach {ours:.4g} and validation images {theirs:.4g}: int8 ranges are found on "
        f"the former; check that both are scaled as the model takes them"
    )


def _spread(validation: Dataset) -> float:
    """Refuses targets without a spread: nothing could be told from them."""
    scale = metrics.spread(validation.truth["targets"])
    if not scale > 0:
        raise CallerError(
            Code.DATASET_TRUTH,
            f"the {len(validation)} validation targets are all the same",
            expected="targets that vary: errors are told in units of their spread",
            todo="give validation data that covers what the model is for",
        )
    return scale
