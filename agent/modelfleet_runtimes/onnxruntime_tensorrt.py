"""TensorRT through ONNX Runtime's execution provider, where `onnxruntime-gpu` is installed and brings it.

Refuses to run a part of the model anywhere else: ONNX Runtime would give to the processor, without a word,
what TensorRT does not take.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.engine_spec import EngineSpec

from .cuda_driver import Cuda
from .onnxruntime import SessionEngine
from .tensorrt import Target

PROVIDER = "TensorrtExecutionProvider"


class ProviderMaker:
    """See `tensorrt.EngineMaker`.

    Args:
        version: Of the TensorRT library that ONNX Runtime loads, which it does not tell itself.

    Raises:
        ImportError: This ONNX Runtime has no TensorRT, or its version is unknown.
    """

    def __init__(self, version: str | None) -> None:
        if PROVIDER not in onnxruntime.get_available_providers():
            raise ImportError(f"this onnxruntime has no {PROVIDER}")
        if version is None:
            raise ImportError("libnvinfer is not where the system's libraries are")
        self._version = version

    def target(self) -> Target:
        """See `tensorrt.EngineMaker.target`."""
        cuda = Cuda()
        maker = f"onnxruntime {onnxruntime.__version__}"
        return Target(cuda.name(), cuda.compute_capability(), self._version, maker)

    def make(self, model: Path, spec: EngineSpec, folder: Path) -> None:
        """See `tensorrt.EngineMaker.make`."""
        _session(model, spec, folder)  # with explicit profiles the engine is built with the session
        if not any(path.suffix == ".engine" for path in folder.iterdir()):
            raise RuntimeError("it wrote no engine")

    def load(self, model: Path, spec: EngineSpec, folder: Path, contract: InputContract) -> SessionEngine:
        """See `tensorrt.EngineMaker.load`."""
        return SessionEngine(_session(model, spec, folder), contract)


def provider_options(spec: EngineSpec, folder: Path) -> dict[str, str]:
    """The spec as ONNX Runtime spells it."""
    shapes = {
        kind: ",".join(
            f"{name}:{'x'.join(map(str, getattr(profile, attribute)))}"
            for name, profile in spec.inputs.items()
        )
        for kind, attribute in (("min", "minimum"), ("opt", "optimum"), ("max", "maximum"))
    }
    return {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_engine_cache_prefix": "engine",
        "trt_timing_cache_enable": "0",
        "trt_max_workspace_size": str(spec.workspace_bytes),
        "trt_builder_optimization_level": str(spec.optimization_level),
        "trt_fp16_enable": str(int(spec.fp16)),
        "trt_int8_enable": str(int(spec.int8)),
        **{f"trt_profile_{kind}_shapes": text for kind, text in shapes.items()},
    }


def _session(model: Path, spec: EngineSpec, folder: Path) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(model), sess_options=settings, providers=[(PROVIDER, provider_options(spec, folder))]
    )
    session.disable_fallback()
    if session.get_providers()[0] != PROVIDER:
        raise RuntimeError(f"it runs on {session.get_providers()[0]} instead of {PROVIDER}")
    return session
