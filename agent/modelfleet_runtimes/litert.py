"""LiteRT (TFLite) with XNNPACK. The only importer of `ai_edge_litert`'s interpreter on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfleet_core.release.contract import InputContract

from .port import NO_OPTIONS, Session
from .registry import installed_version, missing

if TYPE_CHECKING:
    from .binding import PhysicalArray

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
            engine = _Engine(interpreter)
        except Exception as error:  # the library raises ValueError and RuntimeError
            raise load_failed(path, self.name, error) from error
        return BoundSession(engine, contract, f"{self.name} with {entry}")


class _Engine:
    """An `Interpreter` behind the `Engine` port; tensors are named by the file's only signature."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter: Any = interpreter
        runner = interpreter.get_signature_runner()
        self._inputs = {name: int(item["index"]) for name, item in runner.get_input_details().items()}
        self._outputs = {name: int(item["index"]) for name, item in runner.get_output_details().items()}

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        return [frozenset({name}) for name in self._inputs], [frozenset({name}) for name in self._outputs]

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        for name, value in inputs.items():
            self._interpreter.set_tensor(self._inputs[name], value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def release(self) -> None:
        self._interpreter = None


plugin = LiteRt()
