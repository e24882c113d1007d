"""What the builder knows of a model without its weights, and the input contracts that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelfleet_core.release.contract import (
    BATCH,
    DType,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that passed the intake.

    Attributes:
        source_sha256: Digest of the file as given.
        model_sha256: Digest of the single-file model that the builder works on.
        size_bytes: Size of that file.
        opset: Version of the ONNX operator set.
        fixed_batch: The file takes exactly one sample at a time.
        inputs, outputs: Logical tensors; the first dimension is `BATCH`.
        operators: Operator type -> number of nodes.
    """

    source_sha256: str
    model_sha256: str
    size_bytes: int
    opset: int
    fixed_batch: bool
    inputs: tuple[LogicalTensor, ...]
    outputs: tuple[LogicalTensor, ...]
    operators: dict[str, int]

    def with_range(self, minimum: float | None, maximum: float | None) -> ModelFacts:
        """The same model, its inputs limited to a range."""
        limited = tuple(replace(item, minimum=minimum, maximum=maximum) for item in self.inputs)
        return replace(self, inputs=limited)


def float_contract(facts: ModelFacts, *, layout: Layout, batch: int) -> InputContract:
    """Contract of a file with float32 tensors of the ONNX names.

    Args:
        facts: The model.
        layout: How the file stores images.
        batch: 1 or `BATCH`.
    """

    def bind(logical: LogicalTensor) -> TensorBinding:
        return TensorBinding(logical, physical_tensor(logical, layout=layout, batch=batch))

    return InputContract(tuple(map(bind, facts.inputs)), tuple(map(bind, facts.outputs)))


def physical_tensor(
    logical: LogicalTensor,
    *,
    layout: Layout,
    batch: int,
    dtype: DType = DType.FLOAT32,
    scale: float | None = None,
    zero_point: int | None = None,
) -> PhysicalTensor:
    """The file's tensor for a logical one of the same name."""
    shape = (batch, *logical.shape[1:])
    if logical.layout is Layout.NCHW and layout is Layout.NHWC:
        shape = (shape[0], shape[2], shape[3], shape[1])
    stored = layout if logical.layout is Layout.NCHW else Layout.ANY
    return PhysicalTensor(logical.name, dtype, stored, shape, scale, zero_point)


def onnx_batch(facts: ModelFacts) -> int:
    """Batch dimension of the ONNX file itself."""
    return 1 if facts.fixed_batch else BATCH
