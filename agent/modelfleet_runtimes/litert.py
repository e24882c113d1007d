"""LiteRT (TFLite) with XNNPACK. The only importer of `ai_edge_litert`'s interpreter on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfleet_core.release.contract import InputContract

from .port import NO_OPTIONS, Session
from .registry import installed_version, missing

_IDENTIFIER = b"TFL3"
_HEADER = 8


@dataclass(frozen=True, slots=True)
class LiteRt:
    """The plug-in `litert`."""

    name: str = "litert"
    package: str = "ai-edge-litert"
    extra: str = "litert"
    formats: tuple[str, ...] = (".tflite",)

    def version(self) -> str | None:
        """See `port.Runtime.version`."""
        return installed_version(self.package)

    def open(
        self,
        folder: Path,
        entry: str,
        contract: InputContract,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Session:
        """See `port.Runtime.open`."""
        from .session import BoundSession, entry_path, load_failed, refuse_options
        from .tflite_engine import SignatureEngine

        path = entry_path(folder, entry, self.formats, self.name)
        refuse_options(options, (), self.name)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise missing(self) from error
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER)
            # The library reads a foreign file as if it were a flatbuffer, so the identifier is checked first.
            if header[4:_HEADER] != _IDENTIFIER:
                raise ValueError("it is not a TFLite flatbuffer")
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            engine = SignatureEngine(interpreter)
        except Exception as error:  # the library raises ValueError and RuntimeError
            raise load_failed(path, self.name, error) from error
        return BoundSession(engine, contract, f"{self.name} with {entry}")


plugin = LiteRt()
