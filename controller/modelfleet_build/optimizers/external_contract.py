"""The files between the builder and an external builder's command, and every check of what the command
leaves.

Version 1 of the contract: fields may be added to a job and may be left out of a result; anything else is a
new version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_build.port import ConversionTask, Converted, Recipe, StandIn
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.ids import is_file_name
from modelfleet_core.release.contract import (
    BATCH,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)
from modelfleet_core.release.manifest import (
    CONTRACT_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    MAX_FILES,
    AcceleratorUse,
)
from modelfleet_core.wire import codec

SCHEMA = 1
_OURS = (CONTRACT_NAME, GOLDEN_NAME, MANIFEST_NAME)
_MAX_RESULT_BYTES = 1024 * 1024
_MAX_NOTES, _MAX_NOTE = 50, 1000
_TO_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class ExternalJob:
    """`job.json`. Paths are absolute.

    Attributes:
        model: Single-file ONNX model.
        inputs, outputs: Its logical tensors.
        recipe: What to make.
        calibration: `.npz` with `inputs`, float32 [n, ...] logical values; null where the recipe needs none.
        companion: The model in another form, null without.
        options: Of the device class.
        output: Empty folder for the files of the variant.
        beside: Empty folder for files that are measured and not shipped.
        result: Where `result.json` has to be written, last.
    """

    model: str
    inputs: tuple[LogicalTensor, ...]
    outputs: tuple[LogicalTensor, ...]
    recipe: Recipe
    calibration: str | None
    companion: str | None
    options: dict[str, str]
    output: str
    beside: str
    result: str
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class ExternalStandIn:
    """What is measured instead, see `port.StandIn`; tensors like those of the result."""

    runtime: str
    entry: str
    inputs: tuple[PhysicalTensor, ...]
    outputs: tuple[PhysicalTensor, ...]
    why: str
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """`result.json`.

    Attributes:
        schema: 1.
        refused: Why this model cannot be converted; nothing else is read then.
        entry: File in `output` that the device's runtime opens.
        inputs, outputs: How the entry stores the logical tensors, one for each, in their order.
        notes: Plain sentences for the report.
        tools: Tool -> version, for the report.
        arena_bytes: Working memory on the device.
        accelerator: What the compiler says of its own work.
        stand_in: Where the entry cannot run on a builder.
    """

    schema: int
    refused: str = ""
    entry: str = ""
    inputs: tuple[PhysicalTensor, ...] = ()
    outputs: tuple[PhysicalTensor, ...] = ()
    notes: tuple[str, ...] = ()
    tools: dict[str, str] = field(default_factory=dict)
    arena_bytes: int | None = None
    accelerator: AcceleratorUse | None = None
    stand_in: ExternalStandIn | None = None


def read_result(builder: str, path: Path, task: ConversionTask) -> Converted:
    """What a command left, checked.

    Raises:
        CallerError: MF-1431, the command refused the model.
        WorldError: MF-1476, the result breaks the contract.
    """
    try:
        result = _decoded(path)
        if result.refused:
            raise CallerError(
                Code.OPERATOR_UNSUPPORTED,
                f"{builder} cannot convert the model: {result.refused[:_MAX_NOTE]}",
                expected="a model that it knows",
                todo="leave this class out, or change the model",
            )
        _check_files(task.folder, result.entry, "output")
        contract = _bound(task, result.inputs, result.outputs, "the entry")
        _check_words(result)
        _check_numbers(result)
        stand_in = _stand_in(task, result.stand_in)
    except ValueError as error:
        raise WorldError(
            Code.EXTERNAL_RESULT,
            f"the result of the external builder {builder} breaks its contract: {error}",
            expected="a result.json as docs/guides/isolated-builders.md says",
            todo="report it to whoever made that builder, or leave the class out",
        ) from error
    tools = [f"made with {name} {version}" for name, version in sorted(result.tools.items())]
    return Converted(
        entry=result.entry,
        contract=contract,
        notes=(*result.notes, *tools),
        stand_in=stand_in,
        arena_bytes=result.arena_bytes,
        accelerator=result.accelerator,
    )


def _decoded(path: Path) -> ExternalResult:
    if path.is_symlink() or not path.is_file():
        raise ValueError("there is no result.json")
    if path.stat().st_size > _MAX_RESULT_BYTES:
        raise ValueError(f"result.json has {path.stat().st_size} bytes, more than {_MAX_RESULT_BYTES}")
    try:
        result = codec.decode(path.read_bytes(), ExternalResult, what="result.json", limit=_MAX_RESULT_BYTES)
    except CallerError as error:
        raise ValueError(error.happened) from error
    if result.schema != SCHEMA:
        raise ValueError(f"its schema is {result.schema}, not {SCHEMA}")
    return result


def _check_files(folder: Path, entry: str, what: str) -> None:
    """Plain files with plain names that do not collide with ours, and the entry among them."""
    paths = sorted(folder.iterdir())
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path.name!r} in `{what}` is not a plain file")
        if not is_file_name(path.name) or path.name in _OURS:
            raise ValueError(f"a file in `{what}` may not be called {path.name!r}")
        if not 0 < path.stat().st_size <= MAX_FILE_BYTES:
            raise ValueError(f"{path.name!r} has {path.stat().st_size} bytes")
    if len(paths) + len(_OURS) > MAX_FILES:
        raise ValueError(f"there are {len(paths)} files in `{what}`, more than {MAX_FILES - len(_OURS)}")
    if entry not in {path.name for path in paths}:
        raise ValueError(f"the entry {entry!r} is not in `{what}`")


def _bound(
    task: ConversionTask, inputs: tuple[PhysicalTensor, ...], outputs: tuple[PhysicalTensor, ...], what: str
) -> InputContract:
    sides: list[tuple[TensorBinding, ...]] = []
    for side, logical, physical in (
        ("inputs", task.facts.inputs, inputs),
        ("outputs", task.facts.outputs, outputs),
    ):
        if len(logical) != len(physical):
            raise ValueError(f"{what} has {len(physical)} {side}, the model {len(logical)}")
        if len({item.name for item in physical}) != len(physical) or not all(item.name for item in physical):
            raise ValueError(f"names of the {side} of {what} are empty or repeat")
        for one, other in zip(logical, physical, strict=True):
            _check_tensor(one, other)
        sides.append(tuple(map(TensorBinding, logical, physical)))
    return InputContract(sides[0], sides[1])


def _check_tensor(logical: LogicalTensor, physical: PhysicalTensor) -> None:
    shape = logical.shape
    if physical.layout is Layout.NHWC and logical.layout is Layout.NCHW:
        shape = tuple(shape[axis] for axis in _TO_NHWC)
    elif physical.layout is not logical.layout:
        raise ValueError(
            f"the tensor {physical.name!r} has the layout {physical.layout.value}, "
            f"the model's {logical.name!r} has {logical.layout.value}"
        )
    if physical.shape not in ((1, *shape[1:]), (BATCH, *shape[1:])):
        raise ValueError(
            f"the tensor {physical.name!r} has shape {list(physical.shape)}, which does not hold the model's "
            f"{logical.name!r}: {['n', *shape[1:]]}"
        )
    if physical.scale is not None and not (math.isfinite(physical.scale) and physical.scale > 0):
        raise ValueError(f"the tensor {physical.name!r} has the scale {physical.scale}")


def _check_words(result: ExternalResult) -> None:
    words = [*result.notes, *result.tools, *result.tools.values()]
    if len(words) > _MAX_NOTES or any(not word or len(word) > _MAX_NOTE for word in words):
        raise ValueError(f"notes and tools are empty, more than {_MAX_NOTES} or longer than {_MAX_NOTE}")


def _check_numbers(result: ExternalResult) -> None:
    if result.arena_bytes is not None and result.arena_bytes <= 0:
        raise ValueError(f"arena_bytes is {result.arena_bytes}")
    use = result.accelerator
    if use is None:
        return
    for name, part, whole in (
        ("operators", use.operators_on, use.operators),
        ("macs", use.macs_on or 0, use.macs if use.macs is not None else 0),
    ):
        if not 0 <= part <= whole:
            raise ValueError(f"the accelerator runs {part} of {whole} {name}")
    others = (use.cycles, use.sram_bytes, use.flash_bytes, use.inference_us)
    if any(item is not None and not (item >= 0 and math.isfinite(item)) for item in others):
        raise ValueError("a number of the accelerator is negative or not finite")


def _stand_in(task: ConversionTask, given: ExternalStandIn | None) -> StandIn | None:
    if given is None:
        return None
    if not given.why or len(given.why) > _MAX_NOTE:
        raise ValueError("the stand-in does not say why it speaks for the variant")
    folder, what = (task.folder, "output") if given.shipped else (task.beside, "beside")
    _check_files(folder, given.entry, what)
    contract = _bound(task, given.inputs, given.outputs, "the stand-in")
    return StandIn(given.runtime, given.entry, contract, given.why, given.shipped)
