"""Runs parent and variant side by side, sample by sample, and compares every value that both have.

Cost: three runs of the parent's operators and one or two of the variant for each sample, whatever the number
of layers; one more of the parent for each suspect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from modelfleet_build.layers import rule
from modelfleet_build.layers.diagnosis import Evidence, diagnose
from modelfleet_build.layers.parent import DELTA, GIVEN, ParentGraph, Shape, read_parent
from modelfleet_build.layers.report import Divergence, Layer, LayerReport, OutputError
from modelfleet_build.layers.statistics import LayerSums, ratio, relative
from modelfleet_build.layers.tap import FloatArray, Tap, TapRequest, open_tap
from modelfleet_build.layers.tap_onnx import OnnxSession
from modelfleet_build.port import Tell
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import Precision
from modelfleet_runtimes.port import Session

Values = dict[str, FloatArray]
# Samples that the damage of a suspect is shown on, and that its kind is told from.
_CLOSER_LOOK = 8


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared.

    Attributes:
        parent: The single-file ONNX model.
        variant: The variant's entry file.
        contract: How the variant's tensors are bound.
        precision: Of the variant; sets the floor of the rule.
        runtime: The variant in its real runtime, whose answers are held against the layers' own; None = not.
        effects: Measure the effect on the outputs for every layer and not for suspects alone; costs one run
            of the parent for each layer and sample of the closer look.
    """

    parent: Path
    variant: Path
    contract: InputContract
    precision: Precision
    runtime: Session | None = None
    effects: bool = False


def compare_layers(what: Compared, inputs: FloatArray, tell: Tell = lambda text: None) -> LayerReport:
    """Compare a variant with its float parent.

    Args:
        what: The two models.
        inputs: [n, ...] float32 logical values of the only input, at least one sample.
        tell: Takes progress.

    Raises:
        CallerError: MF-1454, the variant's inner values cannot be seen.
    """
    parent = read_parent(onnx.load(str(what.parent)))
    tap = open_tap(TapRequest(what.variant, what.contract, frozenset(parent.values)))
    bench = _Bench(parent, tap, inputs)
    sums, outputs = bench.compare(what.runtime, tell)
    places = parent.places(frozenset(sums))
    layers = [sums[name].layer(name, places[name]) for name in parent.values if name in sums]
    limits = rule.limits(what.precision, layers)
    layers = [replace(layer, suspect=rule.is_suspect(layer, limits)) for layer in layers]
    tried = [layer.value for layer in layers if layer.suspect][: rule.MOST_SUSPECTS]
    if what.effects:
        tried = [layer.value for layer in layers]
    if tried:
        tell(f"measuring what {len(tried)} layers do to the outputs")
    effects = bench.effects(tried)
    layers = [replace(layer, effect=effects.get(layer.value)) for layer in layers]
    first = rule.first(layers, limits)
    divergence = _divergence(first, bench) if first is not None else None
    return LayerReport(
        samples=len(inputs),
        layers=tuple(layers),
        outputs=outputs,
        skipped=tuple(name for name in parent.values if name not in sums and name not in parent.inputs),
        median_error=limits.median,
        floor=limits.floor,
        factor=limits.factor,
        effect_floor=limits.effect,
        divergence=divergence,
        verdict=rule.verdict(layers, limits, divergence),
        notes=tuple(bench.notes),
    )


def _divergence(layer: Layer, bench: _Bench) -> Divergence:
    diagnosis = diagnose(layer, bench.evidence(layer.value))
    return Divergence(layer.value, layer.node, layer.operators, diagnosis.kind, diagnosis.why, diagnosis.todo)


class _Bench:
    """Both models, ready to run."""

    def __init__(self, parent: ParentGraph, tap: Tap, inputs: FloatArray) -> None:
        self._parent, self._tap, self._inputs = parent, tap, inputs
        self._input = parent.inputs[0]
        self._tapped = OnnxSession(parent.tapped())
        self._shapes: dict[str, Shape] = {}
        first, given = self._parent_values(0), self._given(0)
        self.notes: list[str] = []
        for name in parent.values:
            if name in given and name in first:
                if given[name].shape == first[name].shape:
                    self._shapes[name] = first[name].shape
                else:
                    shapes = f"{list(given[name].shape)} and not {list(first[name].shape)}"
                    self.notes.append(f"{name} is left out: the variant's has shape {shapes}")
        self._known = tuple(self._shapes)
        self._forced = OnnxSession(parent.forced(self._known, self._shapes))

    def compare(
        self, runtime: Session | None, tell: Tell
    ) -> tuple[dict[str, LayerSums], tuple[OutputError, ...]]:
        """The sums of every comparable value, and the errors of the outputs."""
        sums = {name: LayerSums(self._tap.stored(name)) for name in self._known}
        answered = {name: [0.0, 0.0] for name in self._parent.outputs}
        for row in range(len(self._inputs)):
            if row % 64 == 0:
                tell(f"comparing {len(sums)} layers, sample {row + 1} of {len(self._inputs)}")
            parent, given = self._parent_values(row), self._given(row)
            forced = self._forced_values(row, given)
            for name, item in sums.items():
                item.add(parent[name], given[name], forced[name])
            if runtime is not None:
                try:
                    answer = runtime.run({self._input: self._sample(row)})
                except ModelfleetError as error:
                    self.notes.append(f"its own runtime failed on sample {row + 1}: {error.happened}")
                    runtime = None
                    continue
                for name, pair in answered.items():
                    if name in given:
                        difference, reference = relative(answer[name] - given[name], parent[name])
                        pair[0] += difference
                        pair[1] += reference
        outputs = tuple(
            OutputError(
                name,
                ratio(sums[name].total2, sums[name].parent2),
                ratio(answered[name][0], answered[name][1]) if runtime is not None else None,
            )
            for name in self._parent.outputs
            if name in sums
        )
        return sums, outputs

    def effects(self, names: Sequence[str]) -> dict[str, float]:
        """Relative RMS change of the worst output when a layer's own error is added to the float model."""
        if not names:
            return {}
        session = OnnxSession(self._parent.disturbed(names, self._shapes))
        nothing = {name + DELTA: np.zeros(self._shapes[name], np.float32) for name in names}
        sums = {name: {output: [0.0, 0.0] for output in self._parent.outputs} for name in names}
        for row in range(min(len(self._inputs), _CLOSER_LOOK)):
            sample = {self._input: self._sample(row)}
            clean = session.run({**sample, **nothing})
            given = self._given(row)
            forced = self._forced_values(row, given)
            for name in names:
                error = np.nan_to_num(given[name] - forced[name])
                changed = session.run({**sample, **nothing, name + DELTA: error})
                for output, pair in sums[name].items():
                    difference, reference = relative(changed[output] - clean[output], clean[output])
                    pair[0] += difference
                    pair[1] += reference
        return {name: max(ratio(*pair) for pair in by_output.values()) for name, by_output in sums.items()}

    def evidence(self, name: str) -> Evidence:
        """Some samples of one layer, kept whole."""
        variant, forced = [], []
        for row in range(min(len(self._inputs), _CLOSER_LOOK)):
            given = self._given(row)
            variant.append(given[name])
            forced.append(self._forced_values(row, given)[name])
        return Evidence(np.concatenate(variant), np.concatenate(forced), self._tap.stored(name))

    def _sample(self, row: int) -> FloatArray:
        return np.ascontiguousarray(self._inputs[row : row + 1])

    def _parent_values(self, row: int) -> Values:
        sample = self._sample(row)
        return {self._input: sample, **self._tapped.run({self._input: sample})}

    def _given(self, row: int) -> Values:
        return self._tap.run({self._input: self._sample(row)})

    def _forced_values(self, row: int, given: Mapping[str, FloatArray]) -> Values:
        feeds = {name + GIVEN: given[name] for name in self._known}
        if self._input not in self._known:
            feeds[self._input] = self._sample(row)
        # An input of the model is made by nothing: what it should hold is the sample itself.
        return {self._input: self._sample(row), **self._forced.run(feeds)}
