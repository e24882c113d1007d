from __future__ import annotations

import base64
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.trust import http_signature as http
from modelfleet_core.trust.keys import ed25519_from_seed, load_private_key, load_public_key

from tests.core.trust.support import DIRECTOR, refused

DEVICE = ed25519_from_seed(b"\x05" * 32)
NONCE = http.encode_nonce(bytes(range(16)))
REQUEST: dict[str, Any] = {
    "method": "POST",
    "path": "/v1/device/reports",
    "query": "",
    "body": b'{"reports":[]}',
    "created": 1_772_366_400,
    "nonce": NONCE,
    "keyid": "dev_" + "0" * 32,
    "signer": DEVICE,
    "audience": "mf-test",
}
GOOD = http.sign_request(**REQUEST)

# RFC 9421 appendix B.1.4
RFC_PRIVATE = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
RFC_PUBLIC = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""


def _check(headers: dict[str, str], **changes: Any) -> http.ParsedSignature:
    parsed = http.parse_signature(headers)
    given = {k: REQUEST[k] for k in ("method", "path", "query", "body", "audience")} | changes
    http.check_request(parsed, **({"verifier": DEVICE.public()} | given))
    return parsed


def test_rfc_9421_b_2_6() -> None:
    parameters = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    base = http.signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ],
        parameters,
    )
    assert base == (
        b'"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        b'"@method": POST\n'
        b'"@path": /foo\n'
        b'"@authority": example.com\n'
        b'"content-type": application/json\n'
        b'"content-length": 18\n'
        b'"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")'
        b';created=1618884473;keyid="test-key-ed25519"'
    )
    signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    assert base64.b64encode(load_private_key(RFC_PRIVATE).sign(base)).decode() == signature
    assert load_public_key(RFC_PUBLIC).verify(base64.b64decode(signature), base)


def test_content_digest_of_the_rfc() -> None:
    # RFC 9530 appendix B.2 and RFC 9421 appendix B.2
    assert http.content_digest(b'{"hello": "world"}') == (
        "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
    )


def test_the_signed_bytes_of_our_profile() -> None:
    parsed = http.parse_signature(GOOD)
    digest = GOOD["Content-Digest"]
    assert http.request_base("post", "", "a=1", digest, parsed.parameters).decode() == (
        f'"@method": POST\n"@path": /\n"@query": ?a=1\n"content-digest": {digest}\n'
        f'"@signature-params": {GOOD["Signature-Input"].removeprefix("sig1=")}'
    )


def test_a_good_request() -> None:
    parsed = _check({name.upper(): value for name, value in GOOD.items()})
    assert (parsed.keyid, parsed.created, parsed.nonce) == (REQUEST["keyid"], REQUEST["created"], NONCE)
    assert parsed.tag == "modelfleet/mf-test"
    assert len(parsed.signature) == 64


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=st.text("abc/%20-_.~", max_size=20).map(lambda t: "/" + t),
    query=st.text("ab=&%2F", max_size=20),
    body=st.binary(max_size=60),
    created=st.integers(0, 10**11),
    entropy=st.binary(min_size=16, max_size=16),
)
def test_round_trip(method: str, path: str, query: str, body: bytes, created: int, entropy: bytes) -> None:
    request = {"method": method, "path": path, "query": query, "body": body}
    nonce = http.encode_nonce(entropy)
    headers = http.sign_request(**(REQUEST | request | {"created": created, "nonce": nonce}))
    parsed = _check(headers, **request)
    assert (parsed.created, parsed.nonce) == (created, nonce)
    assert all(len(value) <= http.MAX_HEADER for value in headers.values())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "PUT"}, Code.REQUEST_SIGNATURE_BAD),
        ({"path": "/v1/device/events"}, Code.REQUEST_SIGNATURE_BAD),
        ({"path": "/v1/device/reports/"}, Code.REQUEST_SIGNATURE_BAD),
        ({"path": "/v1/device%2Freports"}, Code.REQUEST_SIGNATURE_BAD),
        ({"query": "force=1"}, Code.REQUEST_SIGNATURE_BAD),
        ({"body": b'{"reports":[0]}'}, Code.REQUEST_DIGEST),
        ({"body": b""}, Code.REQUEST_DIGEST),
        ({"verifier": DIRECTOR.public()}, Code.REQUEST_SIGNATURE_BAD),
        ({"audience": "mf-other"}, Code.REQUEST_AUDIENCE),
    ],
)
def test_another_request_is_refused(changes: dict[str, Any], code: Code) -> None:
    refused(code, lambda: _check(GOOD, **changes))


@pytest.mark.parametrize("field", ["created", "nonce", "keyid", "tag"])
def test_every_parameter_is_signed(field: str) -> None:
    now = {"created": "1772366400", "nonce": NONCE, "keyid": "dev_0", "tag": "modelfleet/mf-test"}
    then = {"created": "1772366401", "nonce": NONCE[::-1], "keyid": "dev_1", "tag": "modelfleet/mf-othe"}
    changed = GOOD["Signature-Input"].replace(now[field], then[field], 1)
    assert changed != GOOD["Signature-Input"]
    refused(Code.REQUEST_SIGNATURE_BAD, lambda: _check(GOOD | {"Signature-Input": changed}))


def test_a_digest_that_fits_another_body_is_refused() -> None:
    other = GOOD | {"Content-Digest": http.content_digest(b"other")}
    refused(Code.REQUEST_SIGNATURE_BAD, lambda: _check(other, body=b"other"))


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
def test_every_header_is_needed(name: str) -> None:
    headers = {k: v for k, v in GOOD.items() if k != name}
    refused(Code.REQUEST_UNSIGNED, lambda: http.parse_signature(headers))
    refused(Code.REQUEST_SIGNATURE_FORM, lambda: http.parse_signature(GOOD | {name: ""}))
    refused(Code.REQUEST_SIGNATURE_FORM, lambda: http.parse_signature(GOOD | {name: GOOD[name] + " "}))
    refused(Code.REQUEST_SIGNATURE_FORM, lambda: http.parse_signature(GOOD | {name: "x" * 2000}))


INPUT = GOOD["Signature-Input"]


@pytest.mark.parametrize(
    "value",
    [
        INPUT.replace("sig1", "sig2"),
        INPUT + ", " + INPUT,
        INPUT + "," + INPUT.replace("sig1", "sig2"),
        INPUT.replace(' "content-digest"', ""),
        INPUT.replace('"@query" ', ""),
        INPUT.replace('"@method" "@path"', '"@path" "@method"'),
        INPUT.replace('"content-digest")', '"content-digest" "date")'),
        INPUT.replace('"@path"', '"@path";req'),
        INPUT.replace(";alg=", ";algo="),
        INPUT.replace('"ed25519"', '"hmac-sha256"'),
        INPUT.replace('"ed25519"', '"none"'),
        INPUT + ";expires=1",
        INPUT + ';nonce="' + NONCE + '"',
        INPUT.replace(f'"{NONCE}"', '"short"'),
        INPUT.replace(f'"{NONCE}"', '"' + "=" * 22 + '"'),
        INPUT.replace("created=1772366400", "created=-1"),
        INPUT.replace("created=1772366400", 'created="1772366400"'),
        INPUT.replace("created=1772366400", "created=1772366400.5"),
        INPUT.replace("created=1772366400", "created=" + "9" * 20),
        INPUT.replace("dev_", "dev\\_"),
        INPUT.replace("dev_", "dev _"),
        INPUT.replace("dev_", "dev\u00e4"),
        INPUT.replace('"dev_' + "0" * 32 + '"', '""'),
        INPUT.replace(";keyid", "; keyid"),
        INPUT.replace(";keyid", ";keyid=1;x"),
        INPUT[:-1],
        INPUT.split(";")[0],
    ],
)
def test_what_is_not_in_the_profile_is_refused(value: str) -> None:
    assert value != INPUT
    refused(Code.REQUEST_SIGNATURE_FORM, lambda: http.parse_signature(GOOD | {"Signature-Input": value}))


@pytest.mark.parametrize(
    "value",
    [
        GOOD["Signature"] + "," + GOOD["Signature"],
        GOOD["Signature"].replace("sig1", "sig2"),
        "sig1=:AAAA:",
        GOOD["Signature"].replace("==:", "=:"),
        # the last character before the padding has four unused bits
        GOOD["Signature"][:-4] + "x==:" if GOOD["Signature"][-4] != "x" else "",
    ],
)
def test_a_malformed_signature_is_refused(value: str) -> None:
    refused(Code.REQUEST_SIGNATURE_FORM, lambda: http.parse_signature(GOOD | {"Signature": value}))


@given(st.text(max_size=200))
def test_parsing_never_raises_anything_else(text: str) -> None:
    for name in GOOD:
        for value in (text, GOOD[name] + text, text + GOOD[name]):
            with contextlib.suppress(CallerError):
                http.parse_signature(GOOD | {name: value})


@pytest.mark.parametrize("field", ["nonce", "keyid", "audience"])
@pytest.mark.parametrize("value", ['a"b', "a b", "a\nb", "\u00e4", "x" * 300])
def test_the_signer_refuses_what_the_reader_would(field: str, value: str) -> None:
    with pytest.raises(ValueError):
        http.sign_request(**(REQUEST | {field: value}))


@pytest.mark.parametrize("offset", [-300, -1, 0, 1, 300])
def test_inside_the_window(offset: int) -> None:
    http.check_window(http.parse_signature(GOOD), REQUEST["created"] + offset)


@pytest.mark.parametrize(
    ("offset", "word"), [(301, "ago"), (-301, "future"), (3600, "ago"), (-1e9, "future")]
)
def test_outside_the_window(offset: float, word: str) -> None:
    parsed = http.parse_signature(GOOD)
    error = refused(Code.REQUEST_CLOCK, lambda: http.check_window(parsed, REQUEST["created"] + offset))
    assert word in error.happened


def test_a_nonce_has_sixteen_bytes() -> None:
    assert len(NONCE) == 22
    for count in (0, 15, 17):
        with pytest.raises(ValueError):
            http.encode_nonce(bytes(count))


def test_changed_parameters_in_the_parsed_form_do_not_verify() -> None:
    parsed = http.parse_signature(GOOD)
    forged = replace(parsed, parameters=parsed.parameters.replace("dev_0", "dev_1"))
    refused(
        Code.REQUEST_SIGNATURE_BAD,
        lambda: http.check_signature(
            forged,
            method="POST",
            path=REQUEST["path"],
            query="",
            verifier=DEVICE.public(),
            audience="mf-test",
        ),
    )
