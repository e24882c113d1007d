"""Training hooks, with --isolated: the example's hook prunes digits-1.1 for real; bad hooks are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from modelfleet_build.progress import ProgressEvent, text
from modelfleet_build.request import Objective
from modelfleet_build.training.evidence import Verdict
from modelfleet_build.training.request import HookSearch, PruneRequest
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


VARIED = f"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional

SPACE = {{"width": (0.5, 1.0), "resolution": [16, 24]}}

class Net(nn.Module):
    def __init__(self, width, resolution):
        super().__init__()
        self.resolution, channels = resolution, int(32 * width)
        self.first, self.second = nn.Conv2d(1, channels, 3, 2), nn.Conv2d(channels, channels, 3, 2)
        self.norm, self.last = nn.BatchNorm2d(channels), nn.Linear(9 * channels, 10)

    def forward(self, image):
        value = functional.interpolate(image, size=(self.resolution, self.resolution), mode="bilinear")
        value = functional.relu(self.second(functional.relu(self.norm(self.first(value)))))
        return self.last(functional.interpolate(value, size=(3, 3), mode="bilinear").flatten(1))

def load(width=1.0, resolution=32):
    torch.manual_seed(0)
    return Net(width, resolution)

def example_input():
    return torch.zeros(1, 1, 32, 32)

def finetune(model, epochs, teacher=None):
    with np.load({str(DIGITS / "train.npz")!r}) as arrays:
        images = torch.from_numpy(arrays["images"]).float() / 255
        labels = torch.from_numpy(arrays["labels"])
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-2)
    for _ in range(6 * epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()
"""


def test_a_search_varies_what_the_hook_declares_and_trains_the_winner_again(
    request_of: PruneRequest, tmp_path: Path
) -> None:
    hook = tmp_path / "hook.py"
    hook.write_text(VARIED)
    wanted = HookSearch(
        tries=2,
        device_class="x86-onnxruntime",
        objective=Objective.SIZE,
        calibration=DIGITS / "calibration.npz",
    )
    events: list[ProgressEvent] = []
    report = prune(replace(request_of, hook=hook, search=wanted), events.append, SystemClock())
    assert read_report(request_of.output) == report
    assert [path.name for path in request_of.output.parent.iterdir()] == ["pruned"]
    search = report.search
    assert search is not None
    assert (search.reference, search.asked, len(search.tries)) == ("fp32", 2, 2)
    assert search.tries[0].knobs != search.tries[1].knobs
    for item in search.tries:
        assert set(item.knobs) == {"ratio", "width", "resolution"}
        assert 0.5 <= float(item.knobs["width"]) <= 1
        assert item.knobs["resolution"] in (16, 24)
        assert item.within, item.reason
        assert item.variant != search.reference, "the smallest of its variants is not the fp32 one"
        assert item.measurements is not None
        assert item.cost == item.measurements.size_bytes
        assert item.measurements.control_ratio is not None
        assert item.measurements.value > 0.25 + item.measurements.parent_value, "it was trained"
    best = search.best
    assert best.cost == min(item.cost for item in search.tries if item.cost is not None)
    assert {"ratio": report.ratio, **report.knobs} == best.knobs
    result = next(item for item in report.models if item.name == "result")
    assert (result.macs, result.parameters) == (best.macs, best.parameters)
    assert [event.fraction for event in events] == sorted(event.fraction for event in events)
    assert events[-1].fraction == 1.0
    told = [text(event) for event in events]
    assert any(line.startswith("tune try 2 of 2: done, ") for line in told)


def test_a_search_in_which_all_lose_too_much_leaves_nothing(request_of: PruneRequest) -> None:
    with pytest.raises(CallerError) as caught:
        prune(replace(request_of, search=HookSearch(tries=1)), lambda event: None, SystemClock())
    assert caught.value.code is Code.BUDGET_EXCEEDED
    assert "none of 1 tries is an answer; the nearest (ratio " in caught.value.happened
    assert list(request_of.output.parent.iterdir()) == []


VARIES: dict[str, tuple[str, str]] = {
    "no dictionary": ("SPACE = [1]", "`SPACE` is a list"),
    "no range": ("SPACE = {'width': 0.5}", "`SPACE` gives 'width' a float"),
    "flag": ("SPACE = {'width': [True, False]}", "`SPACE` gives 'width' the value True"),
    "endless": ("SPACE = {'width': (0.5, float('inf'))}", "`SPACE` gives 'width' the value inf"),
    "not taken": ("def load(): return Net(1.0, 32)", "`load` does not take what `SPACE` names"),
    "other input": (
        "def example_input(width=1.0): return torch.zeros(1, 1, 32, 32 if width == 1 else 16)",
        "with width 0.5 the input is [1, 1, 32, 16], the parent's is [1, 1, 32, 32]",
    ),
    "other outputs": (
        "def load(width=1.0): return nn.Sequential(nn.Flatten(), nn.Linear(1024, int(10 * width)))",
        "with width 0.5 the outputs are [[1, 5]], the parent's are [[1, 10]]",
    ),
    "cannot run": (
        "def load(width=1.0): return nn.Sequential(nn.Flatten(), nn.Linear(int(1024 * width), 10))",
        "with width 0.5 the model cannot take the parent's input [1, 1, 32, 32]: RuntimeError",
    ),
}


@pytest.mark.parametrize("kind", VARIES)
def test_knobs_that_break_the_contract(torch: Torch, tmp_path: Path, kind: str) -> None:
    code, reason = VARIES[kind]
    hook = tmp_path / "hook.py"
    hook.write_text(f"{VARIED}\n{code}\n")
    with pytest.raises(CallerError) as caught:
        torch.train(tmp_path / "out", hook=str(hook), seeds=[0], knobs={"width": 0.5}, bare=True)
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
