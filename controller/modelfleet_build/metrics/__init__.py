"""The builder's metrics, one per task: 0 to 1, higher is better.

- classification, `top1`: share of right answers; one class: its recall; agreement: samples of one class.
- detection, `map50`: mean over the classes of the average precision at IoU 0.5; one class: its own;
  agreement: boxes that match.
- segmentation, `miou`: mean over the classes of the intersection over union; one class: its own; agreement:
  pixels of the same class.
- regression, `1-nrmse`: 1 - RMSE / spread of the targets; agreement: samples within a tenth of the spread.
- embedding, `cosine`: mean cosine to the float parent's; agreement: samples with a cosine of 0.99 or more.
"""

from __future__ import annotations

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Task
from modelfleet_runtimes.decoders import BoxDecoder

from .classification import TopOne
from .detection import MeanAveragePrecision
from .embedding import MeanCosine
from .port import Metric
from .regression import Fit, spread
from .segmentation import MeanIou

__all__ = ["Metric", "for_task", "spread"]


def for_task(task: Task, decoder: BoxDecoder | None = None, scale: float | None = None) -> Metric:
    """The metric of a task.

    Args:
        task: What the model does.
        decoder: Detection only.
        scale: Regression only: spread of the targets.

    Raises:
        CallerError: MF-4008, the task lacks its decoder or scale.
    """
    simple: dict[Task, Metric] = {
        Task.CLASSIFICATION: TopOne(),
        Task.SEGMENTATION: MeanIou(),
        Task.EMBEDDING: MeanCosine(),
    }
    if decoder is not None:
        simple[Task.DETECTION] = MeanAveragePrecision(decoder)
    if scale is not None:
        simple[Task.REGRESSION] = Fit(scale)
    if task not in simple:
        raise CallerError(
            Code.TASK_NOT_SUPPORTED,
            f"models for {task.value} cannot be measured without what belongs to the task",
            expected="a decoder for detection, targets for regression",
            todo="give --decoder, or validation data with targets",
        )
    return simple[task]
