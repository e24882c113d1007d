"""Every shipped class for classifier, detector and segmenter, built for real; writes
docs/reference/variants.md.

`python -m bench.variants_table [FOLDER] [--task TASK] [--to FILE] [--environments DIR]`; FOLDER holds the
example models of all three tasks, by default beside the repository. With a folder for isolated environments
ExecuTorch's variants are built too (gigabytes the first time).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.isolated.environments import Environments
from modelfleet_build.isolated.tools import TORCH
from modelfleet_build.pipeline import build
from modelfleet_build.progress import Happening, ProgressEvent
from modelfleet_build.report import BuildReport
from modelfleet_build.request import BuildRequest
from modelfleet_core.clock import SystemClock
from modelfleet_core.errors import ModelfleetError
from modelfleet_core.release.manifest import Task
from modelfleet_core.release.shipped_classes import SHIPPED

from bench._variants_page import page

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT.parent / "shared" / "models"
PAGE = ROOT / "docs" / "reference" / "variants.md"


@dataclass(frozen=True, slots=True)
class Case:
    """One model with its data, by their places in the folder; a model beside it as `.pt2` goes along."""

    task: Task
    name: str
    version: str
    model: str
    validation: str
    calibration: str
    golden: str | None


CASES = (
    Case(
        Task.CLASSIFICATION,
        "digits",
        "1.1",
        "classification/digits-1.1.onnx",
        "classification/validation.npz",
        "classification/calibration.npz",
        "classification/golden.npz",
    ),
    Case(
        Task.DETECTION,
        "scenes",
        "1.1",
        "detection/scenes-1.1.onnx",
        "detection/validation.npz",
        "detection/calibration.npz",
        "detection/golden.npz",
    ),
    # The scenes of the detector are other images than these validation scenes' for calibration only.
    Case(
        Task.SEGMENTATION,
        "masks",
        "1.0",
        "segmentation/masks-1.0.onnx",
        "segmentation/validation.npz",
        "detection/calibration.npz",
        None,
    ),
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where models are, and what earlier builds left; None = nothing."""

    models: Path
    cache: Path | None = None
    environments: Path | None = None


def companion(places: Places, model: Path, folder: Path) -> Path | None:
    """The model as torch.export program, made in the isolated environment; None without one."""
    if places.environments is None:
        return None
    python = Environments(places.environments, SystemClock()).make(TORCH, print)
    target = folder / f"{model.stem}.pt2"
    script = Path(__file__).with_name("_companion.py")
    subprocess.run([str(python), str(script), str(model), str(target)], check=True)
    return target


def request(case: Case, places: Places, folder: Path) -> BuildRequest:
    """The build of a case for every shipped class."""
    models = places.models
    model = models / case.model
    return BuildRequest(
        model=model,
        name=case.name,
        version=case.version,
        task=case.task,
        classes=tuple(item.name for item in SHIPPED),
        validation=models / case.validation,
        calibration=models / case.calibration,
        golden=models / case.golden if case.golden is not None else None,
        companion=companion(places, model, folder),
        output=folder / case.name,
        cache=places.cache,
        environments=places.environments,
    )


def table(places: Places, tasks: tuple[Task, ...]) -> str:
    """Build the cases and return the page. A case that is refused as a whole is a sentence of it."""
    reports: list[BuildReport] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case.task not in tasks:
                continue
            wanted = request(case, places, Path(folder))
            print(f"{case.task.value}: {case.name}:{case.version}", flush=True)
            try:
                report = build(wanted, _told, SystemClock()).report
            except ModelfleetError as error:
                skipped.append(f"## {case.task.value.capitalize()}\n\nNot built: {error.happened}.")
                print(f"  not built: {error.code.value}: {error.happened}")
                continue
            reports.append(report)
            print(f"  {report.outcome.value} in {report.seconds:.0f} s", flush=True)
    return page(reports, skipped)


def _told(event: ProgressEvent) -> None:
    if event.happening is Happening.REFUSED:
        print(f"  {event.subject}: {event.detail}", flush=True)


def main(arguments: tuple[str, ...] = ()) -> None:
    """Build, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.variants_table")
    parser.add_argument("models", nargs="?", type=Path, default=MODELS, help="folder of models and data")
    parser.add_argument("--task", action="append", choices=[case.task.value for case in CASES])
    parser.add_argument("--to", type=Path, default=PAGE, help="page to write")
    parser.add_argument("--cache", type=Path, help="folder of earlier conversions")
    parser.add_argument("--environments", type=Path, help="folder of isolated environments")
    given = parser.parse_args(arguments)
    if not given.models.is_dir():
        print(f"no models in {given.models}; nothing was built")
        return
    tasks = tuple(Task(name) for name in given.task or [case.task.value for case in CASES])
    places = Places(given.models, given.cache, given.environments)
    given.to.write_text(table(places, tasks), encoding="utf-8")
    print(f"wrote {given.to}")


if __name__ == "__main__":
    import sys

    main(tuple(sys.argv[1:]))
