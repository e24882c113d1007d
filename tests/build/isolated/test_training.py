"""Training hooks, with --isolated: the example's hook prunes digits-1.1 for real; bad hooks are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from modelfleet_build.progress import ProgressEvent
from modelfleet_build.training.evidence import Verdict
from modelfleet_build.training.request import PruneRequest
from modelfleet_build.training.run import prune, read_report
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

from ..conftest import DIGITS
from .conftest import HOOK, Torch

pytestmark = pytest.mark.slow

GOOD = """
import torch
from torch import nn

def load():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 28 *
        28, 10)
    )

def example_input():
    return torch.zeros(1, 1, 32, 32)

def finetune(model, epochs, teacher=None):
    return model
"""

BAD: dict[str, tuple[str, str]] = {
    "syntax": ("def load(:", "the hook cannot be imported: SyntaxError"),
    "lacks": ("del finetune", "the hook defines no finetune"),
    "no module": ("def load(): return 7", "`load` returned a int"),
    "forgets": ("def finetune(model, epochs, teacher=None): pass", "`finetune` returned a NoneType"),
    "two": ("def example_input(): return torch.zeros(2, 1, 32, 32)", "no float32 tensor with one sample"),
    "names": ("OUTPUTS = ('a', 'b')", "has 1 input and 1 outputs; INPUTS and OUTPUTS name"),
    "keeps nothing": ("def keep(model): return []", "pruning changed the shape of the outputs"),
}


@pytest.fixture
def request_of(torch: Torch, tmp_path: Path) -> PruneRequest:
    return PruneRequest(
        hook=HOOK,
        validation=DIGITS / "validation.npz",
        output=tmp_path / "out" / "pruned",
        environments=torch.root,
        epochs=1,
        control=False,
    )


def test_the_examples_hook_prunes_and_says_that_one_epoch_is_too_few(
    request_of: PruneRequest,
) -> None:
    events: list[ProgressEvent] = []
    report = prune(request_of, events.append, SystemClock())
    out = request_of.output
    assert sorted(path.name for path in out.iterdir()) == ["model.onnx", "model.pt2", "report.json"]
    assert [path.name for path in out.parent.iterdir()] == ["pruned"]
    assert read_report(out) == report
    parent, pruned, result = report.models
    assert [item.name for item in report.models] == ["parent", "pruned", "result"]
    assert parent.value == pytest.approx(0.99), "the hook's network is digits-1.1"
    assert 0.3 < result.macs / parent.macs < 0.6
    assert (pruned.macs, pruned.parameters) == (result.macs, result.parameters)
    assert pruned.against_parent is not None
    assert pruned.against_parent.verdict is Verdict.WORSE, "pruning alone is useless"
    assert result.value > pruned.value
    assert (report.against_parent, report.against_control) == (Verdict.WORSE, None)
    assert events[-1].fraction == 1.0
    model = onnx.load(out / "model.onnx")
    assert model.opset_import[0].version == 17
    channels = [tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert all(count % 8 == 0 for count in channels)
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    for samples in (1, 3):
        (answer,) = session.run(["logits"], {"image": np.zeros((samples, 1, 32, 32), np.float32)})
        assert np.asarray(answer).shape == (samples, 10)


def test_a_seed_gives_the_same_model_again(torch: Torch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        torch.train(tmp_path / name, seeds=[3], distil=True)
    one, two = (onnx.load(tmp_path / name / "after-3.onnx") for name in ("one", "two"))
    assert one.graph.initializer == two.graph.initializer


@pytest.mark.parametrize("kind", BAD)
def test_hooks_that_break_their_contract(torch: Torch, tmp_path: Path, kind: str) -> None:
    code, reason = BAD[kind]
    hook = tmp_path / "hook.py"
    hook.write_text(GOOD + code + "\n")
    with pytest.raises(CallerError) as caught:
        torch.train(tmp_path / "out", hook=str(hook), seeds=[0], round_to=1)
    assert caught.value.code is Code.HOOK_INVALID
    assert reason in caught.value.happened


FAILS = {
    "raises": (
        "def finetune(*_, **__): raise OSError('no data')",
        WorldError,
        Code.HOOK_FAILED,
        "OSError: no data",
    ),
    "other tensors": (
        "def finetune(*_, **__): return nn.Sequential(nn.Flatten(), nn.Linear(1024, 7))",
        CallerError,
        Code.HOOK_INVALID,
        "takes or gives other tensors than the parent",
    ),
}


@pytest.mark.parametrize("how", FAILS)
def test_a_run_that_fails_leaves_nothing(request_of: PruneRequest, tmp_path: Path, how: str) -> None:
    code, kind, error, reason = FAILS[how]
    hook = tmp_path / "hook.py"
    hook.write_text(f"{GOOD}\n{code}\n")
    with pytest.raises(kind) as caught:
        prune(replace(request_of, hook=hook), lambda event: None, SystemClock())
    assert (caught.value.code, reason in caught.value.happened) == (error, True), caught.value
    assert list(request_of.output.parent.iterdir()) == []
