"""Device classes: kinds of device that run the same variants. Declarative; matched from facts, never typed by
hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ids import is_name

OBJECTIVES = ("latency", "size", "memory", "accuracy")


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
class VariantLimits:
    """What a variant of a class may take at most; None = no limit. A limit that cannot be checked refuses.

    Attributes:
        size_bytes: of the runtime's files.
        latency_s: median time of one sample in seconds, measured on a machine of the class.
        arena_bytes: working memory of a microcontroller's interpreter.
        min_coverage: least share of operators that run on the accelerator, 0 to 1.
        min_mac_coverage: least share of multiply-accumulates that run on the accelerator, 0 to 1.
    """

    size_bytes: int | None = None
    latency_s: float | None = None
    arena_bytes: int | None = None
    min_coverage: float | None = None
    min_mac_coverage: float | None = None

    def __post_init__(self) -> None:
        """Refuses limits that nothing can meet."""
        for name in ("size_bytes", "latency_s", "arena_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"the limit {name} is {value}; it must be above 0")
        for name in ("min_coverage", "min_mac_coverage"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"the limit {name} is {value}; it must be 0 to 1")


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
        recipes: what the builder tries, by the optimizer's names, in order.
        optimizer: optimizer plug-in that makes the variants; empty = the runtime's own.
        options: for optimizer and runtime, such as `device: GPU`; each of them refuses what it does not know.
        limits: what a variant may take.
        objective: what the best variant is: `latency`, `size`, `memory` or `accuracy`; empty = the build's.
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
    recipes: tuple[str, ...] = ("fp32",)
    optimizer: str = ""
    options: dict[str, str] = field(default_factory=dict)
    limits: VariantLimits = field(default_factory=VariantLimits)
    objective: str = ""
    priority: int = 0
    expected_offline: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses a class that nothing can match or build."""
        if not is_name(self.name):
            raise ValueError(f"class name {self.name!r} is not a plain name")
        if not self.architectures or not self.runtime:
            raise ValueError(f"class {self.name!r} names no architecture or no runtime")
        if not self.recipes or not all(is_name(recipe) for recipe in self.recipes):
            raise ValueError(
                f"class {self.name!r} lists the recipes {list(self.recipes)}; plain names are needed"
            )
        if self.objective not in ("", *OBJECTIVES):
            raise ValueError(
                f"class {self.name!r} has the objective {self.objective!r}; "
                f"one of {', '.join(OBJECTIVES)} is needed"
            )
