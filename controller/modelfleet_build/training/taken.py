"""Takes a trained model in like any that a user gives, and reads the data to compare models on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelfleet_build.arrays import write_inputs
from modelfleet_build.assemble import Workspace
from modelfleet_build.child.jobs import Loadable
from modelfleet_build.datasets import Dataset, read_dataset
from modelfleet_build.facts import ModelFacts, float_contract, onnx_batch
from modelfleet_build.parent import PARENT_RUNTIME
from modelfleet_build.roles import Role
from modelfleet_build.training.request import PruneRequest
from modelfleet_build.truth import rules_of
from modelfleet_build.variants import Material
from modelfleet_build.workshop import Workshop
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import Layout
from modelfleet_core.release.manifest import Task

PARENT = "parent"


@dataclass(frozen=True, slots=True)
class Taken:
    """A model of the run that passed the intake."""

    facts: ModelFacts
    loadable: Loadable

    @property
    def model(self) -> Path:
        """The file."""
        return Path(self.loadable.folder) / self.loadable.entry


def take_in(workshop: Workshop, folder: Path, name: str, parent: Taken | None) -> Taken:
    """Check the model `name` in `folder`.

    Raises:
        ModelfleetError: It is refused; MF-1477, it takes or gives other tensors than the parent.
    """
    work = workshop.space.fresh(f"taken-{name}")
    model = work / "model.onnx"
    facts = workshop.take_in(folder / f"{name}.onnx", model)
    contract = float_contract(facts, layout=Layout.NCHW, batch=onnx_batch(facts))
    taken = Taken(facts, Loadable(PARENT_RUNTIME, str(work), model.name, contract))
    if parent is not None and contract.logical() != parent.loadable.contract.logical():
        raise CallerError(
            Code.HOOK_INVALID,
            f"{name} takes or gives other tensors than the parent",
            expected="a `finetune` that returns the same kind of model",
            todo="correct the hook",
        )
    return taken


def validation_of(request: PruneRequest, facts: ModelFacts) -> Dataset:
    """The validation samples with their labels.

    Raises:
        CallerError: They are refused.
    """
    rules = rules_of(Task.CLASSIFICATION, facts, None)  # before and after are compared by right answers
    return read_dataset(request.validation, Role.VALIDATION, facts.inputs[0], rules)


def material_of(space: Workspace, facts: ModelFacts, data: Dataset) -> Material:
    """What a model is measured with."""
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
