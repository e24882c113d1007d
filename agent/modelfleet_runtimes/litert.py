"""LiteRT (TFLite) with XNNPACK. The only importer of `ai_edge_litert`'s interpreter on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .plugin import Opening, Plugin

if TYPE_CHECKING:
    from .session import Engine

_IDENTIFIER = b"TFL3"
_HEADER = 8


@dataclass(frozen=True, slots=True)
class LiteRt(Plugin):
    """The plug-in `litert`."""

    name: str = "litert"
    package: str = "ai-edge-litert"
    extra: str = "litert"
    formats: tuple[str, ...] = (".tflite",)

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`."""
        from .tflite_engine import SignatureEngine

        with self.importing():
            from ai_edge_litert.interpreter import Interpreter
        with self.loading(opening.path):
            with opening.path.open("rb") as file:
                header = file.read(_HEADER)
            # The library reads a foreign file as if it were a flatbuffer, so the identifier is checked first.
            if header[4:_HEADER] != _IDENTIFIER:
                raise ValueError("it is not a TFLite flatbuffer")
            return SignatureEngine(Interpreter(model_path=str(opening.path), num_threads=opening.threads))


plugin = LiteRt()
