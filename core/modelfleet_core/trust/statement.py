"""The in-toto statement that a release bundle signs: one variant folder, every file of it by digest.

Form: OpenSSF Model Signing v1.0 (predicate type `https://model_signing/signature/v1.0`, serialization
`files`), so that its command line can check the folder that a device holds. The subject's digest there is a
hash of digests without
names: it is checked, and never used as an identity (semantics section 6). Our own predicate field
`modelfleet` names release and variant; verifiers of the format ignore what they do not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError
from modelfleet_core.ids import is_digest, is_file_name, is_name
from modelfleet_core.release.manifest import MANIFEST_NAME, MAX_BUNDLE_BYTES, MAX_FILES, Manifest

STATEMENT_PAYLOAD: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_SERIALIZATION: Final[dict[str, object]] = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [],
}
_TODO: Final = "do not use it; sign the folder anew with `fleetctl release sign`"


@dataclass(frozen=True, slots=True)
class FolderStatement:
    """What was signed: name of the variant, release id, and every file's digest (release.json included)."""

    files: dict[str, str]
    release: str
    variant: str


def build_statement(variant_name: str, files: Mapping[str, str], release_id: str) -> bytes:
    """Canonical JSON of the statement.

    Args:
        variant_name: name of the variant, and of its folder.
        files: file name -> sha256 hex, all files of the folder.
        release_id: sha256 of release.json; must equal what `files` says.

    Raises:
        IntegrityError: as `parse_statement`, which has the last word here too.
    """
    names = sorted(files)
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": variant_name, "digest": {"sha256": _root_digest([files[n] for n in names])}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": _SERIALIZATION,
            "resources": [{"name": n, "algorithm": "sha256", "digest": files[n]} for n in names],
            "modelfleet": {"release": release_id, "variant": variant_name},
        },
    }
    data = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    parse_statement(data)
    return data


def parse_statement(data: bytes) -> FolderStatement:
    """The statement, checked field by field.

    Raises:
        IntegrityError: MF-2030 malformed, MF-2031 another type, MF-2032 a name that leaves the folder,
            MF-2033 a name twice, MF-2034 no release.json, MF-2035 the digests contradict each other.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise _malformed(f"it has {len(data)} bytes", f"at most {MAX_BUNDLE_BYTES}")
    body = _object(strict_json(data), "the statement")
    for field, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if body.get(field) != wanted:
            raise IntegrityError(
                Code.STATEMENT_TYPE, f"{field} is {str(body.get(field))[:100]!r}", expected=wanted, todo=_TODO
            )
    subjects = body.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise _malformed("it does not have exactly one subject", "one subject: the variant folder")
    subject = _object(subjects[0], "the subject")
    variant = subject.get("name")
    if not isinstance(variant, str) or not is_name(variant):
        raise _malformed(f"the subject is called {str(variant)[:100]!r}", "the variant's name")
    predicate = _object(body.get("predicate"), "the predicate")
    serialization = _object(predicate.get("serialization"), "the predicate's serialization")
    if serialization.get("method") != "files" or serialization.get("hash_type") != "sha256":
        raise IntegrityError(
            Code.STATEMENT_TYPE,
            f"files are listed by method {str(serialization.get('method'))[:50]!r}",
            expected="method `files` with hash_type `sha256`",
            todo=_TODO,
        )
    listed = _resources(predicate.get("resources"))
    files = dict(listed)
    if _object(subject.get("digest"), "the subject's digest").get("sha256") != _root_digest(
        [d for _, d in listed]
    ):
        raise IntegrityError(
            Code.STATEMENT_DIGEST,
            "the subject's digest is not that of the listed files",
            expected="sha256 over the files' digests in the order listed",
            todo=_TODO,
        )
    if MANIFEST_NAME not in files:
        raise IntegrityError(
            Code.STATEMENT_NO_MANIFEST,
            f"the statement lists {len(files)} files and no {MANIFEST_NAME}",
            expected=f"{MANIFEST_NAME} among them: it binds the whole release",
            todo=_TODO,
        )
    own = predicate.get("modelfleet")
    if own is not None and own != {"release": files[MANIFEST_NAME], "variant": variant}:
        raise IntegrityError(
            Code.STATEMENT_DIGEST,
            "the predicate names another release or variant than the listed files",
            expected=f"release {files[MANIFEST_NAME][:16]}, variant {variant}",
            todo=_TODO,
        )
    return FolderStatement(files=files, release=files[MANIFEST_NAME], variant=variant)


def check_files(statement: FolderStatement, actual: Mapping[str, str]) -> None:
    """Compares a folder (file name -> sha256 hex of its bytes) with what was signed: nothing less, nothing
    more.

    Raises:
        IntegrityError: MF-2040 a file differs, MF-2041 a file is not covered, MF-2042 a file is missing.
    """
    for name in sorted(statement.files):
        if name not in actual:
            raise IntegrityError(
                Code.FILE_NOT_THERE,
                f"variant {statement.variant}: {name} is missing",
                expected="every signed file",
                todo="fetch the folder again",
            )
        check_file(statement, name, actual[name])
    extra = sorted(set(actual) - set(statement.files))
    if extra:
        raise IntegrityError(
            Code.FILE_UNSIGNED,
            f"variant {statement.variant}: {extra[0][:100]!r} is not covered by the signature",
            expected="only signed files in the folder",
            todo="remove it, or sign the folder anew",
        )


def check_file(statement: FolderStatement, name: str, digest: str) -> None:
    """Compares one file's digest with the signed one.

    Raises:
        IntegrityError: MF-2040 it differs, MF-2041 it is not covered by the signature.
    """
    wanted = statement.files.get(name)
    if wanted is None:
        raise IntegrityError(
            Code.FILE_UNSIGNED,
            f"variant {statement.variant}: {name[:100]!r} is not covered by the signature",
            expected="only signed files",
            todo="do not use it",
        )
    if digest != wanted:
        raise IntegrityError(
            Code.FILE_DIGEST,
            f"variant {statement.variant}: {name} has sha256 {digest[:16]}..., signed is {wanted[:16]}...",
            expected="the file exactly as it was signed",
            todo="fetch it again; if it stays so, somebody changed it after signing",
        )


def check_manifest(statement: FolderStatement, manifest: Manifest) -> None:
    """Checks that the release's manifest and the signed folder tell the same: the variant and its files'
    digests.

    The caller has compared the manifest's bytes with `statement.release` before.

    Raises:
        IntegrityError: MF-2036.
    """
    variant = manifest.variant(statement.variant)
    if variant is None:
        raise _other_release(
            f"the signed folder is variant {statement.variant}, which {manifest.reference()} does not have",
            f"one of {', '.join(v.name for v in manifest.variants) or '(none)'}",
        )
    listed = {f.path: f.sha256 for f in variant.files}
    signed = {n: d for n, d in statement.files.items() if n != MANIFEST_NAME}
    if listed != signed:
        differing = sorted(n for n in set(listed) | set(signed) if listed.get(n) != signed.get(n))
        raise _other_release(
            f"{manifest.reference()} and the signature on variant {variant.name} differ in {differing[0]}",
            "the same files and digests in both",
        )


def check_assignment(statement: FolderStatement, release: str, variant: str) -> None:
    """Checks that the signed folder is the one that was asked for.

    Raises:
        IntegrityError: MF-2036.
    """
    if statement.release != release or statement.variant != variant:
        raise _other_release(
            f"the bundle signs release {statement.release[:16]}, variant {statement.variant}",
            f"release {release[:16]}, variant {variant}",
        )


def strict_json(data: bytes) -> object:
    """JSON without repeated keys, NaN or infinity.

    Raises:
        IntegrityError: MF-2030.
    """
    try:
        value: object = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"it is not JSON that can be trusted: {str(error)[:200]}", "plain JSON") from error
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two readers may choose different ones of two equal keys; then they verify different things.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _resources(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_FILES + 1:
        raise _malformed("it does not list its files", f"1 to {MAX_FILES + 1} resources")
    listed: list[tuple[str, str]] = []
    seen: set[str] = set()
    for item in value:
        resource = _object(item, "a resource")
        name, digest = resource.get("name"), resource.get("digest")
        if not isinstance(name, str) or not is_file_name(name):
            raise IntegrityError(
                Code.STATEMENT_FILE_NAME,
                f"the statement names the file {str(name)[:100]!r}",
                expected="a plain file name of letters, digits and ._+-, without folders",
                todo=_TODO,
            )
        if name in seen:
            raise IntegrityError(
                Code.STATEMENT_FILE_REPEATED,
                f"the statement names {name} twice",
                expected="each file once",
                todo=_TODO,
            )
        if resource.get("algorithm") != "sha256" or not isinstance(digest, str) or not is_digest(digest):
            raise _malformed(f"{name} has no usable digest", "algorithm sha256, 64 lower-case hex characters")
        seen.add(name)
        listed.append((name, digest))
    return listed


def _root_digest(digests: list[str]) -> str:
    # As OpenSSF Model Signing: over the binary digests, without names. A digest that is not hex is refused
    # later.
    try:
        return hashlib.sha256(b"".join(bytes.fromhex(d) for d in digests)).hexdigest()
    except ValueError:
        return ""


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _malformed(f"{what} is not an object", "an object")
    return {str(k): v for k, v in value.items()}


def _malformed(happened: str, expected: str) -> IntegrityError:
    return IntegrityError(
        Code.STATEMENT_INVALID, f"signed statement: {happened}", expected=expected, todo=_TODO
    )


def _other_release(happened: str, expected: str) -> IntegrityError:
    return IntegrityError(
        Code.STATEMENT_OTHER_RELEASE,
        happened,
        expected=expected,
        todo="push the release and its bundles together",
    )
