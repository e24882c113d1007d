from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError
from modelfleet_core.ids import is_file_name
from modelfleet_core.trust.statement import (
    FolderStatement,
    build_statement,
    check_assignment,
    check_files,
    check_manifest,
    parse_statement,
)

from tests.core.release.samples import manifest, variant
from tests.core.trust.support import FILES, RELEASE, VARIANT, refused

Body = dict[str, Any]
Change = Callable[[Body], object]


def _with_digest(body: Body) -> Body:
    """Makes the subject's digest right again, so that only the planted fault is left."""
    joined = b"".join(bytes.fromhex(r["digest"]) for r in body["predicate"]["resources"])
    body["subject"][0]["digest"]["sha256"] = hashlib.sha256(joined).hexdigest()
    return body


def _changed(statement: bytes, change: Change, *, digest: bool = True) -> bytes:
    body = json.loads(statement)
    change(body)
    if digest:
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError):
            _with_digest(body)
    return json.dumps(body).encode()


def _resource(body: Body, **changes: object) -> None:
    body["predicate"]["resources"][0].update(changes)


def test_it_says_what_was_put_in(statement: bytes) -> None:
    assert parse_statement(statement) == FolderStatement(FILES, RELEASE, VARIANT)
    assert build_statement(VARIANT, FILES, RELEASE) == statement


def test_the_order_of_the_files_does_not_matter_to_the_builder() -> None:
    backwards = dict(reversed(FILES.items()))
    assert build_statement(VARIANT, backwards, RELEASE) == build_statement(VARIANT, FILES, RELEASE)


def test_a_peer_s_statement_without_our_field_is_understood(statement: bytes) -> None:
    foreign = _changed(statement, lambda b: b["predicate"].pop("modelfleet"))
    assert parse_statement(foreign) == FolderStatement(FILES, RELEASE, VARIANT)


def test_unknown_fields_of_the_predicate_are_ignored(statement: bytes) -> None:
    foreign = _changed(statement, lambda b: b["predicate"].update(card={"a": 1}))
    assert parse_statement(foreign).release == RELEASE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda b: b.update(_type="https://in-toto.io/Statement/v0.1"), Code.STATEMENT_TYPE),
        (lambda b: b.pop("_type"), Code.STATEMENT_TYPE),
        (lambda b: b.update(predicateType="https://model_signing/Digests/v0.1"), Code.STATEMENT_TYPE),
        (lambda b: b["predicate"]["serialization"].update(method="shards"), Code.STATEMENT_TYPE),
        (lambda b: b["predicate"]["serialization"].update(hash_type="blake3"), Code.STATEMENT_TYPE),
        (lambda b: b.pop("predicate"), Code.STATEMENT_INVALID),
        (lambda b: b["predicate"].pop("serialization"), Code.STATEMENT_INVALID),
        (lambda b: b.update(subject=[]), Code.STATEMENT_INVALID),
        (lambda b: b.update(subject=b["subject"] * 2), Code.STATEMENT_INVALID),
        (lambda b: b["subject"][0].update(name="../other"), Code.STATEMENT_INVALID),
        (lambda b: b["subject"][0].update(name=7), Code.STATEMENT_INVALID),
        (lambda b: b["subject"][0].pop("digest"), Code.STATEMENT_INVALID),
        (lambda b: b["subject"][0]["digest"].update(sha256="0" * 64), Code.STATEMENT_DIGEST),
        (lambda b: b["predicate"].update(resources=[]), Code.STATEMENT_INVALID),
        (lambda b: b["predicate"].update(resources="all"), Code.STATEMENT_INVALID),
        (lambda b: b["predicate"].update(resources=["x"]), Code.STATEMENT_INVALID),
        (lambda b: _resource(b, algorithm="sha1"), Code.STATEMENT_INVALID),
        (lambda b: _resource(b, digest="A" * 64), Code.STATEMENT_INVALID),
        (lambda b: _resource(b, digest="ab"), Code.STATEMENT_INVALID),
        (lambda b: _resource(b, digest=None), Code.STATEMENT_INVALID),
        (
            lambda b: b["predicate"]["resources"].append(dict(b["predicate"]["resources"][0])),
            Code.STATEMENT_FILE_REPEATED,
        ),
        (lambda b: b["predicate"]["resources"].pop(), Code.STATEMENT_NO_MANIFEST),
        (lambda b: b["predicate"]["modelfleet"].update(release="0" * 64), Code.STATEMENT_DIGEST),
        (lambda b: b["predicate"]["modelfleet"].update(variant="other"), Code.STATEMENT_DIGEST),
        (lambda b: b["predicate"]["modelfleet"].update(more=1), Code.STATEMENT_DIGEST),
    ],
)
def test_every_changed_field_is_refused(statement: bytes, change: Change, code: Code) -> None:
    keep = code is Code.STATEMENT_DIGEST
    refused(code, lambda: parse_statement(_changed(statement, change, digest=not keep)))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "/etc/passwd",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "a\0b",
        "a\nb",
        "x" * 129,
        "caf\u00e9",
        "-rf",
        7,
    ],
)
def test_names_that_leave_the_folder_are_refused(statement: bytes, name: object) -> None:
    data = _changed(statement, lambda b: _resource(b, name=name))
    refused(Code.STATEMENT_FILE_NAME, lambda: parse_statement(data))


@given(st.text(max_size=140))
def test_a_file_name_cannot_leave_its_folder(text: str) -> None:
    if is_file_name(text):
        assert "/" not in text
        assert "\\" not in text
        assert text not in (".", "..", "")
        assert text.isprintable()
        assert len(text.encode()) <= 128


def test_repeated_keys_and_odd_numbers_are_refused(statement: bytes) -> None:
    twice = statement.replace(b'"predicateType":', b'"predicateType":"x","predicateType":', 1)
    refused(Code.STATEMENT_INVALID, lambda: parse_statement(twice))
    nan = _changed(statement, lambda b: b["predicate"].update(x=float("nan")))
    refused(Code.STATEMENT_INVALID, lambda: parse_statement(nan))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff\xfe", b" " * 1_000_001])
def test_garbage_is_refused(data: bytes) -> None:
    refused(Code.STATEMENT_INVALID, lambda: parse_statement(data))


def test_too_many_files_are_refused() -> None:
    many = {f"f{i}": "0" * 64 for i in range(65)} | {"release.json": RELEASE}
    refused(Code.STATEMENT_INVALID, lambda: build_statement(VARIANT, many, RELEASE))
    assert len(parse_statement(build_statement(VARIANT, dict(list(many.items())[1:]), RELEASE)).files) == 65


def test_the_builder_refuses_what_the_reader_would() -> None:
    refused(Code.STATEMENT_NO_MANIFEST, lambda: build_statement(VARIANT, {"a": "0" * 64}, RELEASE))
    refused(Code.STATEMENT_DIGEST, lambda: build_statement(VARIANT, FILES, "0" * 64))
    refused(Code.STATEMENT_FILE_NAME, lambda: build_statement(VARIANT, FILES | {"../x": "0" * 64}, RELEASE))
    refused(Code.STATEMENT_INVALID, lambda: build_statement(VARIANT, FILES | {"x": "no hex"}, RELEASE))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_value_anywhere_is_understood_the_same_or_refused(data: st.DataObject) -> None:
    body = json.loads(build_statement(VARIANT, FILES, RELEASE))
    paths = [p for p in _paths(body) if p]
    path = data.draw(st.sampled_from(paths))
    target = body
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = data.draw(_JSON)
    with contextlib.suppress(IntegrityError):
        assert parse_statement(json.dumps(body).encode()) == FolderStatement(
            FILES, RELEASE, VARIANT
        ) or path == [
            "subject",
            0,
            "name",
        ]


def _paths(value: Any, so_far: tuple[Any, ...] = ()) -> list[list[Any]]:
    found = [list(so_far)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*so_far, key))
    return found


def test_a_folder_must_be_complete_and_nothing_more(statement: bytes) -> None:
    signed = parse_statement(statement)
    check_files(signed, FILES)
    refused(Code.FILE_DIGEST, lambda: check_files(signed, FILES | {"model.onnx": "0" * 64}))
    refused(Code.FILE_UNSIGNED, lambda: check_files(signed, FILES | {"extra": "0" * 64}))
    refused(
        Code.FILE_NOT_THERE,
        lambda: check_files(signed, {n: d for n, d in FILES.items() if n != "golden.npz"}),
    )


def test_the_folder_must_be_the_one_that_was_asked_for(statement: bytes) -> None:
    signed = parse_statement(statement)
    check_assignment(signed, RELEASE, VARIANT)
    refused(Code.STATEMENT_OTHER_RELEASE, lambda: check_assignment(signed, "0" * 64, VARIANT))
    refused(Code.STATEMENT_OTHER_RELEASE, lambda: check_assignment(signed, RELEASE, "x86-onnxruntime.fp32"))


def test_manifest_and_signature_must_tell_the_same() -> None:
    one = variant("x86-onnxruntime.int8")
    whole = manifest(one)
    files = {f.path: f.sha256 for f in one.files} | {"release.json": "1" * 64}
    signed = FolderStatement(files, "1" * 64, one.name)
    check_manifest(signed, whole)
    for bad in (
        replace(signed, variant="other"),
        replace(signed, files=files | {one.entry: "0" * 64}),
        replace(signed, files=files | {"more.bin": "0" * 64}),
        replace(signed, files={n: d for n, d in files.items() if n != one.entry}),
    ):
        refused(Code.STATEMENT_OTHER_RELEASE, partial(check_manifest, bad, whole))
