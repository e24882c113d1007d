"""Inner values of OpenVINO's intermediate representation, computed in float32 as the runtime adapter does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelfleet_build.layers.tap import FloatArray, RangeArray, StoredRange, TapRequest, opaque
from modelfleet_runtimes.openvino import silence_telemetry


class OpenVinoTap:
    """A `Tap` over an IR, whose tensors keep the names of the ONNX values.

    A value that passes a FakeQuantize is read behind it, as the operators after it read it.
    """

    def __init__(self, request: TapRequest) -> None:
        silence_telemetry()
        import openvino

        library: Any = openvino
        core = library.Core()
        model = core.read_model(str(request.path))
        self._inputs = {item.physical.name: item.logical.name for item in request.contract.inputs}
        ports: dict[str, Any] = {}
        self._stored: dict[str, StoredRange] = {}
        for operator in model.get_ordered_ops():
            if operator.get_type_name() in ("Result", "Constant"):
                continue
            for port in operator.outputs():
                for name in port.get_names():
                    if name in request.wanted:
                        ports[name] = self._behind(name, port)
        if not ports:
            raise opaque(request.path, "none of its tensors has the name of a value of the float model")
        self._names = tuple(ports)
        self._direct = [n for n, port in ports.items() if port.get_node().get_type_name() == "Parameter"]
        self._inner = [name for name in self._names if name not in self._direct]
        results = [library.opset13.result(ports[name]) for name in self._inner]
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        compiled = core.compile_model(library.Model(results, model.get_parameters()), "CPU", settings)
        self._request: Any = compiled.create_infer_request()

    @property
    def names(self) -> tuple[str, ...]:
        """See `Tap.names`."""
        return self._names

    def stored(self, name: str) -> StoredRange | None:
        """See `Tap.stored`."""
        return self._stored.get(name)

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """See `Tap.run`."""
        self._request.infer({physical: inputs[logical] for physical, logical in self._inputs.items()})
        values = {
            name: np.array(self._request.get_output_tensor(index).data, np.float32)
            for index, name in enumerate(self._inner)
        }
        return {**values, **{name: inputs[self._inputs[name]] for name in self._direct}}

    def _behind(self, name: str, port: Any) -> Any:
        for target in port.get_target_inputs():
            operator = target.get_node()
            if operator.get_type_name() == "FakeQuantize" and target.get_index() == 0:
                low, high = (_constant(operator, index) for index in (3, 4))
                if low is not None and high is not None:
                    levels = int(operator.get_attributes()["levels"])
                    self._stored[name] = StoredRange((high - low) / (levels - 1), low, high)
                return operator.output(0)
        return port


def _constant(operator: Any, index: int) -> RangeArray | None:
    source = operator.input_value(index).get_node()
    while source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant":
        return None
    return np.array(source.get_data(), np.float64)
