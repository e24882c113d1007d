"""Takes a model in: is it a complete, valid ONNX file that this version can build? Runs in a child process.

Nothing of a refused file is used. External data is read only from inside the model's folder and put into the
single file that the rest of the build works on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, shape_inference

from modelfleet_build.facts import ModelFacts
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, Layout, LogicalTensor

MAX_MODEL_BYTES = 1024 * 1024 * 1024
OPSETS = range(9, 24)
# Field 1 of ModelProto, ir_version, as every exporter writes it first: tag 0x08 and a small number.
_FIRST_TAG = 0x08
_MAX_IR_VERSION = 32


def take_in(source: Path, target: Path) -> ModelFacts:
    """Check the model at `source` and write it as one file to `target`.

    Raises:
        CallerError: MF-1401 to MF-1407, see `docs/reference/errors.md`.
    """
    raw = _read(source)
    model = _parsed(raw, source)
    opset = _opset(model)
    tensors = list(_external_tensors(model.graph))
    data = raw
    if tensors:
        _check_external(tensors, source)
        _load_external(model, source)
        data = model.SerializeToString()
    _check_valid(model, source)
    inputs, outputs, fixed = _signature(model)
    target.write_bytes(data)
    operators = Counter(node.op_type for node in model.graph.node)
    return ModelFacts(
        source_sha256=hashlib.sha256(raw).hexdigest(),
        model_sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        opset=opset,
        fixed_batch=fixed,
        inputs=inputs,
        outputs=outputs,
        operators=dict(sorted(operators.items())),
    )


def _read(source: Path) -> bytes:
    if not source.is_file():
        raise CallerError(
            Code.MODEL_NOT_ONNX,
            f"{source} is no file" if source.exists() else f"there is no file {source}",
            expected="an ONNX model",
            todo="check the path",
        )
    size = source.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise CallerError(
            Code.MODEL_TOO_LARGE,
            f"{source.name} has {size} bytes",
            expected=f"at most {MAX_MODEL_BYTES} bytes",
            todo="export a smaller model; edge devices could not load this one",
        )
    return source.read_bytes()


def _parsed(raw: bytes, source: Path) -> onnx.ModelProto:
    begins_like_onnx = len(raw) >= 2 and raw[0] == _FIRST_TAG and 0 < raw[1] <= _MAX_IR_VERSION
    if not begins_like_onnx:
        raise CallerError(
            Code.MODEL_NOT_ONNX,
            f"{source.name} is not an ONNX file" if raw else f"{source.name} is empty",
            expected="an ONNX model (a protobuf that begins with its IR version)",
            todo="export the model with torch.onnx.export or your framework's ONNX exporter",
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except DecodeError as error:
        raise _truncated(source, "it ends in the middle of a field, or bytes in it changed") from error
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise _truncated(source, "its graph or its operator set is missing")
    return model


def _truncated(source: Path, what: str) -> CallerError:
    return CallerError(
        Code.MODEL_TRUNCATED,
        f"{source.name} begins like an ONNX model, but {what}",
        expected="the complete file as the exporter wrote it",
        todo="copy or export it again and compare the sizes",
    )


def _opset(model: onnx.ModelProto) -> int:
    versions = [int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not versions or versions[0] not in OPSETS:
        found = str(versions[0]) if versions else "none"
        raise CallerError(
            Code.MODEL_OPSET,
            f"the model uses the ONNX operator set {found}",
            expected=f"{OPSETS.start} to {OPSETS.stop - 1}",
            todo="export it with opset_version=17",
        )
    return versions[0]


def _external_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor with external data, those in attributes and subgraphs included."""
    for tensor in graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            yield tensor
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in [attribute.t, *attribute.tensors]:
                if external_data_helper.uses_external_data(tensor):
                    yield tensor
            for subgraph in [attribute.g, *attribute.graphs]:
                yield from _external_tensors(subgraph)


def _check_external(tensors: list[onnx.TensorProto], source: Path) -> None:
    folder = source.parent.resolve()
    files: dict[Path, int] = {}
    for tensor in tensors:
        location = next((item.value for item in tensor.external_data if item.key == "location"), "")
        path = (folder / location).resolve()
        if not location or "\\" in location or not path.is_relative_to(folder):
            raise CallerError(
                Code.MODEL_EXTERNAL_DATA,
                f"the tensor {tensor.name!r} wants its data from {location!r}, outside the model's folder",
                expected="external data beside the model",
                todo="do not use this file, or save it anew with its data inside",
            )
        if not path.is_file():
            raise CallerError(
                Code.MODEL_EXTERNAL_DATA,
                f"the data file {location!r} of the tensor {tensor.name!r} is missing",
                expected=f"it in {folder}",
                todo="copy it beside the model, or save the model with its data inside",
            )
        files[path] = path.stat().st_size
    total = sum(files.values())
    if total > MAX_MODEL_BYTES:
        raise CallerError(
            Code.MODEL_TOO_LARGE,
            f"the model's data files have {total} bytes",
            expected=f"at most {MAX_MODEL_BYTES} bytes",
            todo="export a smaller model; edge devices could not load this one",
        )


def _load_external(model: onnx.ModelProto, source: Path) -> None:
    try:
        external_data_helper.load_external_data_for_model(model, str(source.parent.resolve()))
    except (ValueError, onnx.checker.ValidationError) as error:
        raise CallerError(
            Code.MODEL_EXTERNAL_DATA,
            f"the external data of {source.name} cannot be taken in: {str(error).strip()[:300]}",
            expected="data files as long as the model says",
            todo="export the model again, or copy its data files anew",
        ) from error


def _check_valid(model: onnx.ModelProto, source: Path) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        raise CallerError(
            Code.MODEL_INVALID,
            f"{source.name} is not a valid model: {str(error).strip()[:300]}",
            expected="a model that onnx.checker accepts",
            todo="export it again with a newer exporter",
        ) from error


def _signature(
    model: onnx.ModelProto,
) -> tuple[tuple[LogicalTensor, ...], tuple[LogicalTensor, ...], bool]:
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    constants = {item.name for item in model.graph.initializer}
    shapes = {item.name: item for item in [*inferred.input, *inferred.output, *inferred.value_info]}
    given = [item.name for item in model.graph.input if item.name not in constants]
    if len(given) != 1:
        raise _signature_refused(f"the model has the inputs {given}", "exactly one image input")
    inputs = [_tensor(shapes[name], "input") for name in given]
    outputs = [_tensor(shapes[item.name], "output") for item in model.graph.output]
    return (inputs[0][0],), tuple(tensor for tensor, _ in outputs), inputs[0][1]


def _tensor(value: onnx.ValueInfoProto, side: str) -> tuple[LogicalTensor, bool]:
    """The logical tensor, and whether its batch dimension is fixed to 1."""
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise _signature_refused(f"the {side} {value.name!r} is {kind}", "float32")
    sizes = [int(item.dim_value) if item.HasField("dim_value") else BATCH for item in tensor.shape.dim]
    if len(sizes) < 2 or any(size < 1 for size in sizes[1:]):
        spelled = ["?" if size < 1 else size for size in sizes]
        raise _signature_refused(
            f"the {side} {value.name!r} has shape {spelled}",
            "a batch dimension first and fixed sizes after it",
        )
    if sizes[0] not in (BATCH, 1):
        raise _signature_refused(
            f"the {side} {value.name!r} is fixed to {sizes[0]} samples",
            "a batch dimension of 1 or a free one",
        )
    layout = Layout.NCHW if len(sizes) == 4 else Layout.ANY
    return LogicalTensor(value.name, (BATCH, *sizes[1:]), layout), sizes[0] == 1


def _signature_refused(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.MODEL_SIGNATURE,
        happened,
        expected=expected,
        todo="export the model with static image sizes and float32 inputs and outputs",
    )
