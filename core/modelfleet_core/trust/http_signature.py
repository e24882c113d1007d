"""Signed requests of devices: RFC 9421 with Ed25519 over method, path, query and body.

One profile, no choices: label `sig1`; components "@method" "@path" "@query" "content-digest" in this order;
parameters created, nonce, keyid, alg="ed25519", tag="modelfleet/<audience>". The body enters by its RFC 9530
Content-Digest. The target's scheme and authority are left out on purpose: an ingress changes them. The
signature covers exactly the bytes on the wire: path and query as sent, not decoded. Replay is for the caller
to find (nonce); the window is `check_window`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError

from .dsse import Signer, Verifier

WINDOW_S: Final = 300.0
"""Largest difference between `created` and now, seconds, either way."""
NONCE_BYTES: Final = 16
LABEL: Final = "sig1"
COMPONENTS: Final = ("@method", "@path", "@query", "content-digest")
ALGORITHM: Final = "ed25519"
MAX_HEADER: Final = 1024
NONCE_HEADER: Final = "Modelfleet-Nonce"
TIME_HEADER: Final = "Modelfleet-Time"

_COVERED: Final = "(" + " ".join(f'"{c}"' for c in COMPONENTS) + ")"
_PARAMETER: Final = re.compile(r';([a-z]+)=(?:"([\x21\x23-\x5b\x5d-\x7e]{1,200})"|([0-9]{1,12}))')
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_KEYID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_SIGNATURE: Final = re.compile(rf"{LABEL}=:([A-Za-z0-9+/]{{86}}==):")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_NAMES: Final = ("created", "nonce", "keyid", "alg", "tag")
_TODO: Final = "sign the request as docs/reference/api.md says"


@dataclass(frozen=True, slots=True)
class ParsedSignature:
    """The signature headers of a request; well-formed, not yet verified.

    Attributes:
        keyid: id of the device.
        created: unix time of signing, seconds.
        nonce: 16 bytes, base64url without padding.
        tag: `modelfleet/<audience>`.
        content_digest: value of the Content-Digest header.
        parameters: covered components and parameters exactly as received: they are signed too.
        signature: 64 bytes.
    """

    keyid: str
    created: int
    nonce: str
    tag: str
    content_digest: str
    parameters: str
    signature: bytes


def encode_nonce(entropy: bytes) -> str:
    """The nonce of 16 random bytes.

    Raises:
        ValueError: another number of bytes.
    """
    if len(entropy) != NONCE_BYTES:
        raise ValueError(f"a nonce is made of {NONCE_BYTES} bytes")
    return base64.urlsafe_b64encode(entropy).decode().rstrip("=")


def content_digest(body: bytes) -> str:
    """Value of Content-Digest (RFC 9530 section 2); an empty body has one too."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signature_base(components: Sequence[tuple[str, str]], parameters: str) -> bytes:
    """The signed bytes (RFC 9421 section 2.5).

    Args:
        components: name and value of each covered component, in order.
        parameters: value of the signature in Signature-Input: the inner list with its parameters.
    """
    lines = [f'"{name}": {value}' for name, value in components]
    lines.append(f'"@signature-params": {parameters}')
    return "\n".join(lines).encode()


def request_base(method: str, path: str, query: str, digest: str, parameters: str) -> bytes:
    """The signed bytes of a request in our profile.

    Args:
        method: upper case, for example `POST`.
        path: as on the wire, percent-encoded; empty counts as `/` (RFC 9421 section 2.2.6).
        query: as on the wire, without `?`; empty counts as `?` (section 2.2.7).
        digest: value of Content-Digest.
        parameters: as `ParsedSignature.parameters`.
    """
    values = (method.upper(), path or "/", f"?{query}", digest)
    return signature_base(tuple(zip(COMPONENTS, values, strict=True)), parameters)


def sign_request(
    *,
    method: str,
    path: str,
    query: str,
    body: bytes,
    created: int,
    nonce: str,
    keyid: str,
    signer: Signer,
    audience: str,
) -> dict[str, str]:
    """Headers that prove the request: Content-Digest, Signature-Input, Signature.

    Args:
        method: as in `request_base`.
        path: likewise.
        query: likewise.
        body: exactly the bytes that are sent.
        created: unix time, whole seconds.
        nonce: fresh, from `encode_nonce`.
        keyid: the device's id.
        signer: the device's Ed25519 key.
        audience: of the trust file.

    Raises:
        ValueError: nonce, keyid or audience has characters that the profile does not allow.
    """
    tag = f"modelfleet/{audience}"
    parameters = f'{_COVERED};created={created};nonce="{nonce}";keyid="{keyid}";alg="{ALGORITHM}";tag="{tag}"'
    _check_text(parameters)
    digest = content_digest(body)
    signature = signer.sign(request_base(method, path, query, digest, parameters))
    return {
        "Content-Digest": digest,
        "Signature-Input": f"{LABEL}={parameters}",
        "Signature": f"{LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def parse_signature(headers: Mapping[str, str]) -> ParsedSignature:
    """The signature of a request, from its headers (any case).

    Raises:
        CallerError: MF-2201 a header is missing, MF-2202 it is not in our profile.
    """
    found = {name.lower(): value for name, value in headers.items()}
    texts: list[str] = []
    for name in ("content-digest", "signature-input", "signature"):
        value = found.get(name)
        if value is None:
            raise CallerError(
                Code.REQUEST_UNSIGNED,
                f"the request has no header {name}",
                expected="Content-Digest, Signature-Input and Signature (RFC 9421)",
                todo=_TODO,
            )
        if len(value) > MAX_HEADER:
            raise _malformed(f"header {name} has {len(value)} characters", f"at most {MAX_HEADER}")
        texts.append(value)
    digest, inputs, signatures = texts
    if _DIGEST.fullmatch(digest) is None:
        raise _malformed("Content-Digest is not one sha-256", "sha-256=:<44 characters of base64>:")
    match = _SIGNATURE.fullmatch(signatures)
    if match is None:
        raise _malformed("Signature is not one Ed25519 signature", f"{LABEL}=:<88 characters of base64>:")
    if not inputs.startswith(f"{LABEL}="):
        raise _malformed(f"Signature-Input does not begin with {LABEL}=", "one signature, labelled so")
    parameters = inputs[len(LABEL) + 1 :]
    values = _check_text(parameters, caller=True)
    return ParsedSignature(
        keyid=values["keyid"],
        created=int(values["created"]),
        nonce=values["nonce"],
        tag=values["tag"],
        content_digest=digest,
        parameters=parameters,
        signature=_signature_bytes(match.group(1)),
    )


def check_request(
    parsed: ParsedSignature,
    *,
    method: str,
    path: str,
    query: str,
    body: bytes,
    verifier: Verifier,
    audience: str,
) -> None:
    """Checks body, signature and audience. Window and replay come after: only a proven request is worth an
    answer.

    Raises:
        IntegrityError: MF-2203 the body's digest differs, MF-2206 the signature does not match.
        CallerError: MF-2204 signed for another controller.
    """
    check_digest(parsed, hashlib.sha256(body).digest())
    check_signature(parsed, method=method, path=path, query=query, verifier=verifier, audience=audience)


def check_digest(parsed: ParsedSignature, sha256: bytes) -> None:
    """Compares the body that came (its raw sha256, 32 bytes) with the signed digest.

    Raises:
        IntegrityError: MF-2203.
    """
    wanted = f"sha-256=:{base64.b64encode(sha256).decode()}:"
    if not hmac.compare_digest(wanted, parsed.content_digest):
        raise IntegrityError(
            Code.REQUEST_DIGEST,
            "the body does not have the digest in Content-Digest",
            expected=parsed.content_digest,
            todo="send the body exactly as it was signed; look for a proxy that changes bodies",
        )


def check_signature(
    parsed: ParsedSignature, *, method: str, path: str, query: str, verifier: Verifier, audience: str
) -> None:
    """Checks signature and audience of a request whose body is checked (or has not come yet).

    Raises:
        IntegrityError: MF-2206 the signature does not match.
        CallerError: MF-2204 signed for another controller.
    """
    base = request_base(method, path, query, parsed.content_digest, parsed.parameters)
    if not verifier.verify(parsed.signature, base):
        raise IntegrityError(
            Code.REQUEST_SIGNATURE_BAD,
            f"the signature of {parsed.keyid} does not match {method.upper()} {path}",
            expected="a signature over exactly this request by the device's key",
            todo="look for a proxy that changes path, query or body; enrol again if the key was lost",
        )
    if not hmac.compare_digest(parsed.tag, f"modelfleet/{audience}"):
        raise CallerError(
            Code.REQUEST_AUDIENCE,
            f"the request was signed for {parsed.tag!r}",
            expected=f"'modelfleet/{audience}'",
            todo="enrol the device with this controller's trust file",
        )


def check_window(parsed: ParsedSignature, now_unix_s: float, window_s: float = WINDOW_S) -> None:
    """Checks that the request was signed about now.

    Raises:
        CallerError: MF-2205; the answer carries the signed time, and the device tries once more.
    """
    difference = parsed.created - now_unix_s
    if abs(difference) > window_s:
        raise CallerError(
            Code.REQUEST_CLOCK,
            f"the request was signed {abs(difference):.0f} s {'in the future' if difference > 0 else 'ago'}",
            expected=f"at most {window_s:.0f} s from now",
            todo="correct the device's clock; the agent takes the signed time of this answer by itself",
        )


def _check_text(parameters: str, *, caller: bool = False) -> dict[str, str]:
    """Values of the parameters; everything outside the profile is refused (ValueError on the signing
    side).
    """
    values: dict[str, str] = {}
    problem = ""
    if not parameters.startswith(_COVERED):
        problem = "it does not cover exactly " + " ".join(COMPONENTS)
    else:
        position = len(_COVERED)
        while position < len(parameters) and not problem:
            match = _PARAMETER.match(parameters, position)
            if match is None:
                problem = f"it cannot be read at character {position}"
                break
            name, text, number = match.groups()
            if name not in _NAMES or name in values or (number is None) is (name == "created"):
                problem = f"parameter {name} is unknown, repeated or of the wrong type"
            values[name] = text if number is None else number
            position = match.end()
    if not problem and set(values) != set(_NAMES):
        problem = "parameters are missing: " + ", ".join(n for n in _NAMES if n not in values)
    if not problem and values["alg"] != ALGORITHM:
        problem = f"algorithm {values['alg']!r} is not accepted"
    if not problem and _NONCE.fullmatch(values["nonce"]) is None:
        problem = "the nonce is not 22 characters of base64url"
    if not problem and _KEYID.fullmatch(values["keyid"]) is None:
        problem = "the key id has characters that are not allowed"
    if problem and caller:
        form = f'{LABEL}={_COVERED};created=..;nonce="..";keyid="..";alg="{ALGORITHM}";tag=".."'
        raise _malformed(f"Signature-Input: {problem}", form)
    if problem:
        raise ValueError(problem)
    return values


def _signature_bytes(text: str) -> bytes:
    data = binascii.a2b_base64(text, strict_mode=True)
    if base64.b64encode(data).decode() != text:
        raise _malformed("Signature is not canonical base64", "64 bytes")
    return data


def _malformed(happened: str, expected: str) -> CallerError:
    return CallerError(Code.REQUEST_SIGNATURE_FORM, happened, expected=expected, todo=_TODO)
