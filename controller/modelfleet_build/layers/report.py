"""What a comparison of layers found, for people and machines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """One value that parent and variant both have, and the operators that make it from the ones before.

    Attributes:
        value: Name of the value in the ONNX model.
        node: Name of the node that gives it (its first output where it has no name).
        operators: Types of the parent's operators between the compared values before and this one.
        own_error: RMS of (variant - what the parent's operators make of the variant's own inputs) / RMS of
            the parent's value.
        total_error: RMS of (variant - parent) / RMS of the parent's value.
        channel_error: As `own_error`, of the worst channel alone (axis 1), still by the RMS of all channels.
        cosine: Cosine of the variant's and the parent's values, -1 to 1; 0 where one of them is zero.
        sqnr_db: 20 log10(1 / total_error); None where there is no error.
        step: Size of one step of the stored integers in real units; None where the value is stored as float.
        low, high: Least and greatest value that can be stored, None likewise.
        parent_low, parent_high: Least and greatest value of the parent.
        saturated: Share of the variant's values at an end of the range, 0 to 1; None likewise.
        beyond: Share of the values that the float operators give outside the range, 0 to 1; None likewise.
        not_finite: Values of the variant that are NaN or infinite where the parent's are finite.
        effect: RMS change of the worst output / its RMS when this layer's own error alone is added to the
            float model; None where it was not tried.
        suspect: Its own error stands out (see `rule`).
    """

    value: str
    node: str
    operators: tuple[str, ...]
    own_error: float
    total_error: float
    channel_error: float
    cosine: float
    sqnr_db: float | None
    step: float | None
    low: float | None
    high: float | None
    parent_low: float
    parent_high: float
    saturated: float | None
    beyond: float | None
    not_finite: int
    effect: float | None = None
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first layer that diverges.

    Attributes:
        value, node, operators: Which, as in `Layer`.
        kind: `range`, `step`, `gain`, `offset`, `channels`, `displaced`, `border`, `not_finite` or `values`.
        why: What is wrong with its values, as a clause.
        todo: What to do about it.
    """

    value: str
    node: str
    operators: tuple[str, ...]
    kind: str
    why: str
    todo: str


@dataclass(frozen=True, slots=True)
class OutputError:
    """One output of the model.

    Attributes:
        name: Which.
        total_error: As in `Layer`.
        runtime_error: RMS of (the real runtime's answer - the answer when every layer is looked at) / RMS of
            the parent's; None where the runtime was not run.
    """

    name: str
    total_error: float
    runtime_error: float | None = None


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The whole comparison.

    Attributes:
        samples: Inputs that both models were run on.
        layers: In the order of the parent's graph.
        outputs: Every output of the model.
        skipped: Values of the parent that the variant does not have, because its converter fused them away.
        median_error: Median own error of the layers.
        floor, factor: A layer is suspect from this own error on, and from this multiple of the median.
        effect_floor: A suspect diverges when it changes an output by at least this share.
        divergence: The first layer that diverges, None where none does.
        verdict: One sentence.
        notes: Plain sentences about the comparison itself.
    """

    samples: int
    layers: tuple[Layer, ...]
    outputs: tuple[OutputError, ...]
    skipped: tuple[str, ...]
    median_error: float
    floor: float
    factor: float
    effect_floor: float
    divergence: Divergence | None
    verdict: str
    notes: tuple[str, ...] = ()
