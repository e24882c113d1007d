"""Reads a decoder's parameters: known names, within ranges, with values for what was not given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import LogicalTensor

from ..binding import FloatArray
from ..truth import MAX_BOXES
from .port import Parameters, Tensors


@dataclass(slots=True)
class Reader:
    """The parameters of one decoder; `settled` collects what was read, `done` refuses the rest."""

    plugin: str
    given: Parameters
    settled: Parameters = field(default_factory=dict)

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number within [least, most]."""
        value = self.given.get(key, default)
        if isinstance(value, str) or not least <= value <= most:
            raise unfit(self.plugin, f"{key} is {value!r}", f"{least:g} to {most:g}")
        self.settled[key] = float(value)
        return float(value)

    def text(self, key: str, default: str, known: Collection[str] | None = None) -> str:
        """A word, one of `known` where that is given."""
        value = self.given.get(key, default)
        if not isinstance(value, str) or (known is not None and value not in known):
            wanted = f"one of {', '.join(known)}" if known is not None else "a word"
            raise unfit(self.plugin, f"{key} is {value!r}", wanted)
        self.settled[key] = value
        return value

    def output(self, key: str, default: str, outputs: Tensors) -> LogicalTensor:
        """The output that a parameter names."""
        name = self.text(key, default)
        found = next((tensor for tensor in outputs if tensor.name == name), None)
        if found is None:
            raise unfit(
                self.plugin,
                f"the model has no output {name!r} ({key})",
                f"one of {', '.join(tensor.name for tensor in outputs)}",
            )
        return found

    def limits(self, iou_threshold: float) -> Limits:
        """The parameters that every decoder has."""
        return Limits(
            score_threshold=self.number("score_threshold", 0.05, 0.0, 1.0),
            confident=self.number("confident", 0.3, 0.0, 1.0),
            iou_threshold=self.number("iou_threshold", iou_threshold, 0.0, 1.0),
            max_boxes=int(self.number("max_boxes", 100, 1, MAX_BOXES)),
        )

    def done(self) -> None:
        """Refuse parameters that nobody asked for."""
        left = sorted(set(self.given) - set(self.settled))
        if left:
            raise unfit(self.plugin, f"it has no parameter {left[0]!r}", f"{', '.join(sorted(self.settled))}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What every decoder keeps.

    Attributes:
        score_threshold: Boxes with a lower score are dropped.
        confident: Score of a decision.
        iou_threshold: Of two boxes that overlap more, the weaker is dropped.
        max_boxes: Boxes of one image.
    """

    score_threshold: float
    confident: float
    iou_threshold: float
    max_boxes: int


def image_size(plugin: str, inputs: Tensors) -> tuple[int, int]:
    """(width, height) of the model's image in pixels."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise unfit(plugin, f"the model takes {[list(t.shape) for t in inputs]}", "one image [n, c, h, w]")
    return inputs[0].shape[3], inputs[0].shape[2]


def taken(outputs: Mapping[str, FloatArray], tensor: LogicalTensor) -> FloatArray:
    """The output of that name, in the shape that the decoder was made for."""
    value = outputs.get(tensor.name)
    if value is None or value.shape[1:] != tensor.shape[1:]:
        found = "is missing" if value is None else f"has shape {list(value.shape)}"
        raise CallerError(
            Code.OUTPUTS_NOT_COMPARABLE,
            f"the output {tensor.name!r} {found}",
            expected=f"[n, {', '.join(str(size) for size in tensor.shape[1:])}]",
            todo="give a model with other outputs a release name of its own",
        )
    return value


def unfit(plugin: str, happened: str, expected: str) -> CallerError:
    """The refusal of parameters or outputs."""
    return CallerError(
        Code.DECODER_UNFIT,
        f"the decoder {plugin} does not fit: {happened}",
        expected=expected,
        todo="correct --decoder NAME:key=value,..., or export the outputs that it reads",
    )
