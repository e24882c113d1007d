"""The golden set in a variant folder: inputs with their truth, and what this variant answered when it was
built.

Self-test (semantics section 2): the variant against its own record, every output. Golden score: any model
against the truth. Rows that the variant itself could not answer with finite numbers when it was built carry
their NaN in the record: they are left out of the self-test, and score 0 as anywhere.

The file holds `inputs`, `input_scale`, the truth's arrays (see `truth`) and `recorded_0`, `recorded_1`, ...
in the order of the contract's outputs, for the first samples: as many as fit into `MAX_RECORDED_BYTES`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.release.contract import MAX_TENSORS
from modelfleet_core.release.manifest import SelfTestBounds

from .binding import FloatArray
from .comparators import Comparator
from .npz import NpzError, read_npz
from .port import Session
from .truth import ALL_FIELDS, Truth, TruthError, check_form, rows

MAX_GOLDEN_BYTES = 64 * 1024 * 1024
MAX_RECORDED_BYTES = 2 * 1024 * 1024
"""The record travels with every variant: a few masks tell as much as a few hundred rows of scores."""
_ARRAYS = ("inputs", "input_scale", "recorded_0")
_RECORDED = tuple(f"recorded_{index}" for index in range(MAX_TENSORS))


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden set.

    Attributes:
        inputs: [n, ...] float32 logical values of the first input.
        truth: What is true of the n samples, by name; empty where nothing is known.
        recorded: [m, ...] float32 for each logical output in the contract's order: what the variant answered
            to the first m samples on the builder; 1 <= m <= n.
    """

    inputs: FloatArray
    truth: Truth
    recorded: tuple[FloatArray, ...]

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def part(self, chosen: slice) -> Golden:
        """Some of the samples. Their record is left out: it may cover others."""
        return replace(self, inputs=self.inputs[chosen], truth=rows(self.truth, chosen), recorded=())


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
        names = ("inputs", "input_scale", *ALL_FIELDS, *_RECORDED)
        arrays = read_npz(path, names=names, limit=MAX_GOLDEN_BYTES)
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise NpzError(f"it lacks the arrays {missing}")
        return _golden(arrays)
    except (NpzError, TruthError) as error:
        raise IntegrityError(
            Code.GOLDEN_UNREADABLE,
            f"the golden set {path.name} is unusable: {error}",
            expected="inputs, input_scale, truth and recorded answers of the same number of samples",
            todo="fetch the variant again, or rebuild the release",
        ) from error


def self_test(
    session: Session, golden: Golden, bounds: SelfTestBounds, comparator: Comparator
) -> SelfTestOutcome:
    """Run the variant on its golden inputs and compare every output with its record.

    Args:
        session: The loaded variant.
        golden: Its golden set.
        bounds: From the manifest.
        comparator: Of the release's task.
    """
    input_name = session.contract.inputs[0].logical.name
    names = [binding.logical.name for binding in session.contract.outputs]
    if len(golden.recorded) != len(names):
        reason = f"the record holds {len(golden.recorded)} outputs, the variant gives {len(names)}"
        return SelfTestOutcome(False, 0, reason)
    worst, compared = 0.0, 0
    otherwise: list[int] = []
    for row in range(len(golden.recorded[0])):
        record = {name: item[row : row + 1] for name, item in zip(names, golden.recorded, strict=True)}
        if not all(np.isfinite(item).all() for item in record.values()):
            continue
        compared += 1
        try:
            answer = session.run({input_name: golden.inputs[row : row + 1]})
        except ModelfleetError as error:
            return SelfTestOutcome(False, compared, f"sample {row} failed: {error.happened}", worst)
        difference, reason = _differs(answer, record, bounds)
        worst = max(worst, difference)
        if reason:
            return SelfTestOutcome(False, compared, f"sample {row} {reason}", worst)
        if not comparator.same(answer, record, bounds.margin)[0]:
            otherwise.append(row)
    if compared == 0:
        return SelfTestOutcome(False, 0, "the record holds no finite answer to compare with", worst)
    if len(otherwise) > comparator.tolerated * compared:
        reason = (
            f"sample {otherwise[0]} decides otherwise than its record, which was clear by more than "
            f"{bounds.margin:.4g}; so do {len(otherwise)} of {compared} samples"
        )
        return SelfTestOutcome(False, compared, reason, worst)
    return SelfTestOutcome(True, compared, "", worst)


def score(session: Session, golden: Golden, comparator: Comparator) -> tuple[float, int]:
    """Sum of the samples' scores (0 to 1 each), and how many samples have a truth.

    For classification that is the number of right answers. A failed or not finite answer scores 0.

    Raises:
        CallerError: MF-4011, the truth is not of the comparator's task.
    """
    input_name = session.contract.inputs[0].logical.name
    total, count = 0.0, 0
    for row in range(len(golden)):
        here = slice(row, row + 1)
        try:
            answer = session.run({input_name: golden.inputs[here]})
        except ModelfleetError:
            answer = _nothing(session)
        value = float(comparator.score(answer, rows(golden.truth, here))[0])
        if not np.isnan(value):
            total, count = total + value, count + 1
    return total, count


def write(
    file: BinaryIO,
    inputs: npt.NDArray[np.uint8] | FloatArray,
    input_scale: float,
    truth: Truth,
    recorded: tuple[FloatArray, ...],
) -> None:
    """Write `golden.npz`: stored inputs (logical = inputs * input_scale), truth and this variant's answers.

    Of the answers only the first samples are kept, at least one and as many as `MAX_RECORDED_BYTES` allow.
    The same arrays always give the same bytes.
    """
    kept = record_count(len(inputs), sum(item[0].size for item in recorded))
    arrays: dict[str, npt.NDArray[Any]] = {
        "inputs": inputs,
        "input_scale": np.asarray(input_scale, np.float64),
        **truth,
        **{f"recorded_{i}": item[:kept].astype(np.float32) for i, item in enumerate(recorded)},
    }
    np.savez_compressed(file, allow_pickle=False, **arrays)


def record_count(samples: int, elements: int) -> int:
    """How many of the samples are recorded, when each answer has so many elements of float32."""
    return max(1, min(samples, MAX_RECORDED_BYTES // (4 * max(1, elements))))


def scaled(inputs: npt.NDArray[np.uint8] | FloatArray, input_scale: float) -> FloatArray:
    """Logical values of stored inputs: `inputs * input_scale` in float64, rounded once to float32."""
    return (inputs.astype(np.float64) * input_scale).astype(np.float32)


def _differs(
    answer: dict[str, FloatArray], record: dict[str, FloatArray], bounds: SelfTestBounds
) -> tuple[float, str]:
    """Largest absolute difference, and what is wrong, or an empty string."""
    worst = 0.0
    for index, (name, recorded) in enumerate(record.items()):
        value = answer[name]
        if value.shape != recorded.shape:
            return worst, f"has {name} of shape {list(value.shape)}, recorded {list(recorded.shape)}"
        if not np.isfinite(value).all():
            return worst, f"is not finite in {name}, its record is"
        difference = float(np.abs(value - recorded).max())
        worst = max(worst, difference)
        allowed = bounds.error_of(index)
        if difference > allowed:
            return worst, f"differs in {name} by {difference:.4g} from its record, allowed {allowed:.4g}"
    return worst, ""


def _nothing(session: Session) -> dict[str, FloatArray]:
    """What a failed run counts as: an answer without a finite number."""
    return {
        binding.logical.name: np.full((1, *binding.logical.shape[1:]), np.nan, np.float32)
        for binding in session.contract.outputs
    }


def _golden(arrays: dict[str, npt.NDArray[Any]]) -> Golden:
    inputs, scale = arrays["inputs"], arrays["input_scale"]
    if inputs.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)) or inputs.ndim < 2 or len(inputs) == 0:
        raise NpzError(f"inputs are {inputs.dtype} of shape {list(inputs.shape)}")
    if scale.dtype != np.float64 or scale.shape != () or not np.isfinite(scale) or not scale > 0:
        raise NpzError("input_scale is not a positive float64")
    truth = {name: arrays[name] for name in ALL_FIELDS if name in arrays}
    check_form(truth, len(inputs))
    values = scaled(inputs, float(scale))
    if not np.isfinite(values).all():
        raise NpzError("inputs hold NaN or infinite values")
    return Golden(values, truth, _recorded(arrays, len(inputs)))


def _recorded(arrays: dict[str, npt.NDArray[Any]], samples: int) -> tuple[FloatArray, ...]:
    present = [name for name in _RECORDED if name in arrays]
    if present != list(_RECORDED[: len(present)]):
        raise NpzError(f"it holds only {present} of the recorded outputs")
    recorded = tuple(arrays[name] for name in present)
    count = len(recorded[0]) if recorded[0].ndim else 0
    for name, item in zip(present, recorded, strict=True):
        if item.dtype != np.float32 or item.ndim < 2 or not 1 <= len(item) <= samples or len(item) != count:
            raise NpzError(f"{name} is {item.dtype} of shape {list(item.shape)}")
    return recorded
