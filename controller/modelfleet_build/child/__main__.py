"""The child process: `python -m modelfleet_build.child FOLDER PIPE PARENT`. A composition root of its own."""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelfleet_build.child.jobs import (
    DISK_IS_FULL,
    JOB_FILE,
    RESULT_FILE,
    Blame,
    ChildError,
    ConvertJob,
    ExplainJob,
    IntakeJob,
    IsolatedJob,
    Job,
    Line,
    Result,
)
from modelfleet_build.port import ConversionTask, Converted, Optimizer, Tell
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, IntegrityError, ModelfleetError
from modelfleet_core.wire import codec

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the job in the folder; the result file tells how it ended."""
    folder, pipe = Path(arguments[0]), int(arguments[1])
    if not _die_with(int(arguments[2])):
        return 1
    job = codec.decode((folder / JOB_FILE).read_bytes(), Job, what=JOB_FILE)
    _limit(job)

    def tell(text: str) -> None:
        os.write(pipe, codec.encode(Line(text[:500])) + b"\n")

    try:
        result = _run(job, tell)
    except ModelfleetError as error:
        result = Result(error=_as_data(error))
    except MemoryError:
        result = Result(error=_out_of_memory(job))
    except OSError as error:
        result = Result(error=_full(error) if error.errno in DISK_IS_FULL else _foreign(error))
    except Exception as error:  # whatever a converter raises becomes one readable refusal
        result = Result(error=_foreign(error))
    partial = folder / (RESULT_FILE + ".partial")
    partial.write_bytes(codec.encode(result))
    partial.rename(folder / RESULT_FILE)
    return 0


def _run(job: Job, tell: Tell) -> Result:
    if job.intake is not None:
        return Result(intake=_intake(job.intake))
    if job.convert is not None:
        return Result(convert=_convert(job.convert, tell))
    if job.measure is not None:
        from modelfleet_build.child.measure import measure

        return Result(measure=measure(job.measure, SystemClock(), tell))
    if job.sensitivity is not None:
        from modelfleet_build.optimizers.onnxruntime_sensitivity import sensitivities

        return Result(sensitivity=sensitivities(job.sensitivity, SystemClock(), tell))
    if job.isolated is not None:
        return Result(isolated=_isolated(job.isolated, tell))
    if job.explain is not None:
        return Result(explain=_explain(job.explain, tell))
    raise ValueError("the job is empty")


def _intake(job: IntakeJob) -> Any:
    from modelfleet_build.intake import take_in

    return take_in(Path(job.source), Path(job.target))


def _convert(job: ConvertJob, tell: Tell) -> Converted:
    module, _, attribute = job.optimizer.partition(":")
    optimizer: Optimizer = getattr(importlib.import_module(module), attribute)
    calibration = Path(job.calibration) if job.calibration is not None else None
    task = ConversionTask(
        model=Path(job.model),
        facts=job.facts,
        recipe=job.recipe,
        calibration=calibration,
        folder=Path(job.folder),
        beside=Path(job.beside),
        options=job.options,
        companion=Path(job.companion) if job.companion is not None else None,
        python=Path(job.python) if job.python is not None else None,
    )
    return optimizer.convert(task, tell)


def _isolated(job: IsolatedJob, tell: Tell) -> dict[str, object]:
    from modelfleet_build.isolated.call import call

    folder = Path(job.folder)
    return call(Path(job.python), job.script, job.settings, folder, dict[str, object], tell, job.threads)


def _explain(job: ExplainJob, tell: Tell) -> Any:
    from modelfleet_build.arrays import read_inputs
    from modelfleet_build.layers.compare import Compared, compare_layers
    from modelfleet_runtimes import registry

    target = job.target
    folder, runtime = Path(target.folder), None
    notes: tuple[str, ...] = ()
    if job.run:
        elsewhere = Path(target.python) if target.python is not None else None
        try:
            runtime = registry.load(target.runtime, elsewhere).open(
                folder, target.entry, target.contract, options=target.options
            )
        except ModelfleetError as error:
            # A broken variant may not even load; its layers say more than its runtime.
            notes = (f"its own runtime does not open it: {error.happened}",)
    what = Compared(Path(job.parent), folder / target.entry, target.contract, job.precision, runtime)
    found = compare_layers(what, read_inputs(Path(job.inputs)), tell)
    return replace(found, notes=(*found.notes, *notes))


def _die_with(parent: int) -> bool:
    """Have the kernel end this process with its parent; False = the parent ended before we could ask."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def _limit(job: Job) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The builder watches resident memory; this stops what allocates faster than it looks.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or job.data_limit_bytes < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (job.data_limit_bytes, hard))
    if job.nice:
        os.nice(job.nice)
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)


def _as_data(error: ModelfleetError) -> ChildError:
    blame = Blame.WORLD
    if isinstance(error, CallerError):
        blame = Blame.CALLER
    elif isinstance(error, IntegrityError):
        blame = Blame.INTEGRITY
    return ChildError(blame, error.code.value, error.happened, error.expected, error.todo)


def _out_of_memory(job: Job) -> ChildError:
    return ChildError(
        Blame.WORLD,
        Code.CONVERSION_MEMORY.value,
        "the process ran out of memory",
        f"at most {job.data_limit_bytes // 2**20} MiB",
        "raise the memory limit of the build, or build a smaller model",
    )


def _full(error: OSError) -> ChildError:
    return ChildError(
        Blame.WORLD,
        Code.DISK_FULL.value,
        f"the folder of the build cannot be written: {error.strerror}",
        "room for the variants and for what is between the steps",
        "make room, or choose another folder for the release",
    )


def _foreign(error: Exception) -> ChildError:
    return ChildError(
        Blame.WORLD,
        Code.CONVERSION_FAILED.value,
        f"{type(error).__name__}: {str(error).strip()[:400]}",
        "a conversion without errors",
        "leave the class or precision out, or report the model",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
