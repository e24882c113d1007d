"""The manifest of a release (`release.json`): what was built, from what, how it measured, and every file's
digest.

`release.json` is written once; its bytes' sha256 is the release id (semantics section 6). It lies at the top
of the release folder and, byte for byte the same, in every variant folder, so each variant's bundle binds the
whole release.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ..ids import is_digest, is_file_name, is_name, is_version
from .contract import LogicalTensor

MANIFEST_NAME = "release.json"
CONTRACT_NAME = "contract.json"
GOLDEN_NAME = "golden.npz"
BUNDLE_SUFFIX = ".sigstore.json"
MAX_MANIFEST_BYTES = 1_000_000
MAX_BUNDLE_BYTES = 1_000_000
MAX_VARIANTS = 64
MAX_FILES = 64
MAX_FILE_BYTES = 4 * 1024**3
MAX_DECODER_PARAMETERS = 32
MAX_DECODER_TEXT = 256


class Task(StrEnum):
    """What the model does; decides comparator and metric."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    REGRESSION = "regression"
    EMBEDDING = "embedding"


class Precision(StrEnum):
    """Arithmetic of a variant."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


FLOATS = (Precision.FP32, Precision.FP16)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a variant folder: relative POSIX path (no folders in this version), digest, size in
    bytes.
    """

    path: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        """Refuses names that leave the folder."""
        if not is_file_name(self.path):
            raise ValueError(f"artifact path {self.path!r} is not a plain file name")
        if not is_digest(self.sha256):
            raise ValueError(f"artifact {self.path!r}: digest is not 64 lower-case hex characters")
        if not 0 <= self.size <= MAX_FILE_BYTES:
            raise ValueError(f"artifact {self.path!r}: size {self.size} is outside 0..{MAX_FILE_BYTES}")


@dataclass(frozen=True, slots=True)
class RuntimeNeed:
    """The runtime that loads the variant.

    Attributes:
        name: of the plug-in.
        minimum, below: version range, inclusive and exclusive.
        options: how the plug-in shall open it, such as `device: GPU`.
    """

    name: str
    minimum: str
    below: str | None = None
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SelfTestBounds:
    """How closely a device must reproduce the recorded golden outputs (semantics section 2, self-test).

    Attributes:
        max_abs_error: largest absolute difference of any output element.
        margin: a decision must be the recorded one wherever it was ahead by more than this: of a class or a
            pixel in units of the first output, of a box in units of its score.
        per_output: largest absolute difference for each output in the contract's order, where the outputs are
            of different sizes; empty = `max_abs_error` for all.
    """

    max_abs_error: float
    margin: float
    per_output: tuple[float, ...] = ()

    def error_of(self, index: int) -> float:
        """Largest absolute difference allowed in the output of that place."""
        return self.per_output[index] if index < len(self.per_output) else self.max_abs_error


@dataclass(frozen=True, slots=True)
class AcceleratorUse:
    """What a compiler for an accelerator says of a variant. Estimates of the tool, no measurements.

    Attributes:
        operators, operators_on: operators of the graph, and those that the accelerator runs.
        macs, macs_on: the same of multiply-accumulates for one sample; None = the tool does not tell.
        cycles: accelerator cycles for one sample.
        sram_bytes, flash_bytes: memory the accelerator needs.
        inference_us: the tool's estimate for one sample, operators on the processor left out.
        fallbacks: one sentence for each operator that the processor has to run, with the tool's reason.
    """

    operators: int
    operators_on: int
    macs: int | None = None
    macs_on: int | None = None
    cycles: int | None = None
    sram_bytes: int | None = None
    flash_bytes: int | None = None
    inference_us: float | None = None
    fallbacks: tuple[str, ...] = ()

    def coverage(self) -> float:
        """Share of the operators that the accelerator runs, 0 to 1."""
        return self.operators_on / self.operators if self.operators else 0.0

    def mac_coverage(self) -> float | None:
        """Share of the multiply-accumulates that the accelerator runs, 0 to 1; None = unknown."""
        if self.macs is None or self.macs_on is None:
            return None
        return self.macs_on / self.macs if self.macs else 1.0


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the builder measured in the real runtime on the validation split; None = not measured, never 0.

    Attributes:
        metric: task metric's name: `top1`, `map50`, `miou`, `1-nrmse` or `cosine`.
        value, parent_value: metric of the variant and of its float parent (0-1).
        drop_points: 100 * (parent_value - value).
        agreement: share of decisions (samples, boxes, pixels) that are the float parent's (0-1).
        size_bytes: size of the runtime's files.
        latency_ratio: median of variant time / float parent time of the same class, interleaved.
        latency_ratio_low, latency_ratio_high: spread (10th and 90th percentile of the rounds).
        control_ratio: the same for parent against itself (A/A control).
        latency_us: median time of one sample, microseconds, on the build machine.
        rss_bytes: peak resident memory of the process that ran it.
        samples: number of validation samples.
        measured_with: the runtime that was measured in place of the variant's own, where that does not run on
            the builder; empty = its own. Latency and memory are then not measured.
        arena_bytes: working memory that a microcontroller's interpreter needs.
        accelerator: what the accelerator's compiler says.
        class_drop_points: largest loss of a single class against the float parent, in points; None where the
            task has no classes or no class has enough samples.
        worst_class: the class that lost it.
        raw_error: regression: root mean square error in units of the output; else None.
    """

    metric: str
    value: float
    parent_value: float
    drop_points: float
    agreement: float
    size_bytes: int
    samples: int
    latency_ratio: float | None = None
    latency_ratio_low: float | None = None
    latency_ratio_high: float | None = None
    control_ratio: float | None = None
    latency_us: float | None = None
    rss_bytes: int | None = None
    measured_with: str = ""
    arena_bytes: int | None = None
    accelerator: AcceleratorUse | None = None
    class_drop_points: float | None = None
    worst_class: int | None = None
    raw_error: float | None = None


@dataclass(frozen=True, slots=True)
class Decoder:
    """How the raw outputs of a detector become boxes: signed, so that every device decodes the same way.

    Attributes:
        name: plug-in (entry points `modelfleet.decoders`).
        parameters: instead of the plug-in's own values; numbers, or names of outputs.
    """

    name: str
    parameters: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Names and parameters are short and plain."""
        if not is_name(self.name):
            raise ValueError(f"decoder {self.name[:64]!r} is not a plain name")
        if len(self.parameters) > MAX_DECODER_PARAMETERS:
            raise ValueError(f"a decoder has at most {MAX_DECODER_PARAMETERS} parameters")
        for key, value in self.parameters.items():
            text = value if isinstance(value, str) else ""
            if len(key) > MAX_DECODER_TEXT or len(text) > MAX_DECODER_TEXT:
                raise ValueError(f"decoder parameter {key[:64]!r}: longer than {MAX_DECODER_TEXT} characters")
            if not isinstance(value, str) and not math.isfinite(value):
                raise ValueError(f"decoder parameter {key!r} is not finite")


@dataclass(frozen=True, slots=True)
class Variant:
    """One release x device class x recipe: one folder, one bundle.

    Attributes:
        name: folder name, `<class>.<recipe>`, for example `x86-onnxruntime.int8`.
        recipe: the optimizer's name of how it was made.
        parameters: everything that the recipe settled, such as the method of calibration or the operators
            that were left in float; with `tools`, the lineage of the bytes.
        rank: 0 = the builder's choice for the class; higher = kept as alternatives (fp32 stays available).
        entry: the file the runtime opens.
        files: every file of the folder but `release.json` itself (contract and golden set included).
    """

    name: str
    device_class: str
    precision: Precision
    recipe: str
    rank: int
    runtime: RuntimeNeed
    entry: str
    files: tuple[Artifact, ...]
    bounds: SelfTestBounds
    measurements: Measurements
    min_memory_bytes: int = 0
    tools: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The entry must be one of the files."""
        if not is_name(self.name) or not is_name(self.device_class):
            raise ValueError(f"variant {self.name!r} of class {self.device_class!r}: not a plain name")
        if not 1 <= len(self.files) <= MAX_FILES:
            raise ValueError(
                f"variant {self.name!r} lists {len(self.files)} files; 1 to {MAX_FILES} are allowed"
            )
        paths = [f.path for f in self.files]
        if len(set(paths)) != len(paths) or MANIFEST_NAME in paths:
            raise ValueError(f"variant {self.name!r}: file names repeat or name {MANIFEST_NAME}")
        if self.entry not in paths:
            raise ValueError(f"variant {self.name!r}: entry {self.entry!r} is not among its files")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A variant or class that was not built or not accepted, with the sentence that says why."""

    device_class: str
    variant: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the release comes from: digests of model and data, task, calibration."""

    source_sha256: str
    source_name: str
    calibration_sha256: str | None = None
    validation_sha256: str | None = None
    golden_sha256: str | None = None
    golden_samples: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `release.json`.

    `name` is also the slot that the release fills on devices. `golden_value` is the float parent's mean score
    on the golden set (0-1; for classification its accuracy), the absolute floor for a first install.
    `decoder` belongs to detection. `target_scale` belongs to regression: the spread (standard deviation) of
    the validation targets, the unit in which devices judge errors.
    """

    name: str
    version: str
    task: Task
    created_at: datetime
    inputs: tuple[LogicalTensor, ...]
    outputs: tuple[LogicalTensor, ...]
    lineage: Lineage
    variants: tuple[Variant, ...]
    refusals: tuple[Refusal, ...] = ()
    golden_value: float | None = None
    labels: tuple[str, ...] = ()
    decoder: Decoder | None = None
    target_scale: float | None = None
    schema: int = 1

    def __post_init__(self) -> None:
        """Names and versions must be safe in paths; variant names unique."""
        if not is_name(self.name) or not is_version(self.version):
            raise ValueError(f"release {self.name!r}:{self.version!r} is not a plain name and version")
        if self.created_at.tzinfo is None:
            raise ValueError("created_at must be an aware instant")
        if not 1970 <= self.created_at.year < 9999:  # others cannot be told in every time zone
            raise ValueError(f"created_at {self.created_at.isoformat()} is not a year of 1970 to 9998")
        if len(self.variants) > MAX_VARIANTS:
            raise ValueError(f"{len(self.variants)} variants; at most {MAX_VARIANTS} are allowed")
        names = [v.name for v in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variant names repeat: {names}")
        if self.target_scale is not None and not 0 < self.target_scale < math.inf:
            raise ValueError(f"target_scale is {self.target_scale}; a spread is greater than 0")

    def reference(self) -> str:
        """`name:version`, the name for people."""
        return f"{self.name}:{self.version}"

    def variant(self, name: str) -> Variant | None:
        """The variant of that name."""
        return next((v for v in self.variants if v.name == name), None)

    def classes(self) -> tuple[str, ...]:
        """Device classes that have at least one variant, sorted."""
        return tuple(sorted({v.device_class for v in self.variants}))
