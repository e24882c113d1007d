"""Device classes: kinds of device that run the same variants. Declarative; matched from facts, never typed by
hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ..ids import is_name


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device says about itself (or what `[facts.override]` says instead; then the name is in
    `overridden`).

    Attributes:
        architecture: `x86_64`, `aarch64`, `armv7l`, ...
        runtimes: runtime plug-in name -> version of its library, only those enabled on this device.
        memory_bytes: total memory.
        free_disk_bytes: free space at the state directory.
        cpus: number of usable processors.
        accelerators: names such as `cuda`, `ethos-u55-128`.
        os: `linux`.
        agent_version: version of Modelfleet on the device.
        overridden: names of facts that are not measured but configured.
    """

    architecture: str
    runtimes: dict[str, str]
    memory_bytes: int
    free_disk_bytes: int = 0
    cpus: int = 1
    accelerators: tuple[str, ...] = ()
    os: str = "linux"
    agent_version: str = ""
    overridden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """One kind of device.

    Attributes:
        name: for example `x86-openvino`.
        architectures: any of these.
        runtime: plug-in that the device must offer.
        runtime_minimum, runtime_below: version range (inclusive, exclusive).
        min_memory_bytes: least memory.
        accelerators: all of these are needed.
        precisions: recipes the builder tries, in order.
        priority: among several matching classes the highest wins, then the name in alphabetical order.
        expected_offline: silence is no evidence for devices of this class (semantics section 2).
    """

    name: str
    architectures: tuple[str, ...]
    runtime: str
    runtime_minimum: str = "0"
    runtime_below: str | None = None
    min_memory_bytes: int = 0
    accelerators: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    priority: int = 0
    expected_offline: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses a class that nothing can match."""
        if not is_name(self.name):
            raise ValueError(f"class name {self.name!r} is not a plain name")
        if not self.architectures or not self.runtime:
            raise ValueError(f"class {self.name!r} names no architecture or no runtime")


SHIPPED: Final[tuple[DeviceClass, ...]] = (
    DeviceClass(
        name="x86-onnxruntime",
        architectures=("x86_64",),
        runtime="onnxruntime",
        runtime_minimum="1.17",
        min_memory_bytes=256 * 1024**2,
        precisions=("fp32", "int8"),
    ),
    DeviceClass(
        name="x86-openvino",
        architectures=("x86_64",),
        runtime="openvino",
        runtime_minimum="2024.0",
        min_memory_bytes=512 * 1024**2,
        precisions=("fp16", "int8"),
        priority=1,
    ),
    DeviceClass(
        name="arm-litert",
        architectures=("aarch64", "armv7l"),
        runtime="litert",
        runtime_minimum="2.0",
        min_memory_bytes=128 * 1024**2,
        precisions=("fp32", "int8"),
    ),
)
"""The classes that every installation knows; users add their own by `fleetctl class apply`."""
