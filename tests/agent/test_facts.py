"""Facts: measured, or configured and named as such."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_agent.facts import accelerators, free_disk, measure, same
from modelfleet_agent.settings import Settings, load

RUNTIMES = {"onnxruntime": "1.22.0", "openvino": "2025.2"}


def settings(folder: Path, text: str = "") -> Settings:
    config = folder / "agent.toml"
    config.write_text(f'state_dir = "{folder}"\n{text}')
    return load(config, environment={})


def test_measured_facts_are_this_machines(tmp_path: Path) -> None:
    facts = measure(settings(tmp_path), RUNTIMES, "0.1.0")
    assert facts.architecture == os.uname().machine
    assert facts.runtimes == RUNTIMES
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert 1 << 26 < facts.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert facts.free_disk_bytes > 0
    assert (facts.os, facts.agent_version, facts.overridden) == ("linux", "0.1.0", ())


def test_configured_facts_are_named(tmp_path: Path) -> None:
    text = (
        '[facts.override]\narchitecture = "aarch64"\naccelerators = ["ethos-u55-128"]\nmemory_bytes = 4096\n'
    )
    facts = measure(settings(tmp_path, text), RUNTIMES, "0.1.0")
    assert (facts.architecture, facts.accelerators, facts.memory_bytes) == (
        "aarch64",
        ("ethos-u55-128",),
        4096,
    )
    assert facts.overridden == ("accelerators", "architecture", "memory_bytes")


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ((), ()),
        (("dev/nvidia0",), ("cuda",)),
        (("dev/nvhost-gpu",), ("cuda",)),
        (("dev/nvhost-ctrl",), ("cuda",)),
        (("dev/nvgpu/igpu0/ctrl",), ("cuda",)),
        (("proc/driver/nvidia/gpus/0000:01:00.0/information",), ("cuda",)),
        (("proc/driver/nvidia/version", "proc/driver/nvidia/gpus/"), ()),
        (("etc/nv_tegra_release",), ()),
        (("dev/ethosu0",), ()),
    ],
)
def test_accelerators_are_what_drivers_show(
    tmp_path: Path, present: tuple[str, ...], found: tuple[str, ...]
) -> None:
    for name in present:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.touch()
    assert accelerators(tmp_path) == found


def test_accelerators_are_among_the_facts(tmp_path: Path) -> None:
    assert measure(settings(tmp_path), RUNTIMES, "").accelerators == accelerators()


def test_only_runtimes_that_are_chosen_and_installed_are_offered(tmp_path: Path) -> None:
    facts = measure(settings(tmp_path, 'runtimes = ["openvino", "litert"]\n'), RUNTIMES, "")
    assert facts.runtimes == {"openvino": "2025.2"}


def test_free_space_is_that_of_what_exists(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "not" / "yet") == free_disk(tmp_path)


def test_small_changes_of_free_space_are_no_news(tmp_path: Path) -> None:
    facts = replace(measure(settings(tmp_path), RUNTIMES, ""), free_disk_bytes=10 << 26)
    assert same(facts, replace(facts, free_disk_bytes=(10 << 26) + 5))
    assert not same(facts, replace(facts, free_disk_bytes=12 << 26))
    assert not same(facts, replace(facts, runtimes={}))
