"""TensorRT without a GPU: all around it is real; TensorRT and the CUDA driver are fakes."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import BATCH, InputContract, Layout
from modelfleet_core.release.engine_spec import ENGINE_SPEC_NAME, MIB, EngineSpec, ShapeProfile
from modelfleet_core.release.manifest import Precision
from modelfleet_core.wire import codec
from modelfleet_runtimes import cuda_driver, registry
from modelfleet_runtimes.cuda_driver import Cuda, CudaError
from modelfleet_runtimes.onnxruntime_tensorrt import ProviderMaker, provider_options
from modelfleet_runtimes.port import KeepsEngines, Runtime
from modelfleet_runtimes.tensorrt import EngineMaker, TensorRt, library_version, plugin
from modelfleet_runtimes.testing import ConformanceCase, RuntimeConformance

from . import variants
from .fake_tensorrt import FakeCuda, library, module

SHAPE = (1, 1, 32, 32)


def write_variant(folder: Path, **changes: Any) -> tuple[str, InputContract]:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(variants.MODEL, folder / "model.onnx")
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    profile = ShapeProfile(SHAPE, SHAPE, SHAPE)
    spec = EngineSpec("model.onnx", digest, Precision.FP32, {"image": profile}, 64 * MIB, "8.5", "12")
    (folder / ENGINE_SPEC_NAME).write_bytes(codec.pretty(replace(spec, **changes)))
    return "model.onnx", variants.contract(Layout.NCHW, SHAPE, (1, 10))


Loader = Callable[..., tuple[EngineMaker, Any]]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake, real = FakeCuda(), ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake if name == cuda_driver.LIBRARY else real(name))
    return fake


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> Iterator[Loader]:
    """Ours over a `tensorrt` of some version: the maker, and what its builder was told."""

    def load(version: str = "10.3.0", **behaviour: Any) -> tuple[EngineMaker, Any]:
        fake = module(version, **behaviour)
        monkeypatch.setitem(sys.modules, "tensorrt", fake)
        sys.modules.pop("modelfleet_runtimes.tensorrt_python", None)
        ours = importlib.import_module("modelfleet_runtimes.tensorrt_python")
        maker: EngineMaker = ours.PythonMaker()
        return maker, fake.made

    yield load
    sys.modules.pop("modelfleet_runtimes.tensorrt_python", None)


class TestConformance(RuntimeConformance):
    @pytest.fixture
    def runtime(self, tensorrt: Loader, tmp_path: Path) -> Runtime:
        return TensorRt(maker=tensorrt()[0]).with_engines(tmp_path / "engines")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> ConformanceCase:
        folder = tmp_path_factory.mktemp("tensorrt")
        entry, contract = write_variant(folder)
        inputs = variants.images(4)
        reference = onnxruntime.InferenceSession(str(variants.MODEL), providers=["CPUExecutionProvider"])
        expected = np.asarray(reference.run(["logits"], {"image": inputs})[0], np.float32)
        return ConformanceCase(
            folder,
            entry,
            contract,
            {"image": inputs},
            {"logits": expected},
            2e-4,
            ("onnxruntime", "tensorrt"),
        )


def opened(maker: EngineMaker, folder: Path, engines: Path | None = None, **changes: Any) -> None:
    entry, contract = write_variant(folder, **changes)
    session = TensorRt(maker=maker, engines=engines).open(folder, entry, contract)
    answer = session.run({"image": variants.images(1)})
    assert answer["logits"].shape == (1, 10)
    session.close()


@pytest.mark.parametrize(
    ("version", "precision", "network", "flags"),
    [
        ("8.5.2", Precision.FP32, 1 << 0, set()),
        ("8.5.2", Precision.FP16, 1 << 0, {"FP16"}),
        ("8.6.1", Precision.INT8, 1 << 0, {"INT8"}),
        ("10.3.0", Precision.FP16, 1 << 3, set()),
        ("10.3.0", Precision.INT8, 1 << 3, set()),
        ("11.5.0", Precision.FP16, 1 << 3, set()),
    ],
)
def test_the_builder_is_told_what_the_spec_says(
    tensorrt: Loader, tmp_path: Path, version: str, precision: Precision, network: int, flags: set[str]
) -> None:
    maker, made = tensorrt(version)
    allowed: dict[str, Any] = {"fp16": precision is Precision.FP16, "int8": precision is Precision.INT8}
    opened(maker, tmp_path / "v", precision=precision, optimization_level=4, **allowed)
    assert (made["network_flags"], made["flags"], made["cleared"]) == (network, flags, {"TF32"})
    assert made["workspace"] == 64 * MIB
    assert made["level"] == (None if version.startswith("8.5") else 4)
    assert made["profiles"] == [{"image": (SHAPE, SHAPE, SHAPE)}], "the model's batch is dynamic"


def test_device_memory_is_given_back(tensorrt: Loader, cuda: FakeCuda, tmp_path: Path) -> None:
    opened(tensorrt()[0], tmp_path / "v")
    assert cuda.memory == {}
    assert cuda.calls[-2:] == ["cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]
    assert cuda.calls.count("cuMemAlloc_v2") == 2


def test_an_engine_is_built_once_and_anew_when_it_is_damaged(tensorrt: Loader, tmp_path: Path) -> None:
    maker, made = tensorrt()
    engines = tmp_path / "engines"

    def built() -> bool:
        made["workspace"] = None
        opened(maker, tmp_path / "v", engines)
        return made["workspace"] is not None

    assert built()
    assert not built()
    plan = next(engines.glob("*/engine.plan"))
    plan.write_bytes(plan.read_bytes()[:-1] + b"!")
    assert built()
    assert not built()
    made["workspace"] = None
    opened(maker, tmp_path / "v", engines, optimization_level=1)
    assert made["workspace"] is not None, "another spec is another engine"


def test_engines_that_cannot_be_kept_are_no_reason_to_serve_nothing(tensorrt: Loader, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    opened(tensorrt()[0], tmp_path / "v", tmp_path / "file" / "engines")


@pytest.mark.parametrize(
    ("refuses", "code", "word"),
    [
        ("parse", Code.ENGINE_BUILD_FAILED, "no importer registered for op: Strange"),
        ("build", Code.ENGINE_BUILD_FAILED, "it gave no engine"),
        ("load", Code.MODEL_LOAD_FAILED, "refuses the engine"),
    ],
)
def test_what_tensorrt_refuses_is_told(
    tensorrt: Loader, tmp_path: Path, refuses: str, code: Code, word: str
) -> None:
    with pytest.raises(WorldError, match=word) as caught:
        opened(tensorrt(refuses=refuses)[0], tmp_path / "v", tmp_path / "engines")
    assert caught.value.code is code
    assert not list((tmp_path / "engines").glob(".partial-*"))


@pytest.mark.parametrize(
    ("version", "fits"), [("8.4.9", False), ("8.5", True), ("11.9", True), ("12.0", False)]
)
def test_a_version_outside_the_specs_range_is_refused(
    tensorrt: Loader, tmp_path: Path, version: str, fits: bool
) -> None:
    maker, _ = tensorrt(version)
    if fits:
        opened(maker, tmp_path / "v")
        return
    with pytest.raises(WorldError, match=version) as caught:
        opened(maker, tmp_path / "v")
    assert caught.value.code is Code.TENSORRT_VERSION
    assert "8.5 or newer, below 12" in caught.value.expected


def test_a_machine_without_a_gpu_is_told(
    tensorrt: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maker, _ = tensorrt()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeCuda(failing="cuInit"))
    with pytest.raises(WorldError, match="cuInit failed with CUDA error 100") as caught:
        opened(maker, tmp_path / "v")
    assert caught.value.code is Code.ACCELERATOR_ABSENT


@pytest.mark.parametrize("data", [None, b"{}", b"x" * 100_000])
def test_a_spec_that_is_missing_or_malformed(tensorrt: Loader, tmp_path: Path, data: bytes | None) -> None:
    entry, contract = write_variant(tmp_path)
    (tmp_path / ENGINE_SPEC_NAME).unlink()
    if data is not None:
        (tmp_path / ENGINE_SPEC_NAME).write_bytes(data)
    with pytest.raises(WorldError) as caught:
        TensorRt(maker=tensorrt()[0]).open(tmp_path, entry, contract)
    assert caught.value.code is Code.MODEL_LOAD_FAILED


def test_a_spec_of_another_model_is_refused(tensorrt: Loader, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="another model") as caught:
        opened(tensorrt()[0], tmp_path, model_sha256="a" * 64)
    assert caught.value.code is Code.MODEL_LOAD_FAILED


def test_a_spec_with_other_inputs_is_refused(tensorrt: Loader, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"its spec \['other'\]") as caught:
        opened(tensorrt()[0], tmp_path, inputs={"other": ShapeProfile(SHAPE, SHAPE, SHAPE)})
    assert caught.value.code is Code.ENGINE_BUILD_FAILED


def test_options_are_refused(tensorrt: Loader, tmp_path: Path) -> None:
    entry, contract = write_variant(tmp_path)
    with pytest.raises(CallerError) as caught:
        TensorRt(maker=tensorrt()[0]).open(tmp_path, entry, contract, options={"workspaceMiB": "64"})
    assert caught.value.code is Code.RUNTIME_OPTION


def test_without_tensorrt_it_is_absent(tmp_path: Path) -> None:
    assert TensorRt(root=tmp_path).version() is None
    assert "tensorrt" not in registry.available()
    assert registry.survey().absent["tensorrt"] == "tensorrt"
    entry, contract = write_variant(tmp_path)
    for attempt in (lambda: registry.load("tensorrt"), lambda: plugin.open(tmp_path, entry, contract)):
        with pytest.raises(WorldError) as caught:
            attempt()
        assert caught.value.code is Code.RUNTIME_MISSING


def test_the_version_is_that_of_the_module_else_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: dict[str, str] = {}
    monkeypatch.setattr("modelfleet_runtimes.tensorrt.installed_version", installed.get)
    library(tmp_path, "8.5.2")
    runtime = TensorRt(root=tmp_path)
    assert library_version(tmp_path) == "8.5.2"
    assert runtime.version() is None, "a library alone cannot be used"
    installed["onnxruntime-gpu"] = "1.23.0"
    assert runtime.version() == "8.5.2"
    installed["tensorrt"] = "10.3.0"
    assert runtime.version() == "10.3.0"


def test_it_keeps_engines_where_it_is_told(tmp_path: Path) -> None:
    assert isinstance(plugin, KeepsEngines)
    kept = plugin.with_engines(tmp_path)
    assert isinstance(kept, TensorRt)
    assert (kept.engines, plugin.engines) == (tmp_path, None)
    assert not isinstance(registry.load("onnxruntime"), KeepsEngines)


def test_an_onnx_runtime_without_tensorrt_is_not_used() -> None:
    with pytest.raises(ImportError, match="TensorrtExecutionProvider"):
        ProviderMaker("8.5.2")


def test_the_spec_as_onnx_runtime_spells_it(tmp_path: Path) -> None:
    profile = ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))
    inputs = {"image": profile, "mask": ShapeProfile((1,), (1,), (1,))}
    spec = EngineSpec(
        "model.onnx", "a" * 64, Precision.INT8, inputs, 64 * MIB, "8.5", int8=True, optimization_level=2
    )
    options = provider_options(spec, tmp_path)
    assert options["trt_profile_min_shapes"] == "image:1x3x8x8,mask:1"
    assert options["trt_profile_opt_shapes"] == "image:2x3x8x8,mask:1"
    assert options["trt_profile_max_shapes"] == "image:4x3x8x8,mask:1"
    assert (options["trt_int8_enable"], options["trt_fp16_enable"]) == ("1", "0")
    assert options["trt_engine_cache_path"] == str(tmp_path)


def test_the_driver_tells_what_the_gpu_is() -> None:
    cuda = Cuda(FakeCuda())
    assert (cuda.name(), cuda.compute_capability()) == ("Orin (nvgpu)", "8.7")


def test_a_call_of_the_driver_that_fails_is_named() -> None:
    cuda = Cuda(FakeCuda(failing="cuMemAlloc_v2"))
    with pytest.raises(CudaError, match="cuMemAlloc_v2 failed with CUDA error 100"):
        cuda.allocate(16)


def test_batches_go_through_one_by_one(tensorrt: Loader, tmp_path: Path) -> None:
    entry, contract = write_variant(tmp_path)
    assert contract.inputs[0].logical.shape[0] == BATCH
    session = TensorRt(maker=tensorrt()[0]).open(tmp_path, entry, contract)
    assert session.run({"image": variants.images(3)})["logits"].shape == (3, 10)
    session.close()
