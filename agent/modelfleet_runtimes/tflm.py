"""The TFLite Micro interpreter on a Linux host, to rehearse what a microcontroller will answer.

No runtime of devices: microcontrollers run the same file in firmware. The only importer of `tflite_micro`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .plugin import Opening, Plugin

if TYPE_CHECKING:
    from .binding import PhysicalArray
    from .session import Engine
    from .tflite_file import TfliteFile

_MAX_ARENA_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class TfliteMicro(Plugin):
    """The plug-in `tflm`."""

    name: str = "tflm"
    package: str = "tflite-micro"
    extra: str = "tflm"
    formats: tuple[str, ...] = (".tflite",)

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`; `threads` means nothing here, a microcontroller has one."""
        from .tflite_file import read_tflite

        with self.importing():
            from tflite_micro.python.tflite_micro import runtime
        with self.loading(opening.path):
            data = opening.path.read_bytes()
            # First, for the library follows the offsets of a damaged file out of it.
            file = read_tflite(data)
            return _Engine(runtime.Interpreter.from_bytes(data, arena_size=arena_room(file)), file)


def arena_room(file: TfliteFile) -> int:
    """Bytes of arena in which a file fits for certain; how much it takes, the interpreter tells afterwards.

    Every tensor that is no constant at the width of an int64, twice for scratch buffers of the same size, and
    room for the interpreter's own tables.
    """
    tensors = sum(tensor.elements() for tensor in file.tensors if not tensor.constant)
    channels = sum(len(tensor.scales) for tensor in file.tensors)
    tables = 512 * (len(file.tensors) + len(file.operators)) + 16 * channels
    return min(16 * tensors + tables + 65536, _MAX_ARENA_BYTES)


class _Engine:
    """An `Interpreter` behind the `Engine` port; it counts tensors, the file names them."""

    def __init__(self, interpreter: Any, file: TfliteFile) -> None:
        self._interpreter: Any = interpreter
        self._inputs = {name: index for index, name in enumerate(file.input_names)}
        self._outputs = {name: index for index, name in enumerate(file.output_names)}

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        return [frozenset({name}) for name in self._inputs], [frozenset({name}) for name in self._outputs]

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        for name, value in inputs.items():
            self._interpreter.set_input(value, self._inputs[name])
        self._interpreter.invoke()
        return {name: self._interpreter.get_output(index) for name, index in self._outputs.items()}

    def release(self) -> None:
        self._interpreter = None


plugin = TfliteMicro()
