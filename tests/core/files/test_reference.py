"""The page about resources: its examples are read, and it names every field that is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from modelfleet_core.files.resource import (
    FleetRollout,
    kind_of,
    read_device_class,
    read_rollout,
    write_device_class,
    write_rollout,
)
from modelfleet_core.release.device_class import VariantLimits
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_core.rollout.gate import Metric
from modelfleet_core.rollout.plan import RolloutPlan

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "rollout.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def fields_of(value: object, path: str = "") -> set[str]:
    if isinstance(value, Mapping):
        found: set[str] = set()
        for key, item in value.items():
            inner = fields_of(item, f"{path}.{key}" if path else str(key))
            found |= inner or {f"{path}.{key}" if path else str(key)}
        return found
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {name for item in value for name in fields_of(item, f"{path}[]")}
    return set()


def test_the_examples_are_read() -> None:
    assert [kind_of(example) for example in EXAMPLES] == ["FleetRollout", "DeviceClass"]
    read_rollout(EXAMPLES[0])
    read_device_class(EXAMPLES[1])


def test_every_field_that_is_written_is_documented() -> None:
    written = write_rollout(read_rollout(EXAMPLES[0]))["spec"]
    bare = replace(read_rollout(EXAMPLES[0]).plan, gates=(), no_gates_reason="why")
    written_bare = write_rollout(FleetRollout("bare", bare))["spec"]
    full = VariantLimits(1, 1.0, 1, 0.5, 0.5)
    every = replace(SHIPPED[0], runtime_below="2", limits=full, optimizer="o", objective="size")
    classes = [write_device_class(every)["spec"], {"options": {}}]
    names = fields_of(written) | fields_of(written_bare) | set().union(*(fields_of(c) for c in classes))
    names = {"selector.matchLabels" if name.startswith("selector.") else name for name in names}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []
    assert [metric for metric in Metric if f"`{metric.value}`" not in PAGE] == []


def test_the_documented_defaults_are_the_defaults() -> None:
    """The example spells them out, except what differs on purpose."""
    example = read_rollout(EXAMPLES[0]).plan
    plain = RolloutPlan(example.release, example.stages)
    for name in (
        "advance",
        "window_s",
        "min_devices",
        "min_rounds",
        "committed",
        "reached",
        "on_inconclusive",
    ):
        assert getattr(example, name) == getattr(plain, name)
    for name in ("false_rollback", "probation_s", "reverse_share"):
        assert getattr(example, name) == getattr(plain, name)
    assert tuple(replace(gate, unless=None, floor=None) for gate in example.gates) == plain.gates
