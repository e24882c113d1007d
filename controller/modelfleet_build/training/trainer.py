"""Runs `scripts/train.py`, which runs the hook, in the isolated environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.assemble import Workspace
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import IsolatedJob, Job
from modelfleet_build.progress import Meter, Step
from modelfleet_build.search import Knobs
from modelfleet_build.training.request import PruneRequest
from modelfleet_build.training.space import Declared
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.wire import codec


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train.

    Attributes:
        ratio: Share of the channels to prune.
        seeds: A run for each.
        control: Train the unpruned parent alike.
        knobs: Given to the hook's `load`; none = the parent itself is pruned.
        bare: Make the result alone, not what it is compared with.
    """

    ratio: float
    seeds: tuple[int, ...]
    control: bool
    knobs: Knobs
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What torch-pruning counts, for one sample."""

    macs: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What `scripts/train.py` answers."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    models: dict[str, Counted]
    space: dict[str, Declared]


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains by the hook of a request.

    Attributes:
        request: Names the hook and what it gets.
        space: Where files go.
        python: Interpreter of the environment.
        clock, meter: For deadline and progress.
        deadline: Monotonic seconds; no training goes on beyond it.
    """

    request: PruneRequest
    space: Workspace
    python: Path
    clock: Clock
    meter: Meter
    deadline: float

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - self.clock.monotonic()

    def train(self, plan: Plan) -> tuple[Trained, Path]:
        """Run the hook; returns what was made and the folder with `NAME.onnx` and `NAME.pt2` of each.

        Raises:
            CallerError: MF-1477.
            WorldError: MF-1478; others of `child.runner`.
        """
        request, name = self.request, self.request.hook.name
        folder, work = self.space.fresh("models"), self.space.fresh("training")
        settings: dict[str, object] = {
            "hook": str(request.hook.absolute()),
            "folder": str(folder),
            "ratio": plan.ratio,
            "round_to": request.round_to,
            "epochs": request.epochs,
            "distil": request.distil,
            "control": plan.control,
            "seeds": list(plan.seeds),
            "knobs": plan.knobs,
            "bare": plan.bare,
        }
        job = IsolatedJob(str(self.python), "train.py", settings, str(work / "isolated"), request.threads)
        try:
            result = runner.run(
                Job(folder=str(work), data_limit_bytes=0, nice=request.nice, isolated=job),
                runner.Allowance(max(1.0, self.left()), request.memory_bytes),
                self.clock,
                lambda text: self.meter.going_on(Step.CONVERT, name, text),
            )
        except WorldError as error:
            if error.code is not Code.CONVERSION_FAILED:
                raise
            raise WorldError(
                Code.HOOK_FAILED,
                error.happened,
                expected="a hook that trains and a model that torch can prune and export",
                todo="try the hook's functions alone; docs/guides/training-hooks.md says what each has to do",
            ) from error
        assert result.isolated is not None
        return codec.decode(codec.encode(result.isolated), Trained, what="the training's result"), folder
