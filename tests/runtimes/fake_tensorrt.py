"""A `tensorrt` module and a CUDA driver for tests: they take the calls that ours makes, and remember them.

The engine that this TensorRT "builds" is the ONNX model itself, which ONNX Runtime runs; so the numbers that
go through the fake device memory are real.
"""

from __future__ import annotations

import ctypes
import types
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class FakeCuda:
    """`libcuda.so.1`: device memory is host memory, every address is checked."""

    def __init__(self, *, failing: str = "", name: bytes = b"Orin (nvgpu)") -> None:
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self._failing = failing
        self._name = name

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == self._failing:
                return 100
            handler = getattr(self, f"_do_{name}", None)
            if handler is not None:
                handler(*arguments)
            return 0

        if name.startswith("cu"):
            return call
        raise AttributeError(name)

    def _do_cuDeviceGetName(self, buffer: Any, size: Any, device: Any) -> None:
        buffer.value = self._name[: size.value - 1]

    def _do_cuDeviceGetAttribute(self, result: Any, attribute: Any, device: Any) -> None:
        result._obj.value = {75: 8, 76: 7}[attribute.value]

    def _do_cuMemAlloc_v2(self, result: Any, size: Any) -> None:
        room = ctypes.create_string_buffer(size.value)
        result._obj.value = ctypes.addressof(room)
        self.memory[ctypes.addressof(room)] = room

    def _do_cuMemFree_v2(self, address: Any) -> None:
        del self.memory[address.value]

    def _do_cuMemcpyHtoD_v2(self, target: Any, source: Any, size: Any) -> None:
        assert len(self.memory[target.value]) >= size.value
        ctypes.memmove(target.value, source.value, size.value)

    def _do_cuMemcpyDtoH_v2(self, target: Any, source: Any, size: Any) -> None:
        assert len(self.memory[source.value]) >= size.value
        ctypes.memmove(target.value, source.value, size.value)

    def _do_cuStreamCreate(self, result: Any, flags: Any) -> None:
        assert flags.value == 1
        result._obj.value = 77


class _Flag(IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 3


class _BuilderFlag(IntEnum):
    FP16 = 0
    INT8 = 1
    TF32 = 7


class _Mode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class _Pool(IntEnum):
    WORKSPACE = 0


def module(version: str, *, refuses: str = "") -> Any:
    """A `tensorrt` of that version. `made` records what its builder was told.

    Args:
        version: `8.5.2`, `10.3.0`, ...
        refuses: "parse", "build" or "load": what it cannot do.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    made: dict[str, Any] = {"flags": set(), "cleared": set(), "profiles": [], "network_flags": None}

    class Tensor:
        def __init__(self, item: Any) -> None:
            self.name = item.name
            self.shape = tuple(size if isinstance(size, int) else -1 for size in item.shape)

    class Network:
        def __init__(self) -> None:
            self.model = b""

        def _session(self) -> Any:
            return onnxruntime.InferenceSession(self.model, providers=["CPUExecutionProvider"])

        @property
        def num_inputs(self) -> int:
            return len(self._session().get_inputs())

        def get_input(self, index: int) -> Tensor:
            return Tensor(self._session().get_inputs()[index])

    class Parser:
        num_errors = 1

        def __init__(self, network: Network, logger: Any) -> None:
            self._network = network

        def parse(self, data: bytes) -> bool:
            self._network.model = data
            return refuses != "parse"

        def get_error(self, index: int) -> str:
            return "no importer registered for op: Strange"

    class Config:
        def __init__(self) -> None:
            if (major, minor) >= (8, 6):
                self.builder_optimization_level = -1

        def set_memory_pool_limit(self, pool: _Pool, size: int) -> None:
            made["workspace"] = size

        def set_flag(self, flag: _BuilderFlag) -> None:
            made["flags"].add(flag.name)

        def clear_flag(self, flag: _BuilderFlag) -> None:
            made["cleared"].add(flag.name)

        def add_optimization_profile(self, profile: Any) -> None:
            made["profiles"].append(profile.shapes)

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, Any] = {}

        def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
            self.shapes[name] = shapes

    class Builder:
        def __init__(self, logger: Any) -> None:
            pass

        def create_network(self, flags: int = 0) -> Network:
            made["network_flags"] = flags
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            made["level"] = getattr(config, "builder_optimization_level", None)
            return None if refuses == "build" else network.model

    class Context:
        def __init__(self, session: Any) -> None:
            self._session = session
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._shapes[name] = tuple(shape)
            return shape[0] == 1

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            item = next(item for item in self._session.get_outputs() if item.name == name)
            return tuple(size if isinstance(size, int) else 1 for size in item.shape)

        def set_tensor_address(self, name: str, address: int) -> None:
            self._addresses[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == 77
            inputs = {}
            for name, shape in self._shapes.items():
                size = 4 * int(np.prod(shape))
                data = ctypes.string_at(self._addresses[name], size)
                inputs[name] = np.frombuffer(data, np.float32).reshape(shape)
            names = [item.name for item in self._session.get_outputs()]
            for name, value in zip(names, self._session.run(names, inputs), strict=True):
                ctypes.memmove(self._addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)
            return True

    class Engine:
        def __init__(self, plan: bytes) -> None:
            self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
            self._inputs = [item.name for item in self._session.get_inputs()]
            self._names = self._inputs + [item.name for item in self._session.get_outputs()]
            self.num_io_tensors = len(self._names)

        def get_tensor_name(self, index: int) -> str:
            return str(self._names[index])

        def get_tensor_mode(self, name: str) -> _Mode:
            return _Mode.INPUT if name in self._inputs else _Mode.OUTPUT

        def get_tensor_dtype(self, name: str) -> str:
            return "DataType.FLOAT"

        def create_execution_context(self) -> Context:
            return Context(self._session)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            return None if refuses == "load" else Engine(plan)

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None:
            pass

    found = types.ModuleType("tensorrt")
    flags = types.SimpleNamespace(
        **{item.name: item for item in _Flag if major >= 10 or item is _Flag.EXPLICIT_BATCH}
    )
    if major >= 11:
        flags = types.SimpleNamespace(STRONGLY_TYPED=_Flag.STRONGLY_TYPED)
    builder_flags = _BuilderFlag if major < 11 else types.SimpleNamespace(TF32=_BuilderFlag.TF32)
    for name, value in {
        "__version__": version,
        "Builder": Builder,
        "BuilderFlag": builder_flags,
        "Logger": Logger,
        "MemoryPoolType": _Pool,
        "NetworkDefinitionCreationFlag": flags,
        "OnnxParser": Parser,
        "Runtime": Runtime,
        "TensorIOMode": _Mode,
        "made": made,
    }.items():
        setattr(found, name, value)
    return found


def library(root: Path, version: str) -> None:
    """A system with TensorRT's library in it, as the distribution installs it."""
    folder = root / "usr" / "lib" / "aarch64-linux-gnu"
    folder.mkdir(parents=True)
    (folder / f"libnvinfer.so.{version}").touch()
    (folder / f"libnvinfer.so.{version.partition('.')[0]}").symlink_to(f"libnvinfer.so.{version}")
    (folder / "libnvinfer_plugin.so.99.0.0").touch()
