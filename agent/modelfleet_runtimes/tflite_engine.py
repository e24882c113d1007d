"""A TFLite interpreter behind the `Engine` port; the same for LiteRT and for tflite-runtime."""

from __future__ import annotations

from typing import Any

from .binding import PhysicalArray


class SignatureEngine:
    """An `Interpreter`, which is allocated here; tensors are named by the file's only signature."""

    def __init__(self, interpreter: Any) -> None:
        interpreter.allocate_tensors()
        self._interpreter: Any = interpreter
        runner = interpreter.get_signature_runner()
        self._inputs = {name: int(item["index"]) for name, item in runner.get_input_details().items()}
        self._outputs = {name: int(item["index"]) for name, item in runner.get_output_details().items()}

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        """See `session.Engine.tensors`."""
        return [frozenset({name}) for name in self._inputs], [frozenset({name}) for name in self._outputs]

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        """See `session.Engine.infer`."""
        for name, value in inputs.items():
            self._interpreter.set_tensor(self._inputs[name], value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def release(self) -> None:
        """See `session.Engine.release`."""
        self._interpreter = None
