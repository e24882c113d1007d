"""The build spec of a variant whose engine is made on the device (`engine.json`): what TensorRT makes of it.

It is a file of the variant, so the release's signatures bind it. The engine itself is not: it fits one GPU
and one version of TensorRT only, and is derived on each device from model and spec.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ids import is_digest, is_file_name
from .manifest import Precision

ENGINE_SPEC_NAME = "engine.json"
MAX_SPEC_BYTES = 64 * 1024
MIB = 1024**2
BUILD_LIMIT_S = 3600.0
"""Seconds that a device may take to build an engine: TensorRT times thousands of kernels for that."""
_MAX_WORKSPACE = 64 * 1024 * MIB
_MAX_INPUTS = 16
_MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class ShapeProfile:
    """Shapes of one input that the engine accepts: least, the one it is tuned for, and greatest."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuses shapes that no engine can be built for."""
        if not 1 <= len(self.minimum) <= _MAX_RANK:
            raise ValueError(f"a shape has {len(self.minimum)} dimensions; 1 to {_MAX_RANK} are allowed")
        if not len(self.minimum) == len(self.optimum) == len(self.maximum):
            raise ValueError("the shapes of a profile have different numbers of dimensions")
        for low, best, high in zip(self.minimum, self.optimum, self.maximum, strict=True):
            if not 1 <= low <= best <= high:
                raise ValueError(f"a dimension of {low} to {high}, tuned for {best}, is not possible")


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """How the engine of a variant is built.

    Attributes:
        model: file of the variant folder that is parsed, ONNX.
        model_sha256: its digest.
        precision: what the model computes in; its own types and quantization say where.
        inputs: of every input of the model by name.
        workspace_bytes: memory that a layer may use for itself.
        minimum, below: TensorRT versions that can build it, inclusive and exclusive.
        fp16, int8: what weakly typed networks (TensorRT before 10) are allowed beside fp32; strongly typed
            ones do what the model's types say.
        tf32: allows fp32 convolutions to round their operands to 10 bits, which TensorRT does unasked.
        optimization_level: of the builder, 0 (quick to build) to 5 (quick to run).
    """

    model: str
    model_sha256: str
    precision: Precision
    inputs: dict[str, ShapeProfile]
    workspace_bytes: int
    minimum: str
    below: str | None = None
    fp16: bool = False
    int8: bool = False
    tf32: bool = False
    optimization_level: int = 3
    schema: int = 1

    def __post_init__(self) -> None:
        """Refuses a spec that names other files or asks for what cannot be."""
        if not is_file_name(self.model) or not is_digest(self.model_sha256):
            raise ValueError(f"model {self.model!r} is not a plain file name with a sha256")
        if not 1 <= len(self.inputs) <= _MAX_INPUTS:
            raise ValueError(f"{len(self.inputs)} inputs; 1 to {_MAX_INPUTS} are allowed")
        if not MIB <= self.workspace_bytes <= _MAX_WORKSPACE:
            raise ValueError(f"a workspace of {self.workspace_bytes} bytes; 1 MiB to 64 GiB are allowed")
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"optimization level {self.optimization_level}; 0 to 5 are allowed")
        if self.schema != 1:
            raise ValueError(f"schema {self.schema}; this version reads 1")
