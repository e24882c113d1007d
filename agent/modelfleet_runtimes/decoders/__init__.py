"""Decoders: from the raw outputs of a detector to boxes, scores and classes. numpy only.

Which decoder a release uses, and with which parameters, is signed with it (`Manifest.decoder`), so that every
device and the builder see the same boxes. Plug-ins come by the entry points `modelfleet.decoders`;
`kind.Kind` makes one of a function.
"""

from .port import BoxDecoder, DecoderPlugin, Detections
from .registry import infer, open_decoder, settle

__all__ = ["BoxDecoder", "DecoderPlugin", "Detections", "infer", "open_decoder", "settle"]
