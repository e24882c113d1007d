"""What a training hook is run for, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.request import MAX_SEARCH, Objective
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

MAX_SEEDS = 10
MAX_RATIO = 0.95


@dataclass(frozen=True, slots=True)
class HookSearch:
    """What the ratio and the hook's knobs are searched for.

    Attributes:
        tries: Training runs at most.
        device_class: Whose recipes each result is built and measured by; empty = ONNX Runtime, fp32.
        objective: None = what the class says, and latency where it says nothing.
        max_drop_points: Largest loss against the float parent, in points.
        calibration: `.npz` with `images`, for int8 recipes of the class.
    """

    tries: int
    device_class: str = ""
    objective: Objective | None = None
    max_drop_points: float = 1.0
    calibration: Path | None = None


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """One run.

    Attributes:
        hook: The user's file.
        validation: `.npz` with `images` and `labels`, used neither for training nor for calibration.
        output: Folder to write; must not exist.
        environments: Folder of isolated environments.
        ratio: Share of the channels to prune, 0 = only fine-tune; a search finds its own.
        round_to: Channels that are left are a multiple of this.
        epochs: Given to the hook.
        distil: Give the parent to the hook as teacher.
        control: Train the unpruned parent in the same way, to tell what pruning did from what training did.
        seeds: How many runs; more than one tells how much chance is in it.
        train_s: Seconds for all training; a search begins no try that would leave too few for its result.
        memory_bytes: Resident memory of the training process.
        threads: Of the training process.
        nice: Added to its niceness.
        search: None = no search.
    """

    hook: Path
    validation: Path
    output: Path
    environments: Path
    ratio: float = 0.3
    round_to: int = 8
    epochs: int = 10
    distil: bool = False
    control: bool = True
    seeds: int = 1
    train_s: float = 24 * 3600.0
    memory_bytes: int = 8 * 1024**3
    threads: int = 1
    nice: int = 0
    search: HookSearch | None = None


def check_request(request: PruneRequest) -> None:
    """Refuse a request that cannot be carried out.

    Raises:
        CallerError: MF-1423; MF-1422, the output exists; MF-1477, there is no hook.
    """
    searched = request.search
    asked: tuple[tuple[str, float, float, float], ...] = (
        ("ratio", request.ratio, 0, MAX_RATIO),
        ("round_to", request.round_to, 1, 1024),
        ("epochs", request.epochs, 1, 100_000),
        ("seeds", request.seeds, 1, MAX_SEEDS),
    )
    if searched is not None:
        asked += (("search", searched.tries, 1, MAX_SEARCH), ("max-drop", searched.max_drop_points, 0, 100))
    for name, value, low, high in asked:
        if not low <= value <= high:
            raise CallerError(
                Code.BUILD_REQUEST,
                f"{name} is {value:g}",
                expected=f"{low:g} to {high:g}",
                todo="correct the option",
            )
    if request.output.exists():
        raise CallerError(
            Code.BUILD_OUTPUT_EXISTS,
            f"{request.output} exists already",
            expected="a folder that is not there yet",
            todo="choose another folder, or remove this one",
        )
    if not request.hook.is_file():
        raise CallerError(
            Code.HOOK_INVALID,
            f"there is no file {request.hook}",
            expected="a training hook",
            todo="docs/guides/training-hooks.md has one to start from",
        )
