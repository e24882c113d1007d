"""Open Inference Protocol v2: JSON and binary tensors in, JSON and binary tensors out, nonsense refused."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_agent.control.tensors import TensorHead
from modelfleet_agent.serve.http import oip
from modelfleet_agent.serve.request import Served
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import DType

VALUES = (0.5, -1.25, 3.0, 4.0)
RAW = struct.pack("<4f", *VALUES)
SERVED = Served("a" * 64, "v", (TensorHead("logits", (1, 4)),), memoryview(RAW), 1000)


def request(**fields: object) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", **fields}]}).encode()


def refused(body: bytes, header: str | None = None) -> str:
    with pytest.raises(CallerError) as caught:
        oip.parse(memoryview(body), header)
    return str(caught.value)


@pytest.mark.parametrize("data", [list(VALUES), [list(VALUES)], [[[0.5], [-1.25]], [[3], [4]]]])
def test_data_in_json_flat_or_nested(data: object) -> None:
    wanted = oip.parse(memoryview(request(data=data)), None)
    assert wanted.inputs == (TensorHead("x", (1, 4)),)
    assert bytes(wanted.body) == RAW
    assert wanted.timeout_s is None
    assert not wanted.binary


def test_data_as_binary_tensors() -> None:
    head = json.dumps(
        {
            "id": "seven",
            "parameters": {"binary_data_output": True, "timeout": 250_000},
            "inputs": [
                {
                    "name": "x",
                    "shape": [1, 2],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 8},
                },
                {"name": "y", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            ],
            "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
        }
    ).encode()
    wanted = oip.parse(memoryview(head + RAW), str(len(head)))
    assert [item.name for item in wanted.inputs] == ["x", "y"]
    assert bytes(wanted.body) == RAW
    assert (wanted.request_id, wanted.binary, wanted.timeout_s) == ("seven", True, 0.25)
    assert wanted.outputs == {"logits": False}


def test_binary_and_json_inputs_together_keep_their_order() -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "a", "shape": [1], "datatype": "FP32", "data": [9.0]},
                {"name": "b", "shape": [4], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
            ]
        }
    ).encode()
    wanted = oip.parse(memoryview(head + RAW), str(len(head)))
    assert bytes(wanted.body) == struct.pack("<f", 9.0) + RAW


def test_integers_keep_their_type() -> None:
    wanted = oip.parse(memoryview(request(datatype="INT64", data=[1, 2, 3, -4])), None)
    assert wanted.inputs[0].dtype is DType.INT64
    assert struct.unpack("<4q", wanted.body) == (1, 2, 3, -4)


def test_answers_in_json() -> None:
    wanted = oip.parse(memoryview(request(data=list(VALUES))), None)
    parts, head = oip.respond(wanted, SERVED, "digits", "1.1")
    assert head is None
    answer = json.loads(b"".join(map(bytes, parts)))
    assert answer == {
        "model_name": "digits",
        "model_version": "1.1",
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [1, 4], "data": list(VALUES)}],
    }


def test_answers_in_binary() -> None:
    body = json.loads(request(data=list(VALUES))) | {"id": "x", "parameters": {"binary_data_output": True}}
    wanted = oip.parse(memoryview(json.dumps(body).encode()), None)
    parts, head = oip.respond(wanted, SERVED, "digits", "1.1")
    whole = b"".join(map(bytes, parts))
    assert head is not None
    answer = json.loads(whole[:head])
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert answer["id"] == "x"
    assert whole[head:] == RAW


def test_an_output_that_is_not_there_is_refused() -> None:
    body = json.loads(request(data=list(VALUES))) | {"outputs": [{"name": "boxes"}]}
    wanted = oip.parse(memoryview(json.dumps(body).encode()), None)
    with pytest.raises(CallerError, match="no output 'boxes'"):
        oip.respond(wanted, SERVED, "digits", "1.1")


@pytest.mark.parametrize(
    ("body", "header", "says"),
    [
        (b"", None, "cannot be read"),
        (b"[]", None, "cannot be read"),
        (b"{", None, "cannot be read"),
        (b"[" * 100_000, None, "cannot be read"),
        (request(data=[1, 2, 3]), None, "MF-4036"),
        (request(data=["1", "2", "3", "4"]), None, "str"),
        (request(data=[True, 1, 2, 3]), None, "bool"),
        (request(datatype="BYTES", data=[1]), None, "BYTES"),
        (request(datatype="FP16", data=[1]), None, "FP16"),
        (request(datatype="INT8", data=[1, 2, 3, 400]), None, "data of the input"),
        (request(), None, "data of the input"),
        (request(parameters={"binary_data_size": 16}), None, "binary_data_size"),
        (request(parameters={"binary_data_size": True}), None, "binary_data_size"),
        (request(parameters={"shared_memory_region": "r"}), None, "shared memory"),
        (request(data=[1, 2, 3, 4]), "-1", "inference-header"),
        (request(data=[1, 2, 3, 4]), "99999", "inference-header"),
        (request(data=[1, 2, 3, 4]), "12x", "inference-header"),
        (request(data=[1, 2, 3, 4]), "0" * 5000, "inference-header"),
        (request(data=[1, 2, 3, 4]), "0" * 12 + "9" * 9, "inference-header"),
        (request(data=[1, 2, 3, 4], shape=[1 << 40, 4]), None, "MF-4036"),
        (request(data=[1, 2, 3, 4], shape=[]), None, "MF-4036"),
        (request(data=[1, 2, 3, 4]) + b"   x", str(len(request(data=[1, 2, 3, 4]))), "bytes follow"),
    ],
)
def test_nonsense_is_refused_with_a_reason(body: bytes, header: str | None, says: str) -> None:
    assert says in refused(body, header)


@given(st.binary(max_size=300), st.one_of(st.none(), st.integers(-5, 400).map(str)))
def test_no_bytes_raise_anything_else(body: bytes, header: str | None) -> None:
    with pytest.raises(CallerError):
        oip.parse(memoryview(body), header)
