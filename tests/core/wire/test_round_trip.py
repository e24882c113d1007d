from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.wire import codec
from modelfleet_core.wire.checkin import Checkin
from modelfleet_core.wire.enroll import EnrollRequest, TimeStatement
from modelfleet_core.wire.operator import Operation, Verb

from tests.core.wire.strategies import values, wire_types

TYPES = wire_types()


def test_all_types_are_found() -> None:
    names = {t.__name__ for t in TYPES}
    assert {
        "Checkin",
        "Report",
        "DeviceEvent",
        "RolloutView",
        "Manifest",
        "InputContract",
        "Problem",
    } <= names
    assert len(TYPES) > 60


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_every_wire_type_survives_the_wire(kind: type, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    sent = codec.encode(value)
    assert codec.decode(sent, kind, what="body") == value
    assert codec.decode(codec.pretty(value), kind, what="body") == value
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value
    # the same value, the same bytes: digests of bodies can be identities
    assert codec.encode(codec.decode(sent, kind, what="body")) == sent
    # an older side ignores what it does not know
    newer = json.loads(sent) | {"a_field_of_tomorrow": {"x": [1]}}
    assert codec.decode(json.dumps(newer).encode(), kind, what="body") == value


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.__name__)
@settings(max_examples=5)
@given(data=st.data())
def test_a_missing_required_field_is_refused(kind: type, data: st.DataObject) -> None:
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if not required:
        assert codec.decode(b"{}", kind, what="body") == kind()
        return
    body = json.loads(codec.encode(data.draw(values(kind))))
    del body[data.draw(st.sampled_from(required))]
    _refused(json.dumps(body).encode(), kind)


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.__name__)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"7", b'"x"', b"\xff", b"[" * 5000], ids=repr)
def test_garbage_is_refused(kind: type, body: bytes) -> None:
    _refused(body, kind)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (TimeStatement, '{"time_unix_s": "5", "nonce": ""}'),
        (TimeStatement, '{"time_unix_s": NaN, "nonce": ""}'),
        (TimeStatement, '{"time_unix_s": Infinity, "nonce": ""}'),
        (TimeStatement, '{"time_unix_s": 1e999, "nonce": ""}'),
        (TimeStatement, '{"time_unix_s": true, "nonce": ""}'),
        (TimeStatement, '{"time_unix_s": 5, "nonce": 5}'),
        (Checkin, '{"revision": 1.5, "boot_id": "", "agent_version": "", "slots": []}'),
        (Checkin, '{"revision": "1", "boot_id": "", "agent_version": "", "slots": []}'),
        (Operation, '{"verb": "destroy", "idempotency_key": "k"}'),
        (Operation, '{"verb": "abort", "idempotency_key": ""}'),
        (Operation, '{"verb": "abort", "idempotency_key": "k", "classes": ["../x"]}'),
    ],
)
def test_types_are_strict(kind: type, body: str) -> None:
    _refused(body.encode(), kind)


def test_a_whole_number_is_a_float_where_one_is_wanted() -> None:
    assert codec.decode(b'{"time_unix_s": 5, "nonce": ""}', TimeStatement, what="t").time_unix_s == 5.0


def test_the_error_names_body_and_field() -> None:
    with pytest.raises(CallerError) as caught:
        codec.decode(b'{"verb": "abort", "idempotency_key": 5}', Operation, what="the operation")
    assert "the operation" in caught.value.happened
    assert "idempotency_key" in caught.value.happened
    assert "Operation" in caught.value.expected


def test_the_size_limit_comes_first() -> None:
    body = codec.encode(Operation(Verb.ABORT, "k"))
    assert codec.decode(body, Operation, what="o", limit=len(body)).verb is Verb.ABORT
    with pytest.raises(CallerError) as caught:
        codec.decode(body + b" ", Operation, what="o", limit=len(body))  # white space is good JSON
    assert str(len(body) + 1) in caught.value.happened


@pytest.mark.parametrize(
    "change",
    [
        {"token": "x" * 257},
        {"public_key": "x" * 65},
        {"name": "x" * 129},
        {"name": "a\nb"},
        {"labels": {"Site": "north"}},
        {"labels": {"site": "a,b"}},
        {"labels": {"site": "a=b"}},
        {"labels": {"site": "a b"}},
        {"labels": {"site": "x" * 64}},
        {"labels": {"site": "\u0007"}},
        {"labels": {"../x": "1"}},
        {"labels": {f"k{i}": "" for i in range(65)}},
    ],
)
def test_an_enrolment_has_limits(change: dict[str, Any]) -> None:
    good = {
        "token": "t",
        "public_key": "k",
        "name": "n",
        "facts": {"architecture": "x86_64", "runtimes": {}, "memory_bytes": 1},
        "labels": {"site": "north"},
    }
    assert codec.decode(json.dumps(good).encode(), EnrollRequest, what="e").labels == {"site": "north"}
    _refused(json.dumps(good | change).encode(), EnrollRequest)


def test_nothing_infinite_is_ever_sent() -> None:
    for number in (math.nan, math.inf):
        sent = codec.encode(TimeStatement(number, ""))
        _refused(sent, TimeStatement)


def _refused(body: bytes, kind: type) -> None:
    with pytest.raises(CallerError) as caught:
        codec.decode(body, kind, what="body")
    assert caught.value.code is Code.BODY_INVALID
