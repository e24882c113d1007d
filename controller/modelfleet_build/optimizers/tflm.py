"""Variants for TFLite Micro: one int8 file that firmware links in, tried in the real interpreter here.

The interpreter tells two things that no other tool knows for certain: whether it has every operator, and how
much arena the network takes. The only builder module that imports `tflite_micro`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelfleet_build.optimizers import tflite_quantising as tflite
from modelfleet_build.port import ConversionTask, Converted, Recipe, StandIn, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_runtimes.tflm import arena_room

_TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")
_LACKS = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_WHY = (
    "the file itself in the TFLite Micro interpreter with its reference kernels on this machine, at a time "
    "that says nothing of a microcontroller"
)
_NOTE = (
    "arena measured with the reference kernels on a 64-bit machine; optimised kernels may take more for "
    "scratch buffers, 32-bit pointers take less"
)


@dataclass(frozen=True, slots=True)
class TflmOptimizer:
    """The plug-in `tflm`."""

    name: str = "tflm"
    runtime: str = "tflm"
    packages: tuple[str, ...] = ("tflite-micro", *tflite.PACKAGES)
    recipes: tuple[Recipe, ...] = (tflite.INT8, tflite.FP32)
    float_recipe: str | None = None
    options: tuple[str, ...] = ()

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return tflite.alternatives(recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        made = tflite.make_tflite(task, tell)
        tell("running it in the TFLite Micro interpreter")
        arena = arena_bytes(made, task.folder.parent)
        (task.folder / tflite.ENTRY).write_bytes(made.data)
        return Converted(
            entry=tflite.ENTRY,
            contract=made.contract,
            notes=(_NOTE,),
            stand_in=StandIn("tflm", tflite.ENTRY, made.contract, _WHY, shipped=True),
            arena_bytes=arena,
        )


def arena_bytes(made: tflite.TfliteVariant, scratch: Path) -> int:
    """Arena that a file takes, after one inference on zeros.

    Args:
        made: The file.
        scratch: A folder for what the interpreter prints.

    Raises:
        CallerError: MF-1431, TFLite Micro lacks an operator or one of its forms.
        WorldError: MF-1432, it does not tell the arena.
    """
    from tflite_micro.python.tflite_micro import runtime

    with _stderr_in(scratch) as said:
        try:
            interpreter = runtime.Interpreter.from_bytes(made.data, arena_size=arena_room(made.file))
            _run_once(interpreter, made)
        except (RuntimeError, ValueError) as error:
            raise _lacking(said().decode("utf-8", "replace"), error) from error
        interpreter.print_allocations()
        found = _TOTAL.search(said())
    if found is None:
        raise WorldError(
            Code.CONVERSION_FAILED,
            "TFLite Micro does not tell the arena that the model takes",
            expected='a line "Arena allocation total N bytes"',
            todo="install a version of tflite-micro that Modelfleet was tested with",
        )
    return int(found[1])


def _run_once(interpreter: Any, made: tflite.TfliteVariant) -> None:
    for index in range(len(made.file.inputs)):
        details = interpreter.get_input_details(index)
        interpreter.set_input(np.zeros(details["shape"], details["dtype"]), index)
    interpreter.invoke()


@contextmanager
def _stderr_in(folder: Path) -> Iterator[Any]:
    """Catch what the C++ library writes to the process's standard error; gives a way to read it so far.

    The file descriptor is the process's own: for conversions, which have a process to themselves.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile(dir=folder) as caught:
        os.dup2(caught.fileno(), 2)

        def said() -> bytes:
            return os.pread(caught.fileno(), 1024**2, 0)

        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _lacking(said: str, error: Exception) -> CallerError:
    lacks = _LACKS.search(said)
    told = " ".join(said.split())[-300:] or str(error)
    return CallerError(
        Code.OPERATOR_UNSUPPORTED,
        f"TFLite Micro has no operator {lacks[1]}" if lacks else f"TFLite Micro refuses the model: {told}",
        expected="operators that TFLite Micro has, in forms that it has",
        todo="leave this class out, or replace the operator in the model",
    )


plugin = TflmOptimizer()
