"""Which variants are good enough, and which of them is the best for its class. Pure; always with a sentence.

Rules:
0. An fp32 variant is the same arithmetic as the float parent: where its answers differ by more than the
   order of additions explains, the conversion is wrong, however good its metric, and it is refused.
1. A variant is refused when it loses more points of the metric than the budget allows, against the float
   parent: the given ONNX model in ONNX Runtime, on the same samples.
2. A variant is refused when it gives answers that are not finite on more samples than the float parent does.
   A parent that itself does so is no reason to refuse: the variant is measured against its own parent, and
   the report warns.
3. Objective latency: the float variant of the class, unless another is faster beyond the noise: the 90th
   percentile of its ratio is below 1 and below the 10th percentile of the float variant against itself. Of
   several, the one with the smallest median ratio.
4. Objective size: the smallest.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelfleet_build.child.jobs import Spread
from modelfleet_build.quality import Quality
from modelfleet_build.request import Objective
from modelfleet_core.error_codes import Code
from modelfleet_core.release.manifest import Precision

# Differences of two shares of a whole number of samples carry rounding errors far below one sample.
_ROUNDING = 1e-9
# Deep networks in float32 differ by about 1e-5 between kernels.
SAME_ARITHMETIC = 1e-3


@dataclass(frozen=True, slots=True)
class BudgetRefusal:
    """Why a variant is not good enough."""

    code: Code
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant within the budget.

    Attributes:
        name: Name of the variant.
        size_bytes: Size of its runtime files.
        ratio: Time / time of the float variant of the class; None for that itself.
        control: The float variant against itself, measured in the same rounds.
    """

    name: str
    size_bytes: int
    ratio: Spread | None
    control: Spread


@dataclass(frozen=True, slots=True)
class Choice:
    """Variants from the best to the last, and why the first is first."""

    order: tuple[str, ...]
    why: str


def judge_conversion(error_share: float, precision: Precision) -> BudgetRefusal | None:
    """Rule 0.

    Args:
        error_share: Largest difference to the float parent's answers, as a share of the largest of them.
        precision: Of the variant; only fp32 is held to this.
    """
    if precision is not Precision.FP32 or error_share <= SAME_ARITHMETIC:
        return None
    return BudgetRefusal(
        Code.CONVERSION_FAILED,
        f"answers otherwise than its float parent, by up to {100 * error_share:.2g} % of the largest value; "
        f"fp32 allows {100 * SAME_ARITHMETIC:g} %",
    )


def drop_points(quality: Quality, parent: Quality) -> float:
    """Loss against the parent in points (negative = better)."""
    return 100.0 * (parent.value - quality.value)


def judge(quality: Quality, parent: Quality, max_drop_points: float) -> BudgetRefusal | None:
    """Rules 1 and 2; None = within the budget."""
    if quality.not_finite > parent.not_finite:
        return BudgetRefusal(
            Code.VARIANT_NOT_FINITE,
            f"gives NaN, infinite values or errors on {quality.not_finite} of {quality.samples} validation "
            f"samples, its float parent on {parent.not_finite}",
        )
    drop = drop_points(quality, parent)
    if drop > max_drop_points + _ROUNDING:
        from_to = f"{100 * parent.value:.2f} % to {100 * quality.value:.2f} %"
        each = quality.points_per_sample
        worth = f"{quality.samples} samples"
        if each is not None:
            worth = f"one of the {worth} is worth {each:.2f}"
        return BudgetRefusal(
            Code.BUDGET_EXCEEDED,
            f"loses {drop:.2f} points of {quality.metric} ({from_to}; {worth}); "
            f"the budget is {max_drop_points:g}",
        )
    return None


def choose(candidates: list[Candidate], objective: Objective) -> Choice:
    """Rules 3 and 4.

    Args:
        candidates: At least one, the float variant of the class (without a ratio) among them.
        objective: What "best" means.
    """
    if objective is Objective.SIZE:
        order = sorted(candidates, key=lambda item: (item.size_bytes, item.name))
        return Choice(
            tuple(item.name for item in order),
            f"{order[0].name} is chosen: it is the smallest ({order[0].size_bytes} bytes)",
        )
    floats = [item for item in candidates if item.ratio is None]
    faster = sorted(
        (item for item in candidates if _is_faster(item)), key=lambda item: (_median(item), item.name)
    )
    rest = [item for item in candidates if item not in faster and item not in floats]
    order = [*faster, *floats, *sorted(rest, key=lambda item: (_median(item), item.name))]
    return Choice(tuple(item.name for item in order), _why(order, faster, rest))


def _is_faster(item: Candidate) -> bool:
    return item.ratio is not None and item.ratio.high < min(1.0, item.control.low)


def _median(item: Candidate) -> float:
    return item.ratio.median if item.ratio is not None else 1.0


def _why(order: list[Candidate], faster: list[Candidate], rest: list[Candidate]) -> str:
    best = order[0]
    if faster and best.ratio is not None:
        return (
            f"{best.name} is chosen: it takes {best.ratio.median:.2f} of the float variant's time "
            f"[{_range(best.ratio)}]"
        )
    if not rest:
        return f"{best.name} is chosen: the class has no other variant within the budget"
    other = rest[0]
    assert other.ratio is not None
    return (
        f"{best.name} is chosen: {other.name} is not faster beyond the noise, it takes "
        f"{other.ratio.median:.2f} of its time [{_range(other.ratio)}; float against itself "
        f"{_range(other.control)}]"
    )


def _range(spread: Spread) -> str:
    return f"{spread.low:.2f} to {spread.high:.2f}"
