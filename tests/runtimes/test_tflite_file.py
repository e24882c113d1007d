"""The reader of TFLite files, against the schema's own Python code, and on damaged files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfleet_build.tflite import convert
from modelfleet_runtimes.tflite_file import CUSTOM, NotTflite, read_tflite

from .variants import MODEL
from tests.build.edge import SOURCES, converted, materials

WHOLE = convert(onnx.load(MODEL)).data


def oracle(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(bytearray(data), 0)


def compare(data: bytes) -> None:
    model, file = oracle(data), read_tflite(data)
    (graph,) = model.subgraphs
    assert len(file.tensors) == len(graph.tensors)
    for mine, theirs in zip(file.tensors, graph.tensors, strict=True):
        given_scales = theirs.quantization.scale if theirs.quantization is not None else None
        given_zeros = theirs.quantization.zeroPoint if theirs.quantization is not None else None
        assert mine.name == theirs.name.decode()
        assert mine.kind == theirs.type
        assert list(mine.shape) == ([] if theirs.shape is None else list(theirs.shape))
        assert mine.scales == (() if given_scales is None else tuple(float(x) for x in given_scales))
        assert mine.zero_points == (() if given_zeros is None else tuple(int(x) for x in given_zeros))
        content = model.buffers[theirs.buffer].data
        assert mine.constant == (theirs.buffer != 0 and content is not None and len(content) > 0)
    assert len(file.operators) == len(graph.operators)
    for mine_op, theirs_op in zip(file.operators, graph.operators, strict=True):
        code = model.operatorCodes[theirs_op.opcodeIndex]
        assert (mine_op.code, mine_op.version) == (code.builtinCode, code.version)
        assert list(mine_op.inputs) == list(theirs_op.inputs)
        assert list(mine_op.outputs) == list(theirs_op.outputs)
    (signature,) = model.signatureDefs
    for entries, indices, names in (
        (signature.inputs, file.inputs, file.input_names),
        (signature.outputs, file.outputs, file.output_names),
    ):
        assert {entry.tensorIndex: entry.name.decode() for entry in entries} == dict(
            zip(indices, names, strict=True)
        )


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_it_reads_what_the_schema_reads(tmp_path: Path) -> None:
    from modelfleet_build.optimizers.litert import plugin

    for material in materials(tmp_path, tuple(SOURCES)):
        for recipe in ("fp32", "int8"):
            folder = tmp_path / f"{material.name}-{recipe}"
            converted(plugin, recipe, material, folder)
            compare((folder / "model.tflite").read_bytes())


def test_operators_with_large_codes_and_custom_ones_are_told_apart() -> None:
    model = oracle(WHOLE)
    model.operatorCodes[0].builtinCode = 150
    model.operatorCodes[0].deprecatedBuiltinCode = 127
    model.operatorCodes[0].version = 3
    model.operatorCodes[1].builtinCode = CUSTOM
    model.operatorCodes[1].deprecatedBuiltinCode = CUSTOM
    model.operatorCodes[1].customCode = "ethos-u"
    file = read_tflite(packed(model))
    kinds = {(operator.code, operator.version, operator.custom) for operator in file.operators}
    assert (150, 3, "") in kinds
    assert any(code == CUSTOM and custom == "ethos-u" for code, _, custom in kinds)


def packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_file_of_two_graphs_or_two_signatures_is_refused() -> None:
    model = oracle(WHOLE)
    model.subgraphs.append(model.subgraphs[0])
    with pytest.raises(NotTflite, match="2 subgraphs"):
        read_tflite(packed(model))
    model = oracle(WHOLE)
    model.signatureDefs.append(model.signatureDefs[0])
    with pytest.raises(NotTflite, match="2 signatures"):
        read_tflite(packed(model))


def test_indices_of_tensors_that_are_not_there_are_refused() -> None:
    for change in ("inputs", "outputs"):
        model = oracle(WHOLE)
        setattr(model.subgraphs[0].operators[3], change, np.asarray([5000], np.int32))
        with pytest.raises(NotTflite, match="does not have"):
            read_tflite(packed(model))


def test_a_signature_that_names_other_tensors_is_refused() -> None:
    model = oracle(WHOLE)
    model.signatureDefs[0].outputs[0].tensorIndex = 1
    with pytest.raises(NotTflite, match="signature"):
        read_tflite(packed(model))


def test_a_constant_behind_the_flatbuffer_must_be_there() -> None:
    model = oracle(WHOLE)
    model.buffers[3].offset, model.buffers[3].size = 1 << 40, 16
    with pytest.raises(NotTflite, match="outside"):
        read_tflite(packed(model))


def test_shapes_below_zero_are_refused() -> None:
    model = oracle(WHOLE)
    model.subgraphs[0].tensors[2].shape = [1, -1, 8]
    with pytest.raises(NotTflite, match=r"shape \[1, -1, 8\]"):
        read_tflite(packed(model))


def test_a_list_that_every_tensor_shares_does_not_unfold() -> None:
    """60 kB that would become five million scales."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 17)
    scales = builder.CreateNumpyVector(np.ones(10_000, np.float32))
    schema.QuantizationParametersStart(builder)
    schema.QuantizationParametersAddScale(builder, scales)
    quantization = schema.QuantizationParametersEnd(builder)
    schema.TensorStart(builder)
    schema.TensorAddQuantization(builder, quantization)
    tensor = schema.TensorEnd(builder)
    tensors = offsets(builder, [tensor] * 500)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graphs = offsets(builder, [schema.SubGraphEnd(builder)])
    schema.BufferStart(builder)
    buffers = offsets(builder, [schema.BufferEnd(builder)])
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    data = bytes(builder.Output())
    assert len(data) < 60_000
    with pytest.raises(NotTflite, match="unfold"):
        read_tflite(data)


def offsets(builder: Any, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


@pytest.mark.parametrize("part", ["constant", "name"])
def test_lists_that_are_longer_than_the_file_are_refused(part: str) -> None:
    root: Any = schema.Model.GetRootAs(WHOLE, 0)
    table, slot = (root.Buffers(3)._tab, 4) if part == "constant" else (root.Subgraphs(0).Tensors(3)._tab, 10)
    start = table.Vector(table.Offset(slot))
    data = bytearray(WHOLE)
    struct.pack_into("<I", data, start - 4, len(WHOLE) - start + 1)
    with pytest.raises(NotTflite, match="longer than the file"):
        read_tflite(bytes(data))
    struct.pack_into("<I", data, start - 4, 4)
    read_tflite(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0\0\0\0TFL", b"\0\0\0\0TFL2" * 20, b"not a model at all" * 9]
)
def test_what_is_no_flatbuffer_is_refused(data: bytes) -> None:
    with pytest.raises(NotTflite):
        read_tflite(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_lacks_its_end_is_refused(length: int) -> None:
    with pytest.raises(NotTflite):
        read_tflite(WHOLE[:length])


# The builder writes the tables last, so they come first in the file.
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 2**32 - 1)), min_size=1, max_size=6))
def test_damage_is_refused_or_read_and_nothing_else(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        struct.pack_into("<I", data, 4 * place, value)
    try:
        file = read_tflite(bytes(data))
    except NotTflite:
        return
    count = len(file.tensors)
    for operator in file.operators:
        assert all(-1 <= index < count for index in (*operator.inputs, *operator.outputs))
