"""Which class a device belongs to and which variant fits it; every "no" has a reason.

Rules, all of them: a device belongs to the class with the highest priority whose needs its facts meet (ties
by name). A variant fits when it was built for the device's class, its runtime is offered in the needed
version range and the device has the memory it needs. Among those that fit the lowest rank wins (the builder's
choice), then the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .device_class import DeviceClass, DeviceFacts
from .manifest import Manifest, Variant

_NUMBERS = re.compile(r"[0-9]{1,15}")
"""Runs of digits; a longer one is cut, so that no device makes us count endless digits."""


@dataclass(frozen=True, slots=True)
class No:
    """Something that does not fit, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """The device's class, or None, and why each other class does not hold."""

    device_class: DeviceClass | None
    refused: tuple[No, ...]


@dataclass(frozen=True, slots=True)
class VariantMatch:
    """The variant for a device, or None, and why each other does not fit."""

    variant: Variant | None
    refused: tuple[No, ...]

    def sentence(self) -> str:
        """One plain sentence for a device that gets nothing."""
        if self.variant is not None:
            return f"variant {self.variant.name} fits"
        if not self.refused:
            return "the release has no variant at all"
        return "no variant fits: " + "; ".join(f"{no.name}: {no.reason}" for no in self.refused)


def version_key(text: str) -> tuple[int, ...]:
    """Numbers of a version in order, trailing zeros dropped: `1.17.0` -> (1, 17). Suffixes such as `rc1`
    count as
    numbers after the dot release; enough for lower bounds of runtimes.
    """
    numbers = [int(n) for n in _NUMBERS.findall(text)[:8]]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _version_no(offered: str, minimum: str, below: str | None) -> str | None:
    if version_key(offered) < version_key(minimum):
        return f"version {offered} is older than the needed {minimum}"
    if below is not None and version_key(offered) >= version_key(below):
        return f"version {offered} is not below {below}"
    return None


def class_no(facts: DeviceFacts, device_class: DeviceClass) -> str | None:
    """Why the device is not of this class, or None when it is."""
    if facts.architecture not in device_class.architectures:
        return f"architecture {facts.architecture} is not one of {', '.join(device_class.architectures)}"
    offered = facts.runtimes.get(device_class.runtime)
    if offered is None:
        names = ", ".join(sorted(facts.runtimes)) or "none"
        return f"runtime {device_class.runtime} is not offered (offered: {names})"
    version_no = _version_no(offered, device_class.runtime_minimum, device_class.runtime_below)
    if version_no is not None:
        return f"runtime {device_class.runtime}: {version_no}"
    if facts.memory_bytes < device_class.min_memory_bytes:
        return f"memory {facts.memory_bytes} B is less than the needed {device_class.min_memory_bytes} B"
    missing = [a for a in device_class.accelerators if a not in facts.accelerators]
    if missing:
        return f"accelerator {', '.join(missing)} is missing"
    return None


def match_class(facts: DeviceFacts, classes: Iterable[DeviceClass]) -> ClassMatch:
    """The class of a device, from its facts."""
    fitting: list[DeviceClass] = []
    refused: list[No] = []
    for device_class in sorted(classes, key=lambda c: (-c.priority, c.name)):
        reason = class_no(facts, device_class)
        if reason is None:
            fitting.append(device_class)
        else:
            refused.append(No(device_class.name, reason))
    for other in fitting[1:]:
        refused.append(No(other.name, f"{fitting[0].name} has precedence"))
    return ClassMatch(fitting[0] if fitting else None, tuple(refused))


def variant_no(facts: DeviceFacts, class_name: str, variant: Variant) -> str | None:
    """Why this variant does not fit a device of that class, or None when it does."""
    if variant.device_class != class_name:
        return f"built for class {variant.device_class}, the device is {class_name}"
    offered = facts.runtimes.get(variant.runtime.name)
    if offered is None:
        names = ", ".join(sorted(facts.runtimes)) or "none"
        return f"runtime {variant.runtime.name} is not offered (offered: {names})"
    version_no = _version_no(offered, variant.runtime.minimum, variant.runtime.below)
    if version_no is not None:
        return f"runtime {variant.runtime.name}: {version_no}"
    if facts.memory_bytes < variant.min_memory_bytes:
        return f"memory {facts.memory_bytes} B is less than the needed {variant.min_memory_bytes} B"
    return None


def match_variant(facts: DeviceFacts, class_name: str, manifest: Manifest) -> VariantMatch:
    """The variant of a release for a device of a class; never one whose requirements the device lacks."""
    fitting: list[Variant] = []
    refused: list[No] = []
    for variant in sorted(manifest.variants, key=lambda v: (v.rank, v.name)):
        reason = variant_no(facts, class_name, variant)
        if reason is None:
            fitting.append(variant)
        else:
            refused.append(No(variant.name, reason))
    for other in fitting[1:]:
        refused.append(No(other.name, f"{fitting[0].name} ranks before it"))
    return VariantMatch(fitting[0] if fitting else None, tuple(refused))
