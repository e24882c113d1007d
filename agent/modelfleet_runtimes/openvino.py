"""OpenVINO on one named device, pinned to one arithmetic. The only importer of `openvino` on a device.

Refuses devices that choose for themselves (AUTO, MULTI, HETERO), a device that is not there, and an
arithmetic that OpenVINO does not keep to: it never falls back to something else.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

from .plugin import Opening, Plugin

if TYPE_CHECKING:
    from .binding import PhysicalArray
    from .session import Engine

DEVICE = r"CPU|(?:GPU|NPU)(?:\.[0-9])?"
"""Names of devices that may be named, as a regular expression."""
# As OpenVINO spells the types.
PRECISIONS = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class OpenVino(Plugin):
    """The plug-in `openvino`."""

    name: str = "openvino"
    package: str = "openvino"
    extra: str = "openvino"
    formats: tuple[str, ...] = (".xml",)
    knows: tuple[str, ...] = ("device", "inferencePrecision")

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`.

        Raises:
            WorldError: MF-4051, the device is not there.
        """
        options = opening.options
        device, precision = options.get("device", "CPU"), options.get("inferencePrecision", "f32")
        _check(device, precision)
        silence_telemetry()
        with self.importing():
            import openvino
        core = openvino.Core()
        _check_there(device, core.available_devices)
        with self.loading(opening.path):
            compiled = core.compile_model(
                core.read_model(str(opening.path)), device, _settings(device, precision, opening.threads)
            )
            _check_pinned(compiled, device, precision)
            return _Engine(compiled, openvino)


def _check(device: str, precision: str) -> None:
    if re.fullmatch(DEVICE, device) is None or precision not in PRECISIONS:
        raise CallerError(
            Code.RUNTIME_OPTION,
            f"the variant wants the OpenVINO device {device!r} with the precision {precision!r}",
            expected=f"CPU, GPU or NPU (or one of several: GPU.1), and {', '.join(PRECISIONS)}",
            todo="correct `options` of the device class and rebuild the release",
        )


def _check_there(device: str, available: list[str]) -> None:
    # `GPU` stands for the first of `GPU.0`, `GPU.1`.
    if device not in {*available, *(name.partition(".")[0] for name in available)}:
        raise WorldError(
            Code.ACCELERATOR_ABSENT,
            f"OpenVINO finds no device {device} here",
            expected=f"one of those that it finds: {', '.join(available) or 'none'}",
            todo=f"install the driver of the {device}, or put this device into a class without it",
        )


def _settings(device: str, precision: str, threads: int) -> dict[str, Any]:
    # Where a processor has bfloat16, OpenVINO would run a float model in it without a word, and two
    # devices of one class would answer differently.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings |= {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned, every process of a device would compute on the same first core, busy or not.
            "ENABLE_CPU_PINNING": False,
        }
    return settings


def _check_pinned(compiled: Any, device: str, precision: str) -> None:
    """OpenVINO takes hints that it cannot follow: ask it afterwards what it does."""
    pinned = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if pinned != precision:
        raise RuntimeError(f"it insists on {pinned} arithmetic instead of {precision}")
    used = list(compiled.get_property("EXECUTION_DEVICES"))
    if not used or any(name != device and name.partition(".")[0] != device for name in used):
        raise RuntimeError(f"it runs on {', '.join(used) or 'nothing'} instead of {device}")


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
