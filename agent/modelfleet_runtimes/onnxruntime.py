"""ONNX Runtime on the CPU. The only importer of `onnxruntime` on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfleet_core.release.contract import InputContract

from .plugin import Opening, Plugin

if TYPE_CHECKING:
    from .binding import PhysicalArray
    from .session import Engine


@dataclass(frozen=True, slots=True)
class OnnxRuntime(Plugin):
    """The plug-in `onnxruntime`."""

    name: str = "onnxruntime"
    package: str = "onnxruntime"
    extra: str = "onnxruntime"
    formats: tuple[str, ...] = (".onnx",)

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`."""
        with self.importing():
            import onnxruntime
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = opening.threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Spinning threads would steal the time of the other processes of a small device.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3
        with self.loading(opening.path):
            session = onnxruntime.InferenceSession(
                str(opening.path), sess_options=settings, providers=["CPUExecutionProvider"]
            )
        return SessionEngine(session, opening.contract)


class SessionEngine:
    """An `InferenceSession` behind the `Engine` port."""

    def __init__(self, session: Any, contract: InputContract) -> None:
        self._session: Any = session
        self._wanted = [binding.physical.name for binding in contract.outputs]

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        inputs = [frozenset({item.name}) for item in self._session.get_inputs()]
        return inputs, [frozenset({item.name}) for item in self._session.get_outputs()]

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        return dict(zip(self._wanted, self._session.run(self._wanted, inputs), strict=True))

    def release(self) -> None:
        self._session = None


plugin = OnnxRuntime()
