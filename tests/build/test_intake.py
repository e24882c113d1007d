"""Models at the door: what is not a complete, valid, buildable ONNX file is refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper

from modelfleet_build.intake import take_in
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, Layout

from .conftest import DIGITS
from .graphs import classifier, model, node, weights


def refused(source: Path, code: Code) -> CallerError:
    target = source.parent / "taken.onnx"
    with pytest.raises(CallerError) as caught:
        take_in(source, target)
    assert caught.value.code is code
    assert not target.exists()
    return caught.value


def test_a_good_model_is_taken_as_it_is(tmp_path: Path) -> None:
    source = DIGITS / "digits-1.1.onnx"
    facts = take_in(source, tmp_path / "taken.onnx")
    assert (tmp_path / "taken.onnx").read_bytes() == source.read_bytes()
    assert facts.source_sha256 == facts.model_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert facts.opset == 17
    assert not facts.fixed_batch
    assert facts.operators["Conv"] == 13
    image, logits = facts.inputs[0], facts.outputs[0]
    assert (image.name, image.shape, image.layout) == ("image", (BATCH, 1, 32, 32), Layout.NCHW)
    assert (logits.name, logits.shape, logits.layout) == ("logits", (BATCH, 10), Layout.ANY)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 a zip file", b"\x89PNG\r\n" * 10])
def test_not_an_onnx_file(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(content)
    error = refused(source, Code.MODEL_NOT_ONNX)
    assert "model.onnx" in error.happened


def test_no_file_at_all(tmp_path: Path) -> None:
    refused(tmp_path / "absent.onnx", Code.MODEL_NOT_ONNX)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.99999])
def test_truncated(tmp_path: Path, share: float) -> None:
    whole = (DIGITS / "digits-1.1.onnx").read_bytes()
    source = tmp_path / "model.onnx"
    source.write_bytes(whole[: max(2, int(len(whole) * share))])
    refused(source, Code.MODEL_TRUNCATED)


def test_cut_between_two_fields(tmp_path: Path) -> None:
    whole = classifier()
    whole.ClearField("opset_import")
    source = tmp_path / "model.onnx"
    source.write_bytes(whole.SerializeToString())
    refused(source, Code.MODEL_TRUNCATED)


def _external(folder: Path, location: str) -> Path:
    """A model whose tensor `w` says that its data is at `location`."""
    made = classifier()
    tensor = next(item for item in made.graph.initializer if item.name == "w")
    data = tensor.raw_data
    external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    (folder / "weights.bin").write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin", "..\\weights.bin", ""]
)
def test_external_data_that_leaves_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    source = _external(folder, location)
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    error = refused(source, Code.MODEL_EXTERNAL_DATA)
    assert "'w'" in error.happened


def test_external_data_through_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    source = _external(folder, "weights.bin")
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
    refused(source, Code.MODEL_EXTERNAL_DATA)


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    source = _external(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").unlink()
    refused(source, Code.MODEL_EXTERNAL_DATA)


def test_external_data_that_is_too_short(tmp_path: Path) -> None:
    source = _external(tmp_path, "weights.bin")
    made = onnx.load(source, load_external_data=False)
    tensor = next(item for item in made.graph.initializer if item.name == "w")
    tensor.external_data.add(key="length", value=str(10**9))
    source.write_bytes(made.SerializeToString())
    assert "exceeds available data" in refused(source, Code.MODEL_EXTERNAL_DATA).happened


def test_a_folder_is_not_called_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path, Code.MODEL_NOT_ONNX).happened == f"{tmp_path} is no file"
    assert "there is no file" in refused(tmp_path / "none.onnx", Code.MODEL_NOT_ONNX).happened


def test_external_data_inside_the_folder_is_taken_into_one_file(tmp_path: Path) -> None:
    source = _external(tmp_path, "weights.bin")
    target = tmp_path / "taken.onnx"
    facts = take_in(source, target)
    (tmp_path / "weights.bin").unlink()
    taken = onnx.load(target, load_external_data=False)
    tensor = next(item for item in taken.graph.initializer if item.name == "w")
    assert tensor.data_location == TensorProto.DEFAULT
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), weights(6, 1, 3, 3))
    assert facts.model_sha256 != facts.source_sha256


@pytest.mark.parametrize("opset", [7, 99])
def test_operator_sets_that_are_too_old_or_too_new(tmp_path: Path, opset: int) -> None:
    made = classifier()
    made.opset_import[0].version = opset
    source = tmp_path / "model.onnx"
    source.write_bytes(made.SerializeToString())
    assert str(opset) in refused(source, Code.MODEL_OPSET).happened


def test_a_graph_that_reads_what_nobody_writes(tmp_path: Path) -> None:
    made = classifier()
    made.graph.node[1].input[0] = "nobody"
    source = tmp_path / "model.onnx"
    source.write_bytes(made.SerializeToString())
    refused(source, Code.MODEL_INVALID)


def test_signatures_that_cannot_be_served(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    two = classifier()
    extra = onnx.helper.make_tensor_value_info("extra", TensorProto.FLOAT, ["N", 4])
    two.graph.input.append(extra)
    dynamic = model([node("Relu", ["x"])], ["N", 1, "H", 8])
    batch = model([node("Relu", ["x"])], [8, 1, 8, 8])
    integer = model([node("Cast", ["x"], to=1)], ["N", 1, 8, 8], dtype=TensorProto.INT64)
    for made, words in ((two, "extra"), (dynamic, "?"), (batch, "8 samples"), (integer, "INT64")):
        source.write_bytes(made.SerializeToString())
        assert words in refused(source, Code.MODEL_SIGNATURE).happened


def test_a_fixed_batch_of_one_is_told(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(model([node("Flatten", ["x"])], [1, 1, 8, 8]), source)
    facts = take_in(source, tmp_path / "taken.onnx")
    assert facts.fixed_batch
    assert facts.inputs[0].shape == (BATCH, 1, 8, 8)
