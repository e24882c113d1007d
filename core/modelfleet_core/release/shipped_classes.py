"""The device classes that every installation knows; users add their own by `fleetctl class apply`."""

from __future__ import annotations

from typing import Final

from .device_class import DeviceClass, VariantLimits

_MIB: Final = 1024**2
_ARM: Final = ("aarch64", "armv7l")


def _ethos_u(name: str, mebibytes: int) -> DeviceClass:
    """A class of devices with that Ethos-U; Vela compiles its variants."""
    return DeviceClass(
        name=name,
        architectures=(*_ARM, "armv8m"),
        runtime="ethos-u",
        min_memory_bytes=mebibytes * _MIB,
        accelerators=(name,),
        recipes=("int8",),
        optimizer="ethos-u",
        options={"accelerator": name},
        # Below this the processor does so much of the work that the class is the wrong one for the model.
        limits=VariantLimits(min_coverage=0.7, min_mac_coverage=0.9),
        objective="size",
        priority=5,
    )


SHIPPED: Final[tuple[DeviceClass, ...]] = (
    DeviceClass(
        name="x86-onnxruntime",
        architectures=("x86_64",),
        runtime="onnxruntime",
        runtime_minimum="1.17",
        min_memory_bytes=256 * _MIB,
        recipes=("fp32", "fp16", "int8", "int8-dynamic"),
    ),
    DeviceClass(
        name="arm-onnxruntime",
        architectures=_ARM,
        runtime="onnxruntime",
        runtime_minimum="1.17",
        min_memory_bytes=256 * _MIB,
        recipes=("fp32", "int8", "int8-s8s8"),
    ),
    DeviceClass(
        name="x86-openvino",
        architectures=("x86_64",),
        runtime="openvino",
        runtime_minimum="2024.0",
        min_memory_bytes=512 * _MIB,
        recipes=("fp16", "int8"),
        priority=1,
    ),
    DeviceClass(
        name="arm-litert",
        architectures=_ARM,
        runtime="litert",
        runtime_minimum="2.0",
        min_memory_bytes=128 * _MIB,
        recipes=("fp32", "fp16", "int8", "int8-dynamic"),
    ),
    DeviceClass(
        name="arm-tflite-legacy",
        architectures=_ARM,
        runtime="tflite-legacy",
        # Operators are checked against this version, the only one left to install.
        runtime_minimum="2.14",
        min_memory_bytes=96 * _MIB,
        # Never dynamic int8: that runtime answers with garbage and no error (ADR 0004).
        recipes=("fp32", "int8"),
        priority=-1,
    ),
    DeviceClass(
        name="jetson-tensorrt",
        architectures=("aarch64",),
        runtime="tensorrt",
        runtime_minimum="8.5",
        min_memory_bytes=2048 * _MIB,
        accelerators=("cuda",),
        recipes=("fp16", "int8"),
        priority=10,
    ),
    _ethos_u("ethos-u55-128", 1),
    _ethos_u("ethos-u55-256", 1),
    _ethos_u("ethos-u65-256", 64),
    _ethos_u("ethos-u85-256", 1),
    DeviceClass(
        name="mcu-tflm",
        architectures=("armv8m", "armv7m", "riscv32", "xtensa"),
        runtime="tflm",
        recipes=("int8",),
        limits=VariantLimits(size_bytes=2 * _MIB, arena_bytes=_MIB),
        objective="size",
        priority=-10,
    ),
    DeviceClass(
        name="executorch-xnnpack",
        architectures=("aarch64", "x86_64"),
        runtime="executorch",
        runtime_minimum="1.0",
        min_memory_bytes=256 * _MIB,
        recipes=("fp32", "int8"),
        priority=-5,
    ),
)
