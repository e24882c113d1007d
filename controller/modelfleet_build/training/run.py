"""Runs a training hook: pruning and fine-tuning in the isolated environment, then measuring in ONNX Runtime.

What comes out, `model.onnx` and `model.pt2`, goes through the usual build like any other model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelfleet_build.arrays import write_inputs
from modelfleet_build.assemble import Workspace, workspace
from modelfleet_build.cache import Cache
from modelfleet_build.child import runner
from modelfleet_build.child.jobs import IsolatedJob, Job, Loadable
from modelfleet_build.datasets import Dataset, read_dataset
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.isolated.environments import Environments
from modelfleet_build.isolated.tools import TORCH
from modelfleet_build.progress import Meter, ProgressSink, Step
from modelfleet_build.request import Limits
from modelfleet_build.roles import Role
from modelfleet_build.training import evidence
from modelfleet_build.training.evidence import Difference, Flags, Verdict
from modelfleet_build.training.report import REPORT_NAME, ModelReport, PruneReport
from modelfleet_build.training.request import PruneRequest, check_request
from modelfleet_build.truth import rules_of
from modelfleet_build.variants import Answers, Material
from modelfleet_build.workshop import Workshop
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Task
from modelfleet_core.wire import codec
from modelfleet_runtimes.comparators import for_task

_RUNTIME = "onnxruntime"
_KINDS = {"before": "pruned", "after": "result", "control": "control"}
_PARENT = "parent"


@dataclass(frozen=True, slots=True)
class _Counted:
    macs: int
    parameters: int


@dataclass(frozen=True, slots=True)
class _Trained:
    """What `scripts/train.py` answers."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    models: dict[str, _Counted]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A model of the run that passed the intake."""

    facts: ModelFacts
    loadable: Loadable


def prune(request: PruneRequest, progress: ProgressSink, clock: Clock) -> PruneReport:
    """Run the hook and write `output` with `model.onnx`, `model.pt2` and `report.json`.

    Raises:
        CallerError: The request, the hook (MF-1477) or the data are refused; nothing is left behind.
        WorldError: MF-1470, there is no environment to train in; MF-1478, the hook failed; others of
            `child.runner`.
    """
    begun = clock.monotonic()
    check_request(request)
    meter = Meter(progress)
    with workspace(request.output) as space:
        environments = Environments(request.environments, clock)
        python = environments.make(TORCH, lambda text: meter.going_on(Step.CONVERT, request.hook.name, text))
        trained, folder = _train(request, space, python, clock, meter)
        limits = Limits()
        workshop = Workshop(space, limits, request.nice, Cache(space.root / "cache"), clock, meter)
        names = _in_order(trained.models)
        meter.plan(1 + len(names))
        meter.finished(Step.CONVERT, request.hook.name)
        taken = {name: _take_in(workshop, folder, name) for name in names}
        data = _validation(request, taken[_PARENT].facts)
        material = _material(space, taken[_PARENT].facts, data)
        answers = {name: _measure(workshop, name, taken, material) for name in names}
        models, right = _models(trained, answers, data, folder)
        report = _report(request, data, models, right, clock.monotonic() - begun)
        _publish(space, folder, report, request.output)
    return report


def _train(
    request: PruneRequest, space: Workspace, python: Path, clock: Clock, meter: Meter
) -> tuple[_Trained, Path]:
    name = request.hook.name
    meter.started(Step.CONVERT, name)
    folder, work = space.fresh("models"), space.fresh("training")
    settings: dict[str, object] = {
        "hook": str(request.hook.absolute()),
        "folder": str(folder),
        "ratio": request.ratio,
        "round_to": request.round_to,
        "epochs": request.epochs,
        "distil": request.distil,
        "control": request.control,
        "seeds": list(range(request.seeds)),
    }
    job = IsolatedJob(str(python), "train.py", settings, str(work / "isolated"), request.threads)
    try:
        result = runner.run(
            Job(folder=str(work), data_limit_bytes=0, nice=request.nice, isolated=job),
            runner.Allowance(request.train_s, request.memory_bytes),
            clock,
            lambda text: meter.going_on(Step.CONVERT, name, text),
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
    return codec.decode(codec.encode(result.isolated), _Trained, what="the training's result"), folder


def _in_order(names: Collection[str]) -> list[str]:
    """The parent, then every seed's models as they came into being."""
    kinds = list(_KINDS)

    def place(name: str) -> tuple[int, int]:
        kind, _, seed = name.partition("-")
        return (int(seed), kinds.index(kind)) if seed else (-1, 0)

    return sorted(names, key=place)


def _take_in(workshop: Workshop, folder: Path, name: str) -> _Taken:
    """Check a model like any that a user gives."""
    work = workshop.space.fresh(f"taken-{name}")
    model = work / "model.onnx"
    facts = workshop.take_in(folder / f"{name}.onnx", model)
    contract = float_contract(facts, layout=Layout.NCHW, batch=onnx_batch(facts))
    return _Taken(facts, Loadable(_RUNTIME, str(work), model.name, contract))


def _validation(request: PruneRequest, facts: ModelFacts) -> Dataset:
    rules = rules_of(Task.CLASSIFICATION, facts, None)  # before and after are compared by right answers
    return read_dataset(request.validation, Role.VALIDATION, facts.inputs[0], rules)


def _material(space: Workspace, facts: ModelFacts, data: Dataset) -> Material:
    validation, golden = space.root / "validation.npz", space.root / "golden.npz"
    write_inputs(validation, data.inputs)
    write_inputs(golden, data.inputs[:1])
    return Material(
        model=space.root / "none",
        facts=facts,
        calibration=None,
        calibration_digest=None,
        validation=validation,
        golden=golden,
        counts=(len(data), 1),
        data_digests=("", ""),
    )


def _measure(workshop: Workshop, name: str, taken: dict[str, _Taken], material: Material) -> Answers:
    own, parent = taken[name], taken[_PARENT]
    if own.loadable.contract.logical() != parent.loadable.contract.logical():
        raise CallerError(
            Code.HOOK_INVALID,
            f"{name} takes or gives other tensors than the parent",
            expected="a `finetune` that returns the same kind of model",
            todo="correct the hook",
        )
    workshop.meter.started(Step.MEASURE, name)
    answers = workshop.measure(name, own.loadable, None if name == _PARENT else parent.loadable, material)
    workshop.meter.finished(Step.MEASURE, name)
    return answers


def _models(
    trained: _Trained, answers: dict[str, Answers], data: Dataset, folder: Path
) -> tuple[list[ModelReport], dict[str, Flags]]:
    comparator = for_task(Task.CLASSIFICATION)
    right: dict[str, Flags] = {
        name: np.asarray(comparator.score(item.validation, data.truth) == 1.0, np.bool_)
        for name, item in answers.items()
    }
    models: list[ModelReport] = []
    for name in answers:
        counted = trained.models[name]
        kind, _, seed = name.partition("-")
        ratio = answers[name].measured.ratio
        models.append(
            ModelReport(
                name=_KINDS.get(kind, kind),
                seed=int(seed) if seed else None,
                macs=counted.macs,
                parameters=counted.parameters,
                size_bytes=(folder / f"{name}.onnx").stat().st_size,
                value=float(right[name].mean()),
                interval=evidence.wilson(int(right[name].sum()), len(data)),
                latency_ratio=ratio.median if ratio else None,
                latency_ratio_low=ratio.low if ratio else None,
                latency_ratio_high=ratio.high if ratio else None,
                against_parent=evidence.compare(right[_PARENT], right[name]) if name != _PARENT else None,
            )
        )
    return models, right


def _report(
    request: PruneRequest, data: Dataset, models: list[ModelReport], right: dict[str, Flags], seconds: float
) -> PruneReport:
    seeds = range(request.seeds)
    parent = [evidence.compare(right[_PARENT], right[f"after-{seed}"]) for seed in seeds]
    control = (
        [evidence.compare(right[f"control-{seed}"], right[f"after-{seed}"]) for seed in seeds]
        if request.control
        else []
    )
    verdict = evidence.together(parent)
    beside = evidence.together(control) if control else None
    return PruneReport(
        ratio=request.ratio,
        round_to=request.round_to,
        epochs=request.epochs,
        distil=request.distil,
        samples=len(data),
        models=tuple(models),
        against_parent=verdict,
        against_control=beside,
        seed=0,
        conclusion=conclusion(parent, verdict, beside),
        tools=TORCH.versions("torch", "torch-pruning", "onnx"),
        seconds=seconds,
    )


def conclusion(parent: list[Difference], verdict: Verdict, beside: Verdict | None) -> str:
    """What may be said of the accuracy, in one sentence, and no more."""
    first, points = parent[0], sorted(item.points for item in parent)
    change = f"{first.points:+.2f} points [{first.interval.low:+.2f} to {first.interval.high:+.2f}]"
    if len(parent) > 1:
        change = f"{points[0]:+.2f} to {points[-1]:+.2f} points over {len(parent)} seeds"
    if verdict is Verdict.NOISE:
        return f"accuracy against the parent: within noise ({change})"
    sentence = f"accuracy is {verdict.value} than the parent's ({change})"
    if verdict is Verdict.BETTER and beside is None:
        return f"{sentence}; it may come from the training alone, no control was run"
    if verdict is Verdict.BETTER and beside is not Verdict.BETTER:
        return (
            f"{sentence}; it comes from the training, not from pruning: a control trained alike is no worse"
        )
    return sentence


def _publish(space: Workspace, folder: Path, report: PruneReport, output: Path) -> None:
    for suffix in ("onnx", "pt2"):
        shutil.move(folder / f"after-{report.seed}.{suffix}", space.release / f"model.{suffix}")
    (space.release / REPORT_NAME).write_bytes(codec.pretty(report))
    os.sync()
    os.rename(space.release, output)


def read_report(folder: Path) -> PruneReport:
    """The report of an earlier run.

    Raises:
        CallerError: MF-1450.
    """
    try:
        return codec.decode((folder / REPORT_NAME).read_bytes(), PruneReport, what=REPORT_NAME)
    except (OSError, ModelfleetError) as error:
        raise CallerError(
            Code.BUILD_REPORT_UNREADABLE,
            f"there is no readable {REPORT_NAME} in {folder}",
            expected="a folder that `fleetctl build prune` wrote",
            todo="give another folder",
        ) from error
