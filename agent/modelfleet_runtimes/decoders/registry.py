"""Which decoders are installed here, found through the entry points `modelfleet.decoders`."""

from __future__ import annotations

from importlib import metadata

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Decoder

from .port import ENTRY_POINTS, BoxDecoder, DecoderPlugin, Tensors


def open_decoder(decoder: Decoder, inputs: Tensors, outputs: Tensors) -> BoxDecoder:
    """The decoder that a manifest declares.

    Raises:
        CallerError: MF-4013, there is no such plug-in; MF-4014, it does not fit the model.
    """
    return _load(decoder.name).open(decoder.parameters, inputs, outputs)


def settle(decoder: Decoder, inputs: Tensors, outputs: Tensors) -> Decoder:
    """The decoder with every parameter spelled out, so that no later version reads it otherwise.

    Raises:
        CallerError: As `open_decoder`.
    """
    return Decoder(decoder.name, _load(decoder.name).settle(decoder.parameters, inputs, outputs))


def infer(inputs: Tensors, outputs: Tensors) -> tuple[Decoder, ...]:
    """Every installed decoder that fits the model without being told anything, sorted by name."""
    fitting: list[Decoder] = []
    for name in sorted(_entry_points()):
        try:
            fitting.append(settle(Decoder(name), inputs, outputs))
        except CallerError:
            continue
    return tuple(fitting)


def _load(name: str) -> DecoderPlugin:
    points = _entry_points()
    if name not in points:
        raise _unknown(name, "there is no decoder plug-in of that name")
    try:
        plugin: DecoderPlugin = points[name].load()
    except Exception as error:  # a foreign plug-in may raise anything
        raise _unknown(name, f"its plug-in cannot be loaded: {type(error).__name__}: {error}") from error
    return plugin


def _unknown(name: str, why: str) -> CallerError:
    return CallerError(
        Code.DECODER_UNKNOWN,
        f"the decoder {name[:64]!r} cannot be used: {why[:200]}",
        expected=f"one of: {', '.join(sorted(_entry_points())) or 'none is installed'}",
        todo="correct the name, or install the distribution that brings the plug-in",
    )


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
