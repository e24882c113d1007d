"""Vela's variants: options, what its summary and warnings say, and coverage counted from the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfleet_build.budget import judge_limits
from modelfleet_build.optimizers import ethos_u
from modelfleet_build.optimizers.ethos_u import ACCELERATORS, plugin, vela_arguments
from modelfleet_build.optimizers.tflite_operators import macs, operator_name, total_macs
from modelfleet_build.optimizers.vela_report import reasons, summary
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.device_class import VariantLimits
from modelfleet_core.release.manifest import AcceleratorUse, Measurements
from modelfleet_core.release.shipped_classes import SHIPPED
from modelfleet_runtimes import registry

from .edge import SOURCES, Material, converted, file_of, material_of, materials
from .graphs import model, node, weights

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

U55 = {"accelerator": "ethos-u55-128"}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Material]:
    return {item.name: item for item in materials(tmp_path_factory.mktemp("materials"))}


def use_of(material: Material, folder: Path, keep_float: tuple[str, ...] = ()) -> AcceleratorUse:
    made = converted(plugin, "int8", material, folder, options=U55, keep_float=keep_float)
    assert made.accelerator is not None
    return made.accelerator


# options


def test_every_accelerator_that_vela_knows_is_known() -> None:
    from ethosu.vela.architecture_features import Accelerator

    assert list(ACCELERATORS) == Accelerator.member_list()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "ethos-u55-32"),
        ({"accelerator": "ethos-u55-100"}, "ethos-u85-2048"),
        ({**U55, "system-config": "Ethos_U85_SYS_DRAM_Mid"}, "Ethos_U55_Deep_Embedded"),
        ({**U55, "system-config": "nonsense"}, "Ethos_U55_High_End_Embedded"),
        ({**U55, "memory-mode": "Shared"}, "Shared_Sram"),
    ],
)
def test_what_is_not_possible_is_refused_with_what_is(options: dict[str, str], told: str) -> None:
    with pytest.raises(CallerError) as caught:
        vela_arguments(options)
    assert caught.value.code is Code.BUILD_OPTION
    assert told in caught.value.expected


def test_options_become_arguments() -> None:
    options = {**U55, "system-config": "Ethos_U55_Deep_Embedded", "memory-mode": "Sram_Only"}
    assert vela_arguments(options) == [
        *("--accelerator-config", "ethos-u55-128"),
        *("--system-config", "Ethos_U55_Deep_Embedded"),
        *("--memory-mode", "Sram_Only"),
    ]


def test_system_and_memory_of_the_class_are_compiled_for(every: dict[str, Material], tmp_path: Path) -> None:
    options = {**U55, "system-config": "Ethos_U55_Deep_Embedded", "memory-mode": "Sram_Only"}
    made = converted(plugin, "int8", every["digits"], tmp_path / "v", options=options)
    assert "Ethos_U55_Deep_Embedded, memory mode Sram_Only (as the class says)" in made.notes[0]
    default = converted(plugin, "int8", every["digits"], tmp_path / "d", options=U55)
    assert "default" in default.notes[0]
    assert made.accelerator is not None
    assert default.accelerator is not None
    assert made.accelerator.inference_us != default.accelerator.inference_us


def test_the_runtime_is_told_the_delegate_alone() -> None:
    assert plugin.runtime_options({**U55, "delegate": "/usr/lib/x.so"}) == {"delegate": "/usr/lib/x.so"}
    assert plugin.runtime_options(U55) == {}


# conversion


@pytest.mark.parametrize("name", SOURCES)
def test_the_shipped_limits_are_met_by_trained_models(
    every: dict[str, Material], tmp_path: Path, name: str
) -> None:
    made = converted(plugin, "int8", every[name], tmp_path / "v", options=U55)
    use = made.accelerator
    assert use is not None
    assert (use.coverage(), use.mac_coverage()) == (1.0, 1.0)
    assert use.fallbacks == ()
    assert use.cycles is not None
    assert use.cycles > 10_000
    assert use.sram_bytes is not None
    assert use.inference_us == pytest.approx(use.cycles / 500, rel=1e-3)  # 500 MHz is Vela's default clock
    compiled = file_of(tmp_path / "v")
    assert {operator.custom for operator in compiled.operators} == {"ethos-u"}
    # What is measured is what Vela was given; a compiled file loads in no interpreter here.
    assert made.stand_in is not None
    assert made.stand_in.contract == made.contract
    session = registry.load("litert").open(tmp_path / "v-beside", made.stand_in.entry, made.stand_in.contract)
    session.run({"image": every[name].images[:1]})
    session.close()
    with pytest.raises(WorldError) as caught:
        registry.load("litert").open(tmp_path / "v", made.entry, made.contract)
    assert caught.value.code is Code.MODEL_LOAD_FAILED


def test_operators_left_to_the_processor_are_counted_and_told(
    every: dict[str, Material], tmp_path: Path
) -> None:
    whole = use_of(every["digits"], tmp_path / "whole")
    convolution = "/features/features.5/body/body.3/Conv_output_0"
    part = use_of(every["digits"], tmp_path / "part", (convolution,))
    assert part.macs == whole.macs
    assert part.macs is not None
    assert part.macs_on is not None
    # The convolution, and what turns its input to float and its output back.
    assert part.operators - part.operators_on >= 2
    given = file_of(tmp_path / "part-beside")
    lost = macs(given, given.producers()[convolution])
    assert lost > 0
    assert part.macs - part.macs_on == lost
    assert any(told.startswith(f"CONV_2D '{convolution}': ") and "Float32" in told for told in part.fallbacks)


def test_a_class_refuses_what_its_accelerator_hardly_runs(tmp_path: Path) -> None:
    graph = model(
        [node("Conv", ["x", "w"], "c"), node("Conv", ["c", "w"], "d"), node("Relu", ["d"])],
        ["N", 4, 8, 8],
        {"w": weights(4, 4, 1, 1)},
    )
    material = material_of(graph, tmp_path / "m")
    use = use_of(material, tmp_path / "v", ("c",))
    assert use.mac_coverage() == 0.5
    limits = next(item.limits for item in SHIPPED if item.name == "ethos-u55-128")
    refusal = judge_limits(measured(use), limits, ("aarch64",), "x86_64")
    assert refusal is not None
    assert refusal.code is Code.COVERAGE_TOO_LOW
    assert "Float32" in refusal.reason
    assert judge_limits(measured(use), VariantLimits(), ("aarch64",), "x86_64") is None


def measured(use: AcceleratorUse) -> Measurements:
    return Measurements("top1", 1.0, 1.0, 0.0, 1.0, 1000, 10, accelerator=use)


def test_vela_that_fails_is_told_and_leaves_nothing(
    every: dict[str, Material], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--accelerator-config", "ethos-u55-128", "--cpu-tensor-alignment", "3"]
    monkeypatch.setattr(ethos_u, "vela_arguments", lambda options: arguments)
    with pytest.raises(WorldError, match="cpu-tensor-alignment") as caught:
        converted(plugin, "int8", every["digits"], tmp_path / "v", options=U55)
    assert caught.value.code is Code.CONVERSION_FAILED
    assert not any((tmp_path / "v").iterdir())


# multiply-accumulates


def test_multiply_accumulates_by_hand(tmp_path: Path) -> None:
    graph = model(
        [
            node("Conv", ["x", "w"], "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("Conv", ["c", "d"], "e", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=6),
            node("ConvTranspose", ["e", "t"], "u", kernel_shape=[2, 2], strides=[2, 2]),
            node("GlobalAveragePool", ["u"], "g"),
            node("Flatten", ["g"], "f"),
            node("Gemm", ["f", "h"], "y"),
        ],
        [1, 2, 8, 8],
        {
            "w": weights(6, 2, 3, 3),
            "d": weights(6, 1, 3, 3),
            "t": weights(6, 5, 2, 2),
            "h": weights(5, 7),
        },
    )
    material = material_of(graph, tmp_path / "m")
    converted(plugin, "int8", material, tmp_path / "v", options=U55)
    file = file_of(tmp_path / "v-beside")
    found = {operator_name(item): macs(file, item) for item in file.operators if macs(file, item)}
    assert found == {
        "CONV_2D": 8 * 8 * 6 * 3 * 3 * 2,
        "DEPTHWISE_CONV_2D": 8 * 8 * 6 * 3 * 3,
        "TRANSPOSE_CONV": 8 * 8 * 6 * 2 * 2 * 5,
        "FULLY_CONNECTED": 5 * 7,
    }
    assert total_macs(file) == sum(found.values())


# reports


HEAD = (
    "experiment,network,system_config,memory_mode,inference_time,sram_memory_used,dram_memory_used,"
    "on_chip_flash_memory_used,off_chip_flash_memory_used,cycles_total"
)
LINE = "default,m,Sys,Mode,0.000148,13.5,1.0,2.0,44.0,73856"


def test_the_summary_is_read_by_column_names() -> None:
    read = summary(f"{HEAD}\n{LINE}\n")
    assert (read.system_config, read.memory_mode, read.cycles) == ("Sys", "Mode", 73856)
    assert (read.sram_bytes, read.dram_bytes, read.flash_bytes) == (13824, 1024, 46 * 1024)
    assert read.inference_us == pytest.approx(148)
    turned = "\n".join(",".join(reversed(line.split(","))) for line in (HEAD, LINE))
    assert summary(turned) == read


def test_no_cycles_are_no_estimate() -> None:
    read = summary(f"{HEAD}\ndefault,m,Sys,Mode,0.0,0,0,0,0,0\n")
    assert (read.cycles, read.inference_us) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        f"{HEAD}\n{LINE}\n{LINE}",
        f"{HEAD}\n{LINE}".replace("cycles_total", "cycles"),
        f"{HEAD}\n{LINE}".replace("73856", "nan"),
        f"{HEAD}\n{LINE}".replace("73856", "many"),
        f"{HEAD}\n{LINE}".replace("13.5", "-1"),
        f"{HEAD}\ndefault,m,Sys",
    ],
)
def test_a_strange_summary_is_refused(text: str) -> None:
    with pytest.raises(WorldError, match="Vela wrote") as caught:
        summary(text)
    assert caught.value.code is Code.CONVERSION_FAILED


def test_reasons_are_found_by_the_operators_output() -> None:
    output = """Warning: No configuration file specified.

Warning (supported operators) operator: TRANSPOSE_CONV, ofm: 'a 'quoted' name'
Reason: Operation has tensor with unsupported DataType Float32 (/x)
Feature-map dataTypes must be one of {"INT8"}

Warning (model semantics) operator: MEAN, ofm: '/pool'
Reason: Every constraint fails

Network summary for m
   CPU: MEAN = /pool
"""
    assert reasons(output) == {
        "a 'quoted' name": "Operation has tensor with unsupported DataType Float32 (/x) "
        'Feature-map dataTypes must be one of {"INT8"}',
        "/pool": "Every constraint fails",
    }
