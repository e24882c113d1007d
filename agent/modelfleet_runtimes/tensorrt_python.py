"""TensorRT through its own Python module, 8.5 to 11. The only importer of `tensorrt`.

Networks are strongly typed from TensorRT 10 on: the types in the model say what computes in what, and it
chooses among kernels of that type only. Before that a flag allows fp16 or int8, and TensorRT decides by time.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorrt  # pyright: ignore[reportMissingImports]  # part of the GPU's installation

from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.engine_spec import EngineSpec

from .cuda_driver import Cuda
from .tensorrt import Target

if TYPE_CHECKING:
    from .binding import PhysicalArray

_PLAN = "engine.plan"
# Not `tensorrt.nptype`: that of TensorRT 8 names types that numpy has no more.
_DTYPES: dict[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
}


class PythonMaker:
    """See `tensorrt.EngineMaker`."""

    def target(self) -> Target:
        """See `tensorrt.EngineMaker.target`."""
        cuda = Cuda()
        return Target(cuda.name(), cuda.compute_capability(), str(tensorrt.__version__), "tensorrt")

    def make(self, model: Path, spec: EngineSpec, folder: Path) -> None:
        """See `tensorrt.EngineMaker.make`."""
        builder = tensorrt.Builder(_logger())
        network = builder.create_network(_creation_flags())
        parser = tensorrt.OnnxParser(network, _logger())
        if not parser.parse(model.read_bytes()):
            raise RuntimeError("; ".join(str(parser.get_error(i)) for i in range(min(parser.num_errors, 3))))
        plan = builder.build_serialized_network(network, _config(builder, network, spec))
        if plan is None:
            raise RuntimeError("it gave no engine; its log on standard error says why")
        (folder / _PLAN).write_bytes(bytes(plan))

    def load(self, model: Path, spec: EngineSpec, folder: Path, contract: InputContract) -> _Engine:
        """See `tensorrt.EngineMaker.load`."""
        return _Engine((folder / _PLAN).read_bytes(), Cuda())


def _logger() -> Any:
    return tensorrt.Logger(tensorrt.Logger.WARNING)


def _major() -> int:
    return int(str(tensorrt.__version__).partition(".")[0])


def _creation_flags() -> int:
    flag = tensorrt.NetworkDefinitionCreationFlag
    if _major() < 10:
        return 1 << int(flag.EXPLICIT_BATCH)
    # TensorRT 11 has no other networks; there the flag may be set and means nothing.
    return 1 << int(flag.STRONGLY_TYPED) if hasattr(flag, "STRONGLY_TYPED") else 0


def _config(builder: Any, network: Any, spec: EngineSpec) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, spec.workspace_bytes)
    if hasattr(config, "builder_optimization_level"):  # 8.6 and newer
        config.builder_optimization_level = spec.optimization_level
    if not spec.tf32 and hasattr(tensorrt.BuilderFlag, "TF32"):
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    if _major() < 10:
        for wanted, flag in ((spec.fp16, "FP16"), (spec.int8, "INT8")):
            if wanted:
                config.set_flag(getattr(tensorrt.BuilderFlag, flag))
    tensors = {network.get_input(index).name: network.get_input(index) for index in range(network.num_inputs)}
    if set(tensors) != set(spec.inputs):
        raise RuntimeError(f"the model has the inputs {sorted(tensors)}, its spec {sorted(spec.inputs)}")
    if any(-1 in tuple(tensor.shape) for tensor in tensors.values()):
        profile = builder.create_optimization_profile()
        for name, shapes in spec.inputs.items():
            profile.set_shape(name, shapes.minimum, shapes.optimum, shapes.maximum)
        config.add_optimization_profile(profile)
    return config


class _Engine:
    """A deserialised engine behind the `session.Engine` port; device memory grows with the requests."""

    def __init__(self, plan: bytes, cuda: Cuda) -> None:
        self._cuda = cuda
        cuda.enter()
        self._runtime: Any = tensorrt.Runtime(_logger())
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RuntimeError("it refuses the engine; its log on standard error says why")
        self._context: Any = self._engine.create_execution_context()
        self._stream = cuda.stream()
        self._memory: dict[str, tuple[int, int]] = {}
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {n: self._engine.get_tensor_mode(n) == tensorrt.TensorIOMode.INPUT for n in names}
        self._inputs = [name for name in names if is_input[name]]
        self._outputs = [name for name in names if not is_input[name]]

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        return [frozenset({name}) for name in self._inputs], [frozenset({name}) for name in self._outputs]

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        for name, value in inputs.items():
            if not self._context.set_input_shape(name, value.shape):
                raise ValueError(f"the engine takes no {list(value.shape)} for {name!r}")
            self._cuda.copy_in(self._room(name, value.nbytes), value.ctypes.data, value.nbytes)
        answers = {name: self._empty(name) for name in self._outputs}
        for name, value in answers.items():
            self._room(name, value.nbytes)
        for name, (address, _) in self._memory.items():
            self._context.set_tensor_address(name, address)
        if not self._context.execute_async_v3(self._stream):
            raise RuntimeError("the engine could not be run; its log on standard error says why")
        self._cuda.wait(self._stream)
        for name, value in answers.items():
            self._cuda.copy_out(value.ctypes.data, self._memory[name][0], value.nbytes)
        return answers

    def release(self) -> None:
        """Everything of TensorRT first, then the memory that it points to."""
        self._context = self._engine = self._runtime = None
        with suppress(RuntimeError):  # a GPU that failed cannot give back either
            for address, _ in self._memory.values():
                self._cuda.free(address)
            self._cuda.end(self._stream)
            self._cuda.leave()
        self._memory = {}

    def _empty(self, name: str) -> PhysicalArray:
        kind = str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]
        return np.empty(tuple(self._context.get_tensor_shape(name)), _DTYPES[kind])

    def _room(self, name: str, size: int) -> int:
        address, there = self._memory.get(name, (0, 0))
        if there < size:
            if there:
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._memory[name] = address, size
        return address
