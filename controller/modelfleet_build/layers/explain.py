"""Explains one variant of a release folder: finds its float parent, compares them in a child process."""

from __future__ import annotations

import difflib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelfleet_build.arrays import write_inputs
from modelfleet_build.assemble import VARIANTS
from modelfleet_build.cache import file_digest
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import ExplainJob, IntakeJob, Job, Loadable
from modelfleet_build.datasets import BYTE_SCALE
from modelfleet_build.foreign import read_bounded
from modelfleet_build.intake import take_in
from modelfleet_build.layers.report import LayerReport
from modelfleet_build.layers.tap import FloatArray, opaque
from modelfleet_build.port import Tell
from modelfleet_build.report import read_report
from modelfleet_build.request import Limits
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import (
    CONTRACT_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    Variant,
)
from modelfleet_core.wire import codec
from modelfleet_runtimes import golden, registry
from modelfleet_runtimes.npz import NpzError, read_npz
from modelfleet_runtimes.tflite_file import NPU_OPERATOR, NotTflite, read_tflite

_MAX_CONTRACT_BYTES = 1024 * 1024
_MAX_INPUT_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """What to explain.

    Attributes:
        folder: A release folder.
        variant: Name of the variant.
        model: The model that the release was built from; None = where the build report says it lay.
        inputs: `.npz` with `images` or `inputs`; None = the golden set of the variant.
        samples: Samples used at most, from the first.
        limits: Of the child processes.
    """

    folder: Path
    variant: str
    model: Path | None = None
    inputs: Path | None = None
    samples: int = 32
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `fleetctl build explain` shows.

    Attributes:
        release: `name:version`.
        variant, recipe, runtime: Which.
        model: The float parent that it was compared with.
        layers: The comparison.
    """

    release: str
    variant: str
    recipe: str
    runtime: str
    model: str
    layers: LayerReport
    schema: int = 1


def explain(request: ExplainRequest, clock: Clock, tell: Tell) -> Explanation:
    """Compare a variant with the model that it was built from.

    Raises:
        CallerError: MF-1450 a file of the folder cannot be read; MF-1452 no such variant; MF-1453 its model
            is not at hand or has changed; MF-1454 the variant's inner values cannot be seen; MF-1410 or
            MF-1411 the inputs are unusable.
        WorldError: A child process died or was killed.
    """
    manifest = _manifest(request.folder)
    variant = _variant(manifest, request)
    model = _model(manifest, request)
    place = request.folder.absolute() / VARIANTS / variant.name
    contract = codec.decode(
        _read(place / CONTRACT_NAME, _MAX_CONTRACT_BYTES),
        InputContract,
        what=CONTRACT_NAME,
        limit=_MAX_CONTRACT_BYTES,
    )
    entry = _readable(place, variant)
    inputs = _inputs(request, place, manifest.inputs[0].shape)
    with tempfile.TemporaryDirectory(prefix="modelfleet-explain-") as scratch:
        root = Path(scratch)
        single = root / "model.onnx"
        _run(root / "intake", request, clock, tell, intake=IntakeJob(str(model.absolute()), str(single)))
        write_inputs(root / "inputs.npz", inputs)
        target = Loadable(variant.runtime.name, str(place), entry, contract, variant.runtime.options)
        can_run = entry == variant.entry and variant.runtime.name in registry.available()
        job = ExplainJob(str(single), target, variant.precision, str(root / "inputs.npz"), can_run)
        found = _run(root / "layers", request, clock, tell, explain=job)
    assert found is not None
    return Explanation(
        manifest.reference(), variant.name, variant.recipe, variant.runtime.name, str(model), found
    )


def _run(
    folder: Path,
    request: ExplainRequest,
    clock: Clock,
    tell: Tell,
    *,
    intake: IntakeJob | None = None,
    explain: ExplainJob | None = None,
) -> LayerReport | None:
    folder.mkdir()
    job = Job(folder=str(folder), data_limit_bytes=0, intake=intake, explain=explain)
    allowance = runner.Allowance(request.limits.measure_s, request.limits.memory_bytes)
    return runner.run(job, allowance, clock, tell).explain


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    data = _read(path, MAX_MANIFEST_BYTES)
    return codec.decode(data, Manifest, what=str(path), limit=MAX_MANIFEST_BYTES)


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_bounded(path, limit)
    except OSError as error:
        raise CallerError(
            Code.BUILD_REPORT_UNREADABLE,
            f"{path} cannot be read: {error.strerror or error}",
            expected="the folder that `fleetctl build` wrote",
            todo="give the folder named with -O when the release was built",
        ) from error


def _variant(manifest: Manifest, request: ExplainRequest) -> Variant:
    found = manifest.variant(request.variant)
    if found is not None:
        return found
    names = [item.name for item in manifest.variants]
    nearest = difflib.get_close_matches(request.variant, names, n=1)
    refusal = next((item for item in manifest.refusals if item.variant == request.variant), None)
    if refusal is not None:
        happened = f"{request.variant} was refused, so its files were not kept: {refusal.reason}"
        todo = (
            "build it again with a budget that lets it through (--max-drop 100pt), and explain that release"
        )
    else:
        happened = f"{manifest.reference()} has no variant {request.variant!r}"
        todo = f"did you mean {nearest[0]}?" if nearest else "name one of them"
    raise CallerError(
        Code.EXPLAIN_VARIANT, happened, expected=f"one of {', '.join(names) or 'none'}", todo=todo
    )


def _model(manifest: Manifest, request: ExplainRequest) -> Path:
    """The model's file; it must be the very one that the release was built from."""
    wanted = manifest.lineage.source_sha256
    path, todo = request.model, "give the model that the release was built from"
    if path is None:
        todo = f"give it with --model {manifest.lineage.source_name}"
        try:
            noted = read_report(request.folder).model
        except ModelfleetError:
            noted = ""
        if not noted:
            raise _no_parent("the build report does not say where the model lay", wanted, todo)
        path = Path(noted)
    try:
        found = file_digest(path)
    except OSError as error:
        raise _no_parent(f"{path} cannot be read: {error.strerror or error}", wanted, todo) from error
    if wanted not in (found, _with_its_data(path)):
        raise _no_parent(
            f"{path} is not the model of {manifest.reference()}: its digest is {found[:16]}", wanted, todo
        )
    return path


def _with_its_data(path: Path) -> str:
    """Digest of the model with the data that it keeps beside it; empty where it is no model."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return take_in(path, Path(folder) / "model.onnx").model_sha256
        except ModelfleetError:
            return ""


def _no_parent(happened: str, wanted: str, todo: str) -> CallerError:
    return CallerError(
        Code.EXPLAIN_PARENT, happened, expected=f"the ONNX file with the digest {wanted[:16]}", todo=todo
    )


def _readable(place: Path, variant: Variant) -> str:
    """The file whose layers can be seen: the entry, or what it was compiled from if that lies beside it."""
    entry = place / variant.entry
    if entry.suffix != ".tflite" or not _compiled(entry):
        return variant.entry
    for item in variant.files:
        if item.path.endswith(".tflite") and item.path != variant.entry and not _compiled(place / item.path):
            return item.path
    raise opaque(entry, "it was compiled for the accelerator, which hides its operators")


def _compiled(path: Path) -> bool:
    try:
        file = read_tflite(path.read_bytes())
    except (OSError, NotTflite) as error:
        raise opaque(path, str(error)) from error
    return any(operator.custom == NPU_OPERATOR for operator in file.operators)


def _inputs(request: ExplainRequest, place: Path, shape: tuple[int, ...]) -> FloatArray:
    if request.inputs is None:
        return golden.read(place / GOLDEN_NAME).inputs[: request.samples]
    path = request.inputs
    try:
        arrays = read_npz(path, names=("images", "inputs"), limit=_MAX_INPUT_BYTES)
    except (NpzError, OSError) as error:
        raise _unusable(Code.DATASET_UNREADABLE, path, f"cannot be read: {error}", "an .npz file") from error
    values = arrays.get("images", arrays.get("inputs"))
    if values is None or values.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)) or not len(values):
        raise _unusable(
            Code.DATASET_UNREADABLE, path, "holds no samples", "images as uint8 or float32, at least one"
        )
    if len(shape) == 4 and shape[1] == 1 and values.ndim == 3:
        values = values[:, None]
    if values.shape[1:] != shape[1:]:
        raise _unusable(
            Code.DATASET_SHAPE, path, f"holds samples of {list(values.shape[1:])}", f"{list(shape[1:])}"
        )
    scale = BYTE_SCALE if values.dtype == np.uint8 else 1.0
    samples = golden.scaled(values[: request.samples], scale)
    if not np.isfinite(samples).all():
        raise _unusable(Code.DATASET_NOT_FINITE, path, "holds NaN or infinite values", "finite values")
    return samples


def _unusable(code: Code, path: Path, what: str, expected: str) -> CallerError:
    return CallerError(code, f"{path} {what}", expected=expected, todo="correct --inputs")
