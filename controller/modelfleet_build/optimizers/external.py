"""Optimizers of others: a command that makes variants for an FPGA, a vendor's NPU, anything, over a file
contract.

A package makes an `ExternalBuilder`, names it by the entry point `modelfleet.optimizers`, and is an
optimizer like every other. The command gets `job.json` and leaves `result.json`;
docs/guides/isolated-builders.md says what stands in them. Whatever it leaves is checked: nothing unusual
reaches a release.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelfleet_build.isolated.call import environment, last
from modelfleet_build.optimizers.external_contract import ExternalJob, read_result
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.wire import codec

_VERSION_S = 60.0
_VERSION_LENGTH = 200
_TELL_LENGTH = 500


@dataclass(frozen=True, slots=True)
class ExternalBuilder:
    """An optimizer whose work is done by a command.

    Attributes:
        name: As device classes spell it.
        runtime: Runtime plug-in of the devices; it need not run on a builder (`stand_in` of the result).
        command: Program and arguments, without a shell; the path of `job.json` is added. A program without a
            folder is looked for in the system's own folders.
        version_command: Prints the version of the command's tools; its first line becomes part of the cache
            key.
        packages: The distribution that brings this object, and others whose versions can change the bytes.
        recipes: What it can make.
        float_recipe: The recipe that the others are timed against; None where a stand-in is measured.
        options: Options of device classes that the command takes.
        device_options: Those of them that the runtime on the device has to know.
        keeps_float: The command heeds `recipe.keep_float`.
        others: Recipe name -> the same recipe with other settings, see `port.Optimizer.alternatives`.
    """

    name: str
    runtime: str
    command: tuple[str, ...]
    version_command: tuple[str, ...]
    packages: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    float_recipe: str | None = None
    options: tuple[str, ...] = ()
    device_options: tuple[str, ...] = ()
    keeps_float: bool = False
    others: Mapping[str, tuple[Recipe, ...]] = field(default_factory=dict)

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {name: options[name] for name in self.device_options if name in options}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return self.others.get(recipe.name, ())

    def versions(self) -> dict[str, str]:
        """See `port.Versioned.versions`.

        Raises:
            WorldError: MF-1475, the command is not there, fails, or says nothing.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run(
                    self.version_command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    cwd=folder,
                    env=environment(Path(folder)),
                    timeout=_VERSION_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise self._failed(f"does not tell its version: {error}") from error
        said = done.stdout.decode("utf-8", "replace").strip().splitlines()
        if done.returncode or not said:
            raise self._failed(f"does not tell its version: it ended with status {done.returncode}")
        return {f"{self.name} command": said[0][:_VERSION_LENGTH]}

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`.

        Raises:
            CallerError: MF-1431, the command says that it cannot convert this model; MF-1474, a node shall
                stay in float and the command cannot do that.
            WorldError: MF-1475, the command failed; MF-1476, what it left breaks the contract.
        """
        if task.recipe.keep_float and not self.keeps_float:
            raise CallerError(
                Code.KEEP_FLOAT_UNSUPPORTED,
                f"{self.name} cannot keep single nodes in float",
                expected="a recipe without nodes that stay in float",
                todo="build this class without accuracy control",
            )
        scratch = task.folder.parent / "external"
        scratch.mkdir()
        result = scratch / "result.json"
        job = ExternalJob(
            model=str(task.model),
            inputs=task.facts.inputs,
            outputs=task.facts.outputs,
            recipe=task.recipe,
            calibration=str(task.calibration) if task.calibration is not None else None,
            companion=str(task.companion) if task.companion is not None else None,
            options=dict(task.options),
            output=str(task.folder),
            beside=str(task.beside),
            result=str(result),
        )
        (scratch / "job.json").write_bytes(codec.pretty(job))
        self._run(scratch, tell)
        return read_result(self.name, result, task)

    def _run(self, scratch: Path, tell: Tell) -> None:
        log = scratch / "stderr.txt"
        try:
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    [*self.command, str(scratch / "job.json")],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=scratch,
                    env=environment(scratch),
                )
        except OSError as error:
            raise self._failed(f"cannot be started: {error}") from error
        with process:
            assert process.stdout is not None
            while line := process.stdout.readline(_TELL_LENGTH):
                if text := line.decode("utf-8", "replace").strip():
                    tell(text)
        if process.returncode:
            raise self._failed(f"ended with status {process.returncode}{last(log)}")

    def _failed(self, what: str) -> WorldError:
        return WorldError(
            Code.EXTERNAL_FAILED,
            f"the external builder {self.name} {what}",
            expected="a command that does its work and ends with status 0",
            todo="look at the command and its installation, or leave the class out",
        )
