"""Variants for Arm Ethos-U: full int8 TFLite, compiled by Vela for one configuration of the accelerator.

Class options: `accelerator` (needed), `system-config` and `memory-mode` (sections of Vela's own `vela.ini`;
its defaults without), `delegate` (the runtime's, see `modelfleet_runtimes.ethos_u`).

The compiled file runs on devices only, so the int8 file that Vela was given is what is measured: the
accelerator runs the same quantized network, only its rounding is another. What Vela says of time are its own
estimates, with the operators on the processor left out; coverage is counted from the files and never taken
from Vela's summary.
"""

from __future__ import annotations

import configparser
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from modelfleet_build.facts import ModelFacts
from modelfleet_build.optimizers import tflite_quantising as tflite
from modelfleet_build.optimizers.tflite_operators import macs, told, total_macs
from modelfleet_build.optimizers.vela_report import VelaSummary, reasons, summary
from modelfleet_build.port import ConversionTask, Converted, Recipe, StandIn, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.manifest import AcceleratorUse
from modelfleet_runtimes.tflite_file import NPU_OPERATOR, TfliteFile, read_tflite

ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
_MAX_FALLBACKS = 32
_WHY = (
    "the int8 file that was given to Vela, in LiteRT: the accelerator runs the same quantized network and "
    "rounds otherwise; a compiled file runs on devices only"
)


@dataclass(frozen=True, slots=True)
class EthosUOptimizer:
    """The plug-in `ethos-u`."""

    name: str = "ethos-u"
    runtime: str = "ethos-u"
    packages: tuple[str, ...] = ("ethos-u-vela", *tflite.PACKAGES)
    recipes: tuple[Recipe, ...] = (tflite.INT8,)
    float_recipe: str | None = None
    options: tuple[str, ...] = ("accelerator", "system-config", "memory-mode", "delegate")

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {name: options[name] for name in ("delegate",) if name in options}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return tflite.alternatives(recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        arguments = vela_arguments(task.options)
        given = tflite.make_tflite(task, tell)
        (task.beside / tflite.ENTRY).write_bytes(given.data)
        with tempfile.TemporaryDirectory(dir=task.folder.parent) as scratch:
            tell(f"compiling for {task.options['accelerator']}")
            output = _compile(task.beside / tflite.ENTRY, Path(scratch), arguments)
            compiled = _only(Path(scratch), "*_vela.tflite").read_bytes()
            estimate = summary(_only(Path(scratch), "*_summary_*.csv").read_text())
        file = read_tflite(compiled)
        _check_binding(file, given, task.facts)
        (task.folder / tflite.ENTRY).write_bytes(compiled)
        return Converted(
            entry=tflite.ENTRY,
            contract=given.contract,
            notes=_notes(estimate, task.options),
            stand_in=StandIn("litert", tflite.ENTRY, given.contract, _WHY),
            accelerator=_use(given.file, file, estimate, reasons(output)),
        )


def vela_arguments(options: Mapping[str, str]) -> list[str]:
    """Vela's arguments for class options.

    Raises:
        CallerError: MF-1425, `accelerator` is missing or not one that Vela compiles for, or a section of
            `vela.ini` does not exist or belongs to another accelerator.
    """
    accelerator = options.get("accelerator", "")
    if accelerator not in ACCELERATORS:
        raise _not_possible("accelerator", accelerator, ACCELERATORS)
    arguments = ["--accelerator-config", accelerator]
    config = configparser.ConfigParser()
    config.read_string((files("ethosu") / "config_files" / "Arm" / "vela.ini").read_text())
    family = "_".join(part.capitalize() for part in accelerator.split("-")[:2])
    known = {
        "system-config": [name for name in _sections(config, "System_Config") if name.startswith(family)],
        "memory-mode": _sections(config, "Memory_Mode"),
    }
    for option, names in known.items():
        value = options.get(option)
        if value is None:
            continue
        if value not in names:
            raise _not_possible(option, value, tuple(names))
        arguments += [f"--{option}", value]
    # No `--config`: Vela then reads the very file that the options were checked against.
    return arguments


def _sections(config: configparser.ConfigParser, kind: str) -> list[str]:
    return [name.partition(".")[2] for name in config.sections() if name.startswith(f"{kind}.")]


def _not_possible(option: str, value: str, known: tuple[str, ...]) -> CallerError:
    return CallerError(
        Code.BUILD_OPTION,
        f"the class sets the option {option} to {value!r}" if value else f"the class sets no option {option}",
        expected=f"one of {', '.join(known)}",
        todo="correct `options` of the class",
    )


def _compile(model: Path, target: Path, arguments: list[str]) -> str:
    """Run Vela in a process of its own, for it exits and prints as programs do; returns what it printed."""
    command = [sys.executable, "-P", "-m", "ethosu.vela", str(model), "--output-dir", str(target)]
    done = subprocess.run(
        [*command, *arguments, "--show-cpu-operations"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        raise _failed(
            f"ended with status {done.returncode}: {lines[-1][:300] if lines else 'it said nothing'}"
        )
    return output


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise _failed(f"left {len(found)} files {pattern}")
    return found[0]


def _check_binding(file: TfliteFile, given: tflite.TfliteVariant, facts: ModelFacts) -> None:
    if tflite.bound_contract(file, facts) != given.contract:
        raise _failed("gave the file other inputs or outputs than it was given")


def _use(
    given: TfliteFile, compiled: TfliteFile, estimate: VelaSummary, told_reasons: Mapping[str, str]
) -> AcceleratorUse:
    left = [operator for operator in compiled.operators if operator.custom != NPU_OPERATOR]
    fallbacks = []
    for operator in left:
        name = compiled.tensors[operator.outputs[0]].name
        fallbacks.append(f"{told(compiled, operator)}: {told_reasons.get(name, 'Vela gives no reason')}")
    operators, total = len(given.operators), total_macs(given)
    # Vela may split one operator into parts; more left than there were is none on the accelerator.
    return AcceleratorUse(
        operators=operators,
        operators_on=max(0, operators - len(left)),
        macs=total,
        macs_on=max(0, total - sum(macs(compiled, operator) for operator in left)),
        cycles=estimate.cycles,
        sram_bytes=estimate.sram_bytes,
        flash_bytes=estimate.flash_bytes,
        inference_us=estimate.inference_us,
        fallbacks=tuple(fallbacks[:_MAX_FALLBACKS]),
    )


def _notes(estimate: VelaSummary, options: Mapping[str, str]) -> tuple[str, ...]:
    chosen = [name for name in ("system-config", "memory-mode") if name in options]
    how = (
        "as the class says"
        if len(chosen) == 2
        else "Vela's default where the class has no option system-config or memory-mode"
    )
    notes = [
        f"compiled for system configuration {estimate.system_config}, memory mode {estimate.memory_mode} "
        f"({how})"
    ]
    if estimate.dram_bytes:
        notes.append(f"{estimate.dram_bytes} bytes of DRAM hold what is neither in SRAM nor in flash")
    return tuple(notes)


def _failed(why: str) -> WorldError:
    return WorldError(
        Code.CONVERSION_FAILED,
        f"Vela {why}",
        expected="a compiled model",
        todo="leave this class out, choose another system-config or memory-mode, or report the model",
    )


plugin = EthosUOptimizer()
