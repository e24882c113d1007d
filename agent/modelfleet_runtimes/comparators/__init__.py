"""Compares the outputs of two models on the same inputs: do they decide the same, and how far apart are they?

One comparator per task, each in a module of its own with its rules (semantics section 2). What all have in
common: a sample whose candidate output is not finite is a failure, with no agreement and severity 1.
"""

from __future__ import annotations

from collections.abc import Callable

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Manifest, Task

from ..decoders.port import BoxDecoder
from ..decoders.registry import open_decoder
from .classification import ClassificationComparator, probabilities
from .detection import DetectionComparator
from .embedding import EmbeddingComparator
from .port import DEFAULT_EPS, Comparator, Comparison, Flags, Outputs, finite, finite_rows
from .regression import RegressionComparator
from .segmentation import SegmentationComparator

__all__ = [
    "DEFAULT_EPS",
    "ClassificationComparator",
    "Comparator",
    "Comparison",
    "DetectionComparator",
    "EmbeddingComparator",
    "Flags",
    "Outputs",
    "RegressionComparator",
    "SegmentationComparator",
    "finite",
    "finite_rows",
    "for_manifest",
    "for_task",
    "probabilities",
]


def for_task(
    task: Task,
    eps: float = DEFAULT_EPS,
    decoder: BoxDecoder | None = None,
    scale: float | None = None,
) -> Comparator:
    """The comparator of a task.

    Args:
        task: What the model does.
        eps: Margin of the incumbent below which a changed decision is close, 0 to 1.
        decoder: Detection only: from raw outputs to boxes.
        scale: Regression only: spread of the targets, greater than 0.

    Raises:
        CallerError: MF-4015, detection without a decoder; MF-4008, the task has no comparator, or it lacks
            its scale.
    """
    if task is Task.DETECTION and decoder is None:
        raise CallerError(
            Code.DECODER_MISSING,
            "a detector's outputs cannot be compared without a decoder",
            expected="a decoder in the release's manifest",
            todo="build the release with --decoder NAME",
        )
    makers: dict[Task, Callable[[], Comparator]] = {
        Task.CLASSIFICATION: lambda: ClassificationComparator(eps)
    }
    if decoder is not None:
        makers[Task.DETECTION] = lambda: DetectionComparator(decoder, eps)
    makers[Task.SEGMENTATION] = lambda: SegmentationComparator(eps)
    if scale is not None:
        makers[Task.REGRESSION] = lambda: RegressionComparator(scale)
    makers[Task.EMBEDDING] = EmbeddingComparator
    if task not in makers:
        raise CallerError(
            Code.TASK_NOT_SUPPORTED,
            f"outputs of the task {task.value!r} cannot be compared as the release declares them",
            expected=f"one of: {', '.join(item.value for item in makers)}"
            + (", or a target scale in the manifest" if task is Task.REGRESSION else ""),
            todo="use a newer version of Modelfleet, or build the release anew",
        )
    return makers[task]()


def for_manifest(manifest: Manifest, eps: float = DEFAULT_EPS) -> Comparator:
    """The comparator that a release's manifest declares.

    Raises:
        CallerError: As `for_task`; MF-4013 and MF-4014, its decoder is not installed or does not fit.
    """
    decoder = None
    if manifest.task is Task.DETECTION and manifest.decoder is not None:
        decoder = open_decoder(manifest.decoder, manifest.inputs, manifest.outputs)
    return for_task(manifest.task, eps, decoder, manifest.target_scale)
