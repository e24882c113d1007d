"""Which variants are good enough, and which of them is the best for its class. Pure; always with a sentence.

Rules:
0. An fp32 variant is the same arithmetic as the float parent: where its answers differ by more than the
   order of additions explains, the conversion is wrong, however good its metric, and it is refused. One
   sample in a hundred is left out: a model may be ill-conditioned at single inputs.
1. A variant is refused when it loses more points of the metric than the budget allows, against the float
   parent: the given ONNX model in ONNX Runtime, on the same samples.
2. A variant is refused when it gives answers that are not finite on more samples than the float parent does.
   A parent that itself does so is no reason to refuse: the variant is measured against its own parent, and
   the report warns.
3. A variant is refused when it takes more than a limit of its class (size, arena, latency), when the
   accelerator runs less of it than the class wants, and when such a limit cannot be checked here.
4. Objective latency: the float variant of the class, unless another is faster beyond the noise: the 90th
   percentile of its ratio is below 1 and below the 10th percentile of the float variant against itself, and
   its median at least 5 % below 1. Of
   several, the one with the smallest median ratio. Where no time is measured (the runtime does not run on a
   builder): the fewest cycles, else the float variant, else the smallest.
5. Objective size: the smallest.
6. Objective memory: the least working memory, then the smallest.
7. Objective accuracy: the best metric, then the fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from modelfleet_build.child.jobs import Spread
from modelfleet_build.quality import Quality
from modelfleet_build.request import Objective
from modelfleet_core.error_codes import Code
from modelfleet_core.release.device_class import VariantLimits
from modelfleet_core.release.manifest import Measurements, Precision

# Differences of two shares of a whole number of samples carry rounding errors far below one sample.
_ROUNDING = 1e-9
# Deep networks in float32 differ by about 1e-5 between kernels.
SAME_ARITHMETIC = 1e-3
# Two builds on one machine differ by a few percent; a choice that flips between them would be noise.
LEAST_GAIN = 0.05


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
        ratio: Time / time of the float variant of the class; None for that itself, and where time was not
            measured.
        control: The float variant against itself, measured in the same rounds; None where time was not.
        is_float: Its precision is a float one.
        value: Task metric, 0 to 1.
        memory_bytes: Working memory, None where it was not measured.
        cycles: Accelerator cycles for one sample as its compiler estimates them, None elsewhere.
    """

    name: str
    size_bytes: int
    ratio: Spread | None
    control: Spread | None
    is_float: bool = True
    value: float = 1.0
    memory_bytes: int | None = None
    cycles: int | None = None


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


def judge_limits(
    measured: Measurements, limits: VariantLimits, architectures: tuple[str, ...], machine: str
) -> BudgetRefusal | None:
    """Rule 3; None = within the limits of the class.

    Args:
        measured: The variant.
        limits: Of the class.
        architectures: Of the class.
        machine: Architecture of the builder; a time that was measured elsewhere proves nothing.
    """
    use = measured.accelerator
    timed = (
        measured.latency_us / 1e6 if measured.latency_us is not None and machine in architectures else None
    )
    upper = (
        ("size", measured.size_bytes, limits.size_bytes, "bytes"),
        ("arena", measured.arena_bytes, limits.arena_bytes, "bytes"),
        ("latency", timed, limits.latency_s, "s"),
    )
    for name, value, limit, unit in upper:
        if limit is None:
            continue
        if value is None:
            return _unchecked(name, f"{limit:g} {unit}", machine if name == "latency" else "")
        if value > limit:
            return BudgetRefusal(
                Code.LIMIT_EXCEEDED, f"takes {value:g} {unit} of {name}; the class allows {limit:g}"
            )
    lower = (
        ("operators", use.coverage() if use is not None else None, limits.min_coverage),
        ("multiply-accumulates", use.mac_coverage() if use is not None else None, limits.min_mac_coverage),
    )
    for name, share, least in lower:
        if least is None:
            continue
        if share is None:
            return _unchecked(f"coverage of {name}", f"{100 * least:g} %", "")
        if share < least - _ROUNDING:
            told = "; ".join(use.fallbacks[:3]) if use is not None else ""
            return BudgetRefusal(
                Code.COVERAGE_TOO_LOW,
                f"the accelerator runs {100 * share:.1f} % of the {name}; the class wants {100 * least:g} %"
                + (f" (left to the processor: {told})" if told else ""),
            )
    return None


def choose(candidates: list[Candidate], objective: Objective) -> Choice:
    """Rules 4 to 7.

    Args:
        candidates: At least one.
        objective: What "best" means.
    """
    if len(candidates) == 1:
        name = candidates[0].name
        return Choice((name,), f"{name} is chosen: the class has no other variant within the budget")
    if objective is Objective.LATENCY:
        return _fastest(candidates)
    keys: dict[Objective, Callable[[Candidate], tuple[float, ...]]] = {
        Objective.SIZE: lambda item: (item.size_bytes,),
        Objective.MEMORY: lambda item: (_or_last(item.memory_bytes), item.size_bytes),
        Objective.ACCURACY: lambda item: (-item.value, _median(item), item.size_bytes),
    }
    key = keys[objective]
    order = sorted(candidates, key=lambda item: (key(item), item.name))
    best = order[0]
    told = {
        Objective.SIZE: f"it is the smallest ({best.size_bytes} bytes)",
        Objective.MEMORY: "memory was not measured, and it is the smallest"
        if best.memory_bytes is None
        else f"it needs the least memory ({best.memory_bytes} bytes)",
        Objective.ACCURACY: f"none is more accurate ({100 * best.value:.2f} %)",
    }
    return Choice(tuple(item.name for item in order), f"{best.name} is chosen: {told[objective]}")


def _fastest(candidates: list[Candidate]) -> Choice:
    if all(item.control is None for item in candidates):
        order = sorted(
            candidates,
            key=lambda item: (_or_last(item.cycles), not item.is_float, item.size_bytes, item.name),
        )
        best = order[0]
        why = "time is not measured here, and it is the smallest"
        if best.cycles is not None:
            why = f"its compiler estimates the fewest cycles ({best.cycles}); time is not measured here"
        elif best.is_float and len(order) > 1:
            why = "time is not measured here, so nothing says that another is faster than the float variant"
        return Choice(tuple(item.name for item in order), f"{best.name} is chosen: {why}")
    floats = [item for item in candidates if item.ratio is None]
    faster = sorted(
        (item for item in candidates if _is_faster(item)), key=lambda item: (_median(item), item.name)
    )
    rest = [item for item in candidates if item not in faster and item not in floats]
    order = [*faster, *floats, *sorted(rest, key=lambda item: (_median(item), item.name))]
    return Choice(tuple(item.name for item in order), _why(order, faster, rest))


def _unchecked(name: str, limit: str, machine: str) -> BudgetRefusal:
    why = (
        f"nobody measured it on a machine of the class (this one is {machine})"
        if machine
        else "it is unknown here"
    )
    return BudgetRefusal(Code.LIMIT_UNCHECKED, f"the class limits its {name} to {limit}, and {why}")


def _or_last(value: int | None) -> float:
    return math.inf if value is None else float(value)


def _is_faster(item: Candidate) -> bool:
    """Beyond the noise, and by enough to be worth a loss and to come out the same in the next build."""
    return (
        item.ratio is not None
        and item.control is not None
        and item.ratio.high < min(1.0, item.control.low)
        and item.ratio.median <= 1.0 - LEAST_GAIN
    )


def _median(item: Candidate) -> float:
    return item.ratio.median if item.ratio is not None else 1.0


def _why(order: list[Candidate], faster: list[Candidate], rest: list[Candidate]) -> str:
    best = order[0]
    if faster and best.ratio is not None:
        return (
            f"{best.name} is chosen: it takes {best.ratio.median:.2f} of the float variant's time "
            f"[{_range(best.ratio)}]"
        )
    if best in rest and best.ratio is not None:
        return (
            f"{best.name} is chosen: no float variant is within the limits of the class; it takes "
            f"{best.ratio.median:.2f} of the float variant's time [{_range(best.ratio)}]"
        )
    other = next((item for item in order[1:] if item in rest), None)
    if other is None:
        return f"{best.name} is chosen: the class has no other variant that was timed against it"
    assert other.ratio is not None
    assert other.control is not None
    return (
        f"{best.name} is chosen: {other.name} is not faster by 5 % beyond the noise, it takes "
        f"{other.ratio.median:.2f} of its time [{_range(other.ratio)}; float against itself "
        f"{_range(other.control)}]"
    )


def _range(spread: Spread) -> str:
    return f"{spread.low:.2f} to {spread.high:.2f}"
