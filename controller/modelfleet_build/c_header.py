"""A TFLite variant as one C header, for firmware that links its model in. Text in, text out.

The header holds the very bytes of the signed file, aligned as interpreters want them, and what firmware needs
to use and to check them: digest, release, arena, and for each tensor scale and zero point. Plain C99 or C++98
beside the alignment, which needs C11, C++11, or GCC's or Clang's attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.contract import DType, InputContract, PhysicalTensor
from modelfleet_core.release.manifest import Manifest, Variant
from modelfleet_runtimes.tflite_file import NotTflite, TfliteFile, read_tflite

SUFFIX = ".tflite"
MAX_MODEL_BYTES = 16 * 1024**2
"""Far above the flash of a microcontroller; a header is six times its model."""

_PER_LINE = 16
_ELEMENT_BYTES = {
    DType.FLOAT32: 4,
    DType.FLOAT16: 2,
    DType.INT8: 1,
    DType.UINT8: 1,
    DType.INT32: 4,
    DType.INT64: 8,
}


@dataclass(frozen=True, slots=True)
class HeaderSource:
    """What a header is made from; its caller has checked the files against the manifest.

    Attributes:
        manifest: Of the release.
        release: Release id.
        variant: To export.
        model: Bytes of its entry.
        contract: Its `contract.json`.
    """

    manifest: Manifest
    release: str
    variant: Variant
    model: bytes
    contract: InputContract


def check_exportable(variant: Variant) -> None:
    """Refuse what no C header can carry.

    Raises:
        CallerError: MF-1466, the variant is not one TFLite file, or one that is too large.
    """
    if not variant.entry.endswith(SUFFIX):
        raise _not_possible(
            variant, f"its file is {variant.entry}, not {SUFFIX}", f"a variant of one {SUFFIX} file"
        )
    size = next(item.size for item in variant.files if item.path == variant.entry)
    if size > MAX_MODEL_BYTES:
        raise _not_possible(variant, f"its model takes {size} bytes", f"at most {MAX_MODEL_BYTES} bytes")


def c_header(source: HeaderSource) -> str:
    """The header.

    Raises:
        CallerError: MF-1466, see `check_exportable`; or the file and its contract do not belong together.
    """
    variant = source.variant
    check_exportable(variant)
    try:
        file = read_tflite(source.model)
    except NotTflite as error:
        raise _not_possible(variant, str(error), "a TFLite file") from error
    return "\n".join(_lines(source, file)) + "\n"


def _lines(source: HeaderSource, file: TfliteFile) -> Iterator[str]:
    manifest, variant = source.manifest, source.variant
    symbol = identifier(manifest.name)
    macro = symbol.upper()
    guard = f"MODELFLEET_{macro}_{identifier(variant.name).upper()}_H"
    digest = str(sha256_hex(source.model))
    yield f"/* {manifest.reference()}, variant {variant.name}, by `fleetctl release export-header`. */"
    yield f"#ifndef {guard}"
    yield f"#define {guard}"
    yield ""
    yield f"#define {macro}_NAME {quoted(manifest.name)}"
    yield f"#define {macro}_VERSION {quoted(manifest.version)}"
    yield f"#define {macro}_VARIANT {quoted(variant.name)}"
    yield "/* Release id: sha256 of release.json. */"
    yield f"#define {macro}_RELEASE {quoted(source.release)}"
    yield f"#define {macro}_MODEL_SHA256 {quoted(digest)}"
    yield f"#define {macro}_MODEL_BYTES {len(source.model)}u"
    arena = variant.measurements.arena_bytes
    if arena is not None:
        yield "/* Measured on a 64-bit host with the reference kernels; others may need more scratch. */"
        yield f"#define {macro}_ARENA_BYTES {arena}u"
    bindings = (
        ("INPUT", source.contract.inputs, file.input_names),
        ("OUTPUT", source.contract.outputs, file.output_names),
    )
    for side, tensors, names in bindings:
        yield ""
        yield f"#define {macro}_{side}S {len(names)}"
        physical = {binding.physical.name: binding.physical for binding in tensors}
        if set(physical) != set(names):
            raise _not_possible(
                variant,
                f"its file has the tensors {sorted(names)}",
                f"those of its contract: {sorted(physical)}",
            )
        # In the interpreter's order, which need not be that of the contract.
        for index, name in enumerate(names):
            yield from _tensor(f"{macro}_{side}_{index}", physical[name])
    yield ""
    yield from _array(symbol, macro, source.model, digest)
    yield ""
    yield f"#endif /* {guard} */"


def _tensor(macro: str, tensor: PhysicalTensor) -> Iterator[str]:
    elements = 1
    for size in tensor.shape:
        elements *= size
    shape = ", ".join(map(str, tensor.shape))
    yield f"/* {tensor.dtype.value} [{shape}]{f' {tensor.layout.value}' if len(tensor.shape) == 4 else ''} */"
    yield f"#define {macro}_NAME {quoted(tensor.name)}"
    yield f"#define {macro}_BYTES {elements * _ELEMENT_BYTES[tensor.dtype]}u"
    if tensor.scale is not None and tensor.zero_point is not None:
        yield "/* real = (q - ZERO_POINT) * SCALE */"
        # Nine digits carry a float32 exactly.
        yield f"#define {macro}_SCALE {tensor.scale:.8e}f"
        yield f"#define {macro}_ZERO_POINT ({tensor.zero_point})"


def _array(symbol: str, macro: str, model: bytes, digest: str) -> Iterator[str]:
    yield "#if defined(__GNUC__) || defined(__clang__)"
    yield f"#define {macro}_ALIGNED __attribute__((aligned(16)))"
    yield "#elif defined(__cplusplus)"
    yield f"#define {macro}_ALIGNED alignas(16)"
    yield "#else"
    yield f"#define {macro}_ALIGNED _Alignas(16)"
    yield "#endif"
    yield ""
    yield "/* sha256 of the model, for a check before it is used. */"
    yield f"static const unsigned char {symbol}_model_sha256[32] = {{"
    yield from _bytes(bytes.fromhex(digest))
    yield "};"
    yield ""
    yield f"{macro}_ALIGNED static const unsigned char {symbol}_model[{macro}_MODEL_BYTES] = {{"
    yield from _bytes(model)
    yield "};"


def _bytes(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), _PER_LINE):
        yield "  " + " ".join(f"0x{value:02x}," for value in data[start : start + _PER_LINE])


def identifier(name: str) -> str:
    """A C identifier for a name: what is no letter or digit becomes `_`, and a digit does not come first."""
    plain = re.sub(r"[^0-9A-Za-z]", "_", name)
    return f"m{plain}" if plain[:1].isdigit() else plain


def quoted(text: str) -> str:
    """A C string literal; all beyond plain ASCII, and `?` for its trigraphs, as octal bytes of UTF-8."""
    inner = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{inner}"'


def _not_possible(variant: Variant, happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.HEADER_NOT_POSSIBLE,
        f"the variant {variant.name} cannot be written as a C header: {happened}",
        expected=expected,
        todo="choose a variant that the optimizers tflm, ethos-u or litert made",
    )
