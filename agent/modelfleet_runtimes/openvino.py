"""OpenVINO on the CPU, pinned to float32 arithmetic. The only importer of `openvino` on a device."""

from __future__ import annotations

import sys
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
class OpenVino:
    """The plug-in `openvino`."""

    name: str = "openvino"
    package: str = "openvino"
    extra: str = "openvino"
    formats: tuple[str, ...] = (".xml",)

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
        refuse_options(options, ("device",), self.name)
        device = options.get("device", "CPU")
        silence_telemetry()
        try:
            import openvino
        except ImportError as error:
            raise missing(self) from error
        # Where a processor has bfloat16, OpenVINO would run a float model in it without a word, and two
        # devices of one class would answer differently.
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned, every process of a device would compute on the same first core, busy or not.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(str(path)), device, settings)
            pinned = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            if pinned != "f32":
                raise RuntimeError(f"it insists on {pinned} arithmetic")
            engine = _Engine(compiled, openvino)
        except Exception as error:  # the library raises RuntimeError and its own classes
            raise load_failed(path, self.name, error) from error
        return BoundSession(engine, contract, f"{self.name} with {entry}")


def silence_telemetry() -> None:
    """Keep OpenVINO's usage telemetry from being imported: nothing here reports to anybody."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # means "not importable"


class _Engine:
    """A compiled model behind the `Engine` port."""

    def __init__(self, compiled: Any, openvino: Any) -> None:
        self._tensor = openvino.Tensor
        self._request: Any = compiled.create_infer_request()
        # A tensor of OpenVINO may have several names.
        self._ports = [
            [frozenset(p.get_names()) for p in side] for side in (compiled.inputs, compiled.outputs)
        ]
        self._inputs, self._outputs = (
            {name: index for index, names in enumerate(side) for name in names} for side in self._ports
        )

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        return self._ports[0], self._ports[1]

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        for name, value in inputs.items():
            self._request.set_input_tensor(self._inputs[name], self._tensor(value, shared_memory=True))
        self._request.infer()
        return {name: self._request.get_output_tensor(index).data for name, index in self._outputs.items()}

    def release(self) -> None:
        self._request = None


plugin = OpenVino()
