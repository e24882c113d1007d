"""The few calls of the CUDA driver that an inference needs, through `libcuda.so.1`.

The driver's binary interface is the same for every version of CUDA, and its library is on every machine with
an NVIDIA GPU, a Jetson too; no Python package for CUDA is. The only importer of `ctypes` among the runtimes.
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_BYTES = 256


class CudaError(RuntimeError):
    """A call of the driver failed."""


class Cuda:
    """The first GPU of this machine and its primary context, which TensorRT uses too.

    Args:
        library: The loaded library; None = load it.

    Raises:
        OSError: There is no such library.
        CudaError: The driver finds no GPU.
    """

    def __init__(self, library: Any = None) -> None:
        self._library: Any = library if library is not None else ctypes.CDLL(LIBRARY)
        self._call("cuInit", ctypes.c_uint(0))
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))

    def name(self) -> str:
        """Name of the GPU."""
        text = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", text, ctypes.c_int(_NAME_BYTES), self._device)
        return text.value.decode("utf-8", "replace")

    def compute_capability(self) -> str:
        """Such as `8.7`."""
        parts = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), self._device)
            parts.append(str(value.value))
        return ".".join(parts)

    def enter(self) -> None:
        """Make the GPU's primary context that of this thread."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def leave(self) -> None:
        """Give the context back."""
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes of device memory, at least 1."""
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return int(pointer.value)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def copy_in(self, target: int, source: int, size: int) -> None:
        """Host memory at `source` -> device memory at `target`."""
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(target), ctypes.c_void_p(source), ctypes.c_size_t(size))

    def copy_out(self, target: int, source: int, size: int) -> None:
        """Device memory at `source` -> host memory at `target`."""
        self._call("cuMemcpyDtoH_v2", ctypes.c_void_p(target), ctypes.c_uint64(source), ctypes.c_size_t(size))

    def stream(self) -> int:
        """A new stream, which does not wait for the default one."""
        handle = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(handle), ctypes.c_uint(1))
        return int(handle.value or 0)

    def wait(self, stream: int) -> None:
        """Wait until everything in the stream is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def end(self, stream: int) -> None:
        """Give the stream back."""
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        status = int(getattr(self._library, name)(*arguments))
        if status:
            raise CudaError(f"{name} failed with CUDA error {status}")
