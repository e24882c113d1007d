"""The golden set in a variant folder: labelled inputs and what this variant answered when it was built.

Self-test (semantics section 2): the variant against its own record. Golden accuracy: any model against the
labels. Rows that the variant itself could not answer with finite numbers when it was built carry their NaN
in the record: they are left out of the self-test, and count as wrong in golden accuracy as anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.release.manifest import SelfTestBounds, Task

from .binding import FloatArray
from .comparators import Comparator, for_task
from .npz import NpzError, read_npz
from .port import Session

MAX_GOLDEN_BYTES = 64 * 1024 * 1024
NO_LABEL = -1
_ARRAYS = ("inputs", "input_scale", "labels", "recorded")


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden set.

    Attributes:
        inputs: [n, ...] float32 logical values of the first input.
        labels: [n] int64, `NO_LABEL` where there is none.
        recorded: [n, ...] float32, the first logical output of the variant on the builder.
    """

    inputs: FloatArray
    labels: npt.NDArray[np.int64]
    recorded: FloatArray

    def __len__(self) -> int:
        return int(self.inputs.shape[0])


@dataclass(frozen=True, slots=True)
class SelfTestOutcome:
    """What the self-test found.

    Attributes:
        passed: The variant reproduces its record.
        samples: Rows that were compared.
        reason: Plain sentence when it failed, else empty.
        worst_error: Largest absolute difference seen, in units of the output.
    """

    passed: bool
    samples: int
    reason: str = ""
    worst_error: float = 0.0


def read(path: Path) -> Golden:
    """Read `golden.npz`.

    Raises:
        IntegrityError: MF-4012, it is damaged, too large or not of the form of a golden set.
    """
    try:
        arrays = read_npz(path, names=_ARRAYS, limit=MAX_GOLDEN_BYTES)
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise NpzError(f"it lacks the arrays {missing}")
        return _golden(arrays)
    except NpzError as error:
        raise IntegrityError(
            Code.GOLDEN_UNREADABLE,
            f"the golden set {path.name} is unusable: {error}",
            expected="inputs, input_scale, labels and recorded of the same number of samples",
            todo="fetch the variant again, or rebuild the release",
        ) from error


def self_test(
    session: Session,
    golden: Golden,
    bounds: SelfTestBounds,
    comparator: Comparator | None = None,
) -> SelfTestOutcome:
    """Run the variant on its golden inputs and compare with its record.

    Args:
        session: The loaded variant.
        golden: Its golden set.
        bounds: From the manifest.
        comparator: Of the release's task; classification where absent.
    """
    comparator = comparator or for_task(Task.CLASSIFICATION)
    input_name = session.contract.inputs[0].logical.name
    worst, compared = 0.0, 0
    for row in range(len(golden)):
        recorded = golden.recorded[row : row + 1]
        if not np.isfinite(recorded).all():
            continue
        compared += 1
        try:
            answer = session.run({input_name: golden.inputs[row : row + 1]})
        except ModelfleetError as error:
            return SelfTestOutcome(False, compared, f"sample {row} failed: {error.happened}", worst)
        name, value = next(iter(answer.items()))
        if value.shape != recorded.shape:
            reason = f"sample {row} has shape {list(value.shape)}, recorded {list(recorded.shape)}"
            return SelfTestOutcome(False, compared, reason, worst)
        if not np.isfinite(value).all():
            return SelfTestOutcome(False, compared, f"sample {row} is not finite, its record is", worst)
        difference = float(np.abs(value - recorded).max())
        worst = max(worst, difference)
        if difference > bounds.max_abs_error:
            allowed = f"allowed {bounds.max_abs_error:.4g}"
            reason = f"sample {row} differs by {difference:.4g} from its record, {allowed}"
            return SelfTestOutcome(False, compared, reason, worst)
        record = {name: recorded}
        decided = bool((comparator.decision({name: value}) == comparator.decision(record)).all())
        margin = float(comparator.margin(record)[0])
        if not decided and margin > bounds.margin:
            reason = f"sample {row} decides otherwise than its record, whose margin is {margin:.4g}"
            return SelfTestOutcome(False, compared, reason, worst)
    if compared == 0:
        return SelfTestOutcome(False, 0, "the record holds no finite answer to compare with", worst)
    return SelfTestOutcome(True, compared, "", worst)


def right(session: Session, golden: Golden, comparator: Comparator | None = None) -> tuple[int, int]:
    """Right answers, and how many samples have a label. A failed or not finite answer is wrong."""
    comparator = comparator or for_task(Task.CLASSIFICATION)
    input_name = session.contract.inputs[0].logical.name
    count, total = 0, 0
    for row in range(len(golden)):
        if golden.labels[row] == NO_LABEL:
            continue
        total += 1
        try:
            answer = session.run({input_name: golden.inputs[row : row + 1]})
        except ModelfleetError:
            continue
        count += int(comparator.right(answer, golden.labels[row : row + 1])[0])
    return count, total


def write(
    file: BinaryIO,
    inputs: npt.NDArray[np.uint8] | FloatArray,
    input_scale: float,
    labels: npt.NDArray[np.int64],
    recorded: FloatArray,
) -> None:
    """Write `golden.npz`: stored inputs (logical = inputs * input_scale), labels and this variant's answers.

    The same arrays always give the same bytes.
    """
    np.savez_compressed(
        file,
        inputs=inputs,
        input_scale=np.asarray(input_scale, np.float64),
        labels=labels.astype(np.int64),
        recorded=recorded.astype(np.float32),
    )


def scaled(inputs: npt.NDArray[np.uint8] | FloatArray, input_scale: float) -> FloatArray:
    """Logical values of stored inputs: `inputs * input_scale` in float64, rounded once to float32."""
    return (inputs.astype(np.float64) * input_scale).astype(np.float32)


def _golden(arrays: dict[str, npt.NDArray[Any]]) -> Golden:
    inputs, labels, recorded = arrays["inputs"], arrays["labels"], arrays["recorded"]
    scale = arrays["input_scale"]
    if inputs.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)) or inputs.ndim < 2 or len(inputs) == 0:
        raise NpzError(f"inputs are {inputs.dtype} of shape {list(inputs.shape)}")
    if labels.dtype != np.int64 or labels.shape != inputs.shape[:1]:
        raise NpzError(f"labels are {labels.dtype} of shape {list(labels.shape)}")
    if recorded.dtype != np.float32 or recorded.ndim < 2 or len(recorded) != len(inputs):
        raise NpzError(f"recorded is {recorded.dtype} of shape {list(recorded.shape)}")
    if scale.dtype != np.float64 or scale.shape != () or not np.isfinite(scale) or not scale > 0:
        raise NpzError("input_scale is not a positive float64")
    values = scaled(inputs, float(scale))
    if not np.isfinite(values).all():
        raise NpzError("inputs hold NaN or infinite values")
    return Golden(values, labels, recorded)
