"""ONNX Runtime on the CPU. The only importer of `onnxruntime` on a device."""

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


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """The plug-in `onnxruntime`."""

    name: str = "onnxruntime"
    package: str = "onnxruntime"
    extra: str = "onnxruntime"
    formats: tuple[str, ...] = (".onnx",)

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
            import onnxruntime
        except ImportError as error:
            raise missing(self) from error
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Spinning threads would steal the time of the other processes of a small device.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library raises many unrelated classes
            raise load_failed(path, self.name, error) from error
        return BoundSession(SessionEngine(session, contract), contract, f"{self.name} with {entry}")


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
