"""TensorRT on an NVIDIA GPU: the engine is built here from a variant's ONNX model and its signed build spec.

Two ways to TensorRT, in this order: its own Python module (`tensorrt`, part of JetPack), or ONNX Runtime's
TensorRT execution provider where that is installed. Refuses a version outside the spec's range, a model that
is not the spec's, and every engine that did not come out of this device's own builder.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.engine_spec import ENGINE_SPEC_NAME, MAX_SPEC_BYTES, EngineSpec
from modelfleet_core.release.matching import version_key
from modelfleet_core.wire import codec

from .engine_cache import EngineCache, EngineKey, Make, file_digest
from .plugin import Opening, Plugin
from .port import Runtime
from .registry import installed_version, missing

if TYPE_CHECKING:
    from .session import Engine

_PYTHON = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
_ONNX_RUNTIME = "onnxruntime-gpu"
_LIBRARY = "libnvinfer.so."
_PLACES = (
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/local/lib",
    "usr/local/tensorrt/lib",
    "usr/local/TensorRT/lib",
    "opt/tensorrt/lib",
)


@dataclass(frozen=True, slots=True)
class Target:
    """What an engine is built for: see `engine_cache.EngineKey`."""

    gpu: str
    compute_capability: str
    tensorrt: str
    maker: str


class EngineMaker(Protocol):
    """One way to TensorRT."""

    def target(self) -> Target:
        """The GPU and the version here. May raise whatever the library raises."""
        ...

    def make(self, model: Path, spec: EngineSpec, folder: Path) -> None:
        """Build the engine and write its files into an empty folder. May raise anything."""
        ...

    def load(self, model: Path, spec: EngineSpec, folder: Path, contract: InputContract) -> Engine:
        """Load what `make` wrote; the files may be gone afterwards. May raise whatever the library raises."""
        ...


@dataclass(frozen=True, slots=True)
class TensorRt(Plugin):
    """The plug-in `tensorrt`.

    Attributes:
        engines: Folder for engines that were built here; None = built anew for each session.
        root: Where the system's libraries are looked for.
        maker: How TensorRT is reached; None = whatever is installed.
    """

    name: str = "tensorrt"
    package: str = "tensorrt"
    extra: str = "tensorrt"
    formats: tuple[str, ...] = (".onnx",)
    engines: Path | None = None
    root: Path = Path("/")
    maker: EngineMaker | None = None

    def version(self) -> str | None:
        """See `port.Runtime.version`: of TensorRT itself."""
        if self.maker is not None:
            return self.maker.target().tensorrt
        for package in _PYTHON:
            if (found := installed_version(package)) is not None:
                return found
        return library_version(self.root) if installed_version(_ONNX_RUNTIME) is not None else None

    def with_engines(self, folder: Path) -> Runtime:
        """See `port.KeepsEngines.with_engines`."""
        return replace(self, engines=folder)

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`.

        Raises:
            WorldError: MF-4052, the version is outside the spec's range; MF-4053, TensorRT cannot build the
                engine; MF-4051, there is no GPU that it can use.
        """
        path = opening.path
        with self.loading(path):
            spec, spec_digest = read_spec(path.parent)
            model_digest = file_digest(path)
            if (path.name, model_digest) != (spec.model, spec.model_sha256):
                raise ValueError(f"{ENGINE_SPEC_NAME} is of another model than {path.name}")
        maker = self.maker or _maker(self)
        target = _target(maker)
        check_version(target.tensorrt, spec)
        key = EngineKey(
            model_digest, spec_digest, target.gpu, target.compute_capability, target.tensorrt, target.maker
        )

        def make(place: Path) -> None:
            try:
                maker.make(path, spec, place)
            except Exception as error:  # TensorRT and ONNX Runtime raise many unrelated classes
                raise build_failed(path, error) from error

        def load(place: Path) -> Engine:
            with self.loading(path):
                return maker.load(path, spec, place, opening.contract)

        return self._engine(key, make, load)

    def _engine(self, key: EngineKey, make: Make, load: Callable[[Path], Engine]) -> Engine:
        # A cache that cannot be written costs time at the next start, and is no reason to serve nothing.
        if self.engines is not None:
            with suppress(OSError):
                return EngineCache(self.engines).use(key, make, load)
        with tempfile.TemporaryDirectory(prefix="modelfleet-engine-") as scratch:
            make(Path(scratch))
            return load(Path(scratch))


def read_spec(folder: Path) -> tuple[EngineSpec, str]:
    """The build spec of a variant folder, and the sha256 of its bytes.

    Raises:
        OSError: It cannot be read.
        CallerError: MF-1601, it is malformed.
    """
    with (folder / ENGINE_SPEC_NAME).open("rb") as file:
        data = file.read(MAX_SPEC_BYTES + 1)
    spec = codec.decode(data, EngineSpec, what=ENGINE_SPEC_NAME, limit=MAX_SPEC_BYTES)
    return spec, hashlib.sha256(data).hexdigest()


def check_version(version: str, spec: EngineSpec) -> None:
    """Refuse a TensorRT that the spec was not made for.

    Raises:
        WorldError: MF-4052.
    """
    found = version_key(version)
    if found < version_key(spec.minimum) or (spec.below is not None and found >= version_key(spec.below)):
        raise WorldError(
            Code.TENSORRT_VERSION,
            f"TensorRT {version} is installed here",
            expected=f"{spec.minimum} or newer" + (f", below {spec.below}" if spec.below else ""),
            todo="update the device's TensorRT, or rebuild the release for it",
        )


def library_version(root: Path) -> str | None:
    """Version of the system's TensorRT library by its file name (`libnvinfer.so.8.5.2`), None without one.

    Args:
        root: `/`, or a folder that stands for it.
    """
    found = {
        path.name.removeprefix(_LIBRARY)
        for place in _PLACES
        for path in (root / place).glob(f"{_LIBRARY}*")
        if path.name.removeprefix(_LIBRARY).replace(".", "").isdecimal()
    }
    # The longest name is the library itself; the shorter ones are links to it.
    return max(found, key=lambda version: (version_key(version), len(version)), default=None)


def build_failed(model: Path, error: Exception) -> WorldError:
    """The error of an engine that cannot be built."""
    return WorldError(
        Code.ENGINE_BUILD_FAILED,
        f"TensorRT cannot build {model.name}: {type(error).__name__}: {' '.join(str(error).split())[:400]}",
        expected="operators and shapes that this version of TensorRT knows, and enough memory to build",
        todo="free memory on the device, update its TensorRT, or serve this model in another class",
    )


def _target(maker: EngineMaker) -> Target:
    try:
        return maker.target()
    except Exception as error:  # ctypes, TensorRT and ONNX Runtime raise many unrelated classes
        raise WorldError(
            Code.ACCELERATOR_ABSENT,
            f"TensorRT finds no GPU: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            expected="an NVIDIA GPU with its driver",
            todo="check the driver (/dev/nvidia0, or /dev/nvhost-gpu on a Jetson) and this user's groups",
        ) from error


def _maker(runtime: TensorRt) -> EngineMaker:
    """Whatever is installed."""
    try:
        from .tensorrt_python import PythonMaker

        return PythonMaker()
    except (ImportError, OSError):  # without it, or with one whose libraries are gone
        pass
    try:
        from .onnxruntime_tensorrt import ProviderMaker

        return ProviderMaker(library_version(runtime.root))
    except (ImportError, OSError) as error:
        raise missing(runtime) from error


plugin = TensorRt()
