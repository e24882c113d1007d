"""Runs a training hook: pruning and fine-tuning in the isolated environment, then measuring in ONNX Runtime.

What comes out, `model.onnx` and `model.pt2`, goes through the usual build like any other model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from modelfleet_build.assemble import Workspace, workspace
from modelfleet_build.cache import Cache
from modelfleet_build.datasets import Dataset
from modelfleet_build.foreign import read_bounded
from modelfleet_build.isolated.environments import Environments
from modelfleet_build.isolated.tools import TORCH
from modelfleet_build.progress import Meter, ProgressSink, Step
from modelfleet_build.request import Limits
from modelfleet_build.search import check_search
from modelfleet_build.training import evidence
from modelfleet_build.training.contest import contest_of
from modelfleet_build.training.evidence import Difference, Flags, Verdict
from modelfleet_build.training.report import (
    MAX_REPORT_BYTES,
    REPORT_NAME,
    ModelReport,
    PruneReport,
    SearchReport,
)
from modelfleet_build.training.request import PruneRequest, check_request
from modelfleet_build.training.search import search
from modelfleet_build.training.space import RATIO
from modelfleet_build.training.taken import PARENT, Taken, material_of, take_in, validation_of
from modelfleet_build.training.trainer import Plan, Trained, Trainer
from modelfleet_build.variants import Answers, Material
from modelfleet_build.workshop import Workshop
from modelfleet_core.clock import Clock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError
from modelfleet_core.release.manifest import Task
from modelfleet_core.wire import codec
from modelfleet_runtimes.comparators import for_task

_KINDS = {"before": "pruned", "after": "result", "control": "control"}
_ROUNDING = 1e-9  # of points, far below one sample


def prune(request: PruneRequest, progress: ProgressSink, clock: Clock) -> PruneReport:
    """Run the hook and write `output` with `model.onnx`, `model.pt2` and `report.json`.

    Raises:
        CallerError: The request, the hook (MF-1477) or the data are refused, or no try of a search is within
            its budget (MF-1440); nothing is left behind.
        WorldError: MF-1470, there is no environment to train in; MF-1478, the hook failed; others of
            `child.runner`.
    """
    begun = clock.monotonic()
    check_request(request)
    if request.search:
        check_search()
    wanted = request.search
    contest = contest_of(request, wanted) if wanted is not None else None
    meter = Meter(progress)
    with workspace(request.output) as space:
        environments = Environments(request.environments, clock)
        python = environments.make(TORCH, lambda text: meter.going_on(Step.CONVERT, request.hook.name, text))
        trainer = Trainer(request, space, python, clock, meter, clock.monotonic() + request.train_s)
        cache = Cache(space.root / "cache")
        workshop = Workshop(space, Limits(), request.nice, cache, clock, meter, environments)
        models = 1 + request.seeds * (2 + request.control)  # where nothing is pruned, one less for each seed
        meter.plan((1 + wanted.tries if wanted is not None else 0) + 1 + models)
        plan, searched = Plan(request.ratio, tuple(range(request.seeds)), request.control, {}), None
        if wanted is not None and contest is not None:
            searched = search(wanted, contest, trainer, workshop)
            knobs = dict(searched.best.knobs)
            plan = replace(plan, ratio=float(knobs.pop(RATIO)), knobs=knobs)
        meter.started(Step.CONVERT, request.hook.name)
        trained, folder = trainer.train(plan)
        names = _in_order(trained.models)
        meter.finished(Step.CONVERT, request.hook.name, steps=1 + models - len(names))
        parent = take_in(workshop, folder, PARENT, None)
        data = validation_of(request, parent.facts)
        material = material_of(space, parent.facts, data)
        taken = {PARENT: parent} | {
            name: take_in(workshop, folder, name, parent) for name in names if name != PARENT
        }
        answers = {name: _measure(workshop, name, taken, material) for name in names}
        measured, right = _models(trained, answers, data, folder)
        report = _report(request, plan, data, measured, right, clock.monotonic() - begun)
        if searched is not None:
            report = replace(report, search=again(searched, report.models))
        _publish(space, folder, report, request.output)
    return report


def again(searched: SearchReport, models: tuple[ModelReport, ...]) -> SearchReport:
    """The search's report, which says so where its winner, trained again, does not keep the budget."""
    drops = [
        -item.against_parent.points
        for item in models
        if item.name == _KINDS["after"] and item.against_parent is not None
    ]
    over = sum(drop > searched.max_drop_points + _ROUNDING for drop in drops)
    if not over:
        return searched
    told = f"trained again, {over} of {len(drops)} results lose more than the budget"
    return replace(searched, conclusion=f"{searched.conclusion}; {told}")


def _in_order(names: Collection[str]) -> list[str]:
    """The parent, then every seed's models as they came into being."""
    kinds = list(_KINDS)

    def place(name: str) -> tuple[int, int]:
        kind, _, seed = name.partition("-")
        return (int(seed), kinds.index(kind)) if seed else (-1, 0)

    return sorted(names, key=place)


def _measure(workshop: Workshop, name: str, taken: dict[str, Taken], material: Material) -> Answers:
    own, parent = taken[name], taken[PARENT]
    workshop.meter.started(Step.MEASURE, name)
    answers = workshop.measure(name, own.loadable, None if name == PARENT else parent.loadable, material)
    workshop.meter.finished(Step.MEASURE, name)
    return answers


def _models(
    trained: Trained, answers: dict[str, Answers], data: Dataset, folder: Path
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
                against_parent=evidence.compare(right[PARENT], right[name]) if name != PARENT else None,
            )
        )
    return models, right


def _report(
    request: PruneRequest,
    plan: Plan,
    data: Dataset,
    models: list[ModelReport],
    right: dict[str, Flags],
    seconds: float,
) -> PruneReport:
    seeds = plan.seeds
    parent = [evidence.compare(right[PARENT], right[f"after-{seed}"]) for seed in seeds]
    control = (
        [evidence.compare(right[f"control-{seed}"], right[f"after-{seed}"]) for seed in seeds]
        if request.control
        else []
    )
    verdict = evidence.together(parent)
    beside = evidence.together(control) if control else None
    return PruneReport(
        ratio=plan.ratio,
        knobs=plan.knobs,
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
        return codec.decode(
            read_bounded(folder / REPORT_NAME, MAX_REPORT_BYTES),
            PruneReport,
            what=REPORT_NAME,
            limit=MAX_REPORT_BYTES,
        )
    except (OSError, ModelfleetError) as error:
        raise CallerError(
            Code.BUILD_REPORT_UNREADABLE,
            f"there is no readable {REPORT_NAME} in {folder}",
            expected="a folder that `fleetctl build prune` wrote",
            todo="give another folder",
        ) from error
