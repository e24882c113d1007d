"""Prunes and fine-tunes a model by a user's training hook, and exports it. Runs in the environment `torch`.

Structured pruning by torch-pruning: whole channels go, with everything that depends on them (its dependency
graph), smallest weights first, so that the model becomes smaller and faster on every runtime without further
help.
"""

# pyright: reportMissingImports=false
# The interpreter that type checks us has no torch.

import copy
import importlib.util
import inspect
import math
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from start import Refused

warnings.filterwarnings("ignore")
OPSET = 17
NEEDED = ("load", "example_input", "finetune")


def run(job: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Make `parent`, `before-N` (pruned, not trained), `after-N` and, where asked, `control-N`, for every
    seed N.

    Args:
        job: `hook`: path; `folder`: to write to; `ratio`: share of channels to prune, 0 = none; `round_to`;
            `epochs`; `distil`: give the parent to `finetune` as teacher; `control`: also train the unpruned
            parent in the same way; `seeds`: list; `knobs`: given to `load`, none = the parent itself is
            pruned; `bare`: make `after-N` alone.
        tell: Takes progress.

    Returns:
        `inputs`, `outputs`: names; `models`: name -> `macs` and `parameters`; `space`: what the hook lets a
        search vary, name -> `kind` (`range`, `choices`) and `values`.
    """
    import torch

    hook = _hook(job["hook"])
    space = _space(hook)
    example = _example(hook.example_input())
    parent = _model(hook.load(), "load")
    names = _names(hook, "INPUTS", ["input"]), _names(hook, "OUTPUTS", ["output"])
    folder, knobs, bare = job["folder"], job.get("knobs") or {}, job.get("bare", False)
    models: dict[str, dict[str, int]] = {}
    if not bare:
        models["parent"] = _export(parent, example, names, os.path.join(folder, "parent"))
    for seed in job["seeds"]:
        torch.manual_seed(seed)
        model = _varied(hook, knobs, parent, example) if knobs else copy.deepcopy(parent)
        if job["ratio"] > 0:
            tell(f"seed {seed}: pruning {100 * job['ratio']:g} % of the channels")
            _prune(hook, model, example, job["ratio"], job["round_to"])
        if (job["ratio"] > 0 or knobs) and not bare:
            models[f"before-{seed}"] = _export(model, example, names, os.path.join(folder, f"before-{seed}"))
        tell(f"seed {seed}: {job['epochs']} epochs of fine-tuning")
        model = _tuned(hook, model, parent, job)
        models[f"after-{seed}"] = _export(model, example, names, os.path.join(folder, f"after-{seed}"))
        if job["control"]:
            tell(f"seed {seed}: the same for the unpruned parent, to compare with")
            torch.manual_seed(seed)
            same = _tuned(hook, copy.deepcopy(parent), parent, job)
            models[f"control-{seed}"] = _export(same, example, names, os.path.join(folder, f"control-{seed}"))
    return {"inputs": names[0], "outputs": names[1], "models": models, "space": space}


def _hook(path: str) -> Any:
    sys.path.insert(0, os.path.dirname(path))  # a hook may import its neighbours
    spec = importlib.util.spec_from_file_location("hook", path)
    if spec is None or spec.loader is None:
        raise _wrong(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _wrong(f"the hook cannot be imported: {type(error).__name__}: {str(error)[:300]}") from error
    missing = [name for name in NEEDED if not callable(getattr(module, name, None))]
    if missing:
        raise _wrong(f"the hook defines no {', '.join(missing)}")
    return module


def _model(value: Any, what: str) -> Any:
    import torch

    if not isinstance(value, torch.nn.Module):
        raise _wrong(f"`{what}` returned a {type(value).__name__}")
    return value.eval()


def _space(hook: Any) -> dict[str, dict[str, Any]]:
    """What JSON can carry of `SPACE`; whether it makes sense is judged elsewhere."""
    value = getattr(hook, "SPACE", {})
    if not isinstance(value, dict):
        raise _no_space(f"`SPACE` is a {type(value).__name__}")
    found: dict[str, dict[str, Any]] = {}
    for name, items in value.items():
        if not isinstance(name, str):
            raise _no_space(f"`SPACE` has the key {name!r}")
        if not isinstance(items, (tuple, list)):
            raise _no_space(f"`SPACE` gives {name!r} a {type(items).__name__}")
        for item in items:
            text = type(item) is str
            if not text and (type(item) not in (int, float) or not math.isfinite(item) or abs(item) > 1e15):
                raise _no_space(f"`SPACE` gives {name!r} the value {item!r}")
        found[name] = {"kind": "range" if isinstance(items, tuple) else "choices", "values": list(items)}
    return found


def _varied(hook: Any, knobs: dict[str, Any], parent: Any, example: Any) -> Any:
    """The hook's model with these knobs, which takes and gives the same tensors as the parent."""
    import torch

    told = ", ".join(f"{name} {value}" for name, value in knobs.items())
    for name in ("load", "example_input"):
        signature = inspect.signature(getattr(hook, name))
        if name == "example_input" and not signature.parameters:
            continue  # it is the same for all of them
        try:
            signature.bind(**knobs)
        except TypeError as error:
            raise _no_space(f"`{name}` does not take what `SPACE` names: {error}") from error
        if name == "example_input":
            own = list(_example(hook.example_input(**knobs)).shape)
            if own != list(example.shape):
                raise _other_tensors(f"with {told} the input is {own}, the parent's is {list(example.shape)}")
    model = _model(hook.load(**knobs), "load")
    with torch.no_grad():
        before = [list(value.shape) for value in _answers(parent, example)]
        try:
            after = [list(value.shape) for value in _answers(model, example)]
        except Exception as error:
            happened = f"with {told} the model cannot take the parent's input {list(example.shape)}"
            raise _other_tensors(f"{happened}: {type(error).__name__}: {str(error)[:200]}") from error
    if after != before:
        raise _other_tensors(f"with {told} the outputs are {after}, the parent's are {before}")
    return model


def _example(value: Any) -> Any:
    import torch

    if not torch.is_tensor(value) or value.dtype != torch.float32 or value.dim() < 2 or value.shape[0] != 1:
        raise _wrong("`example_input` returned no float32 tensor with one sample, [1, ...]")
    return value


def _names(hook: Any, constant: str, default: list[str]) -> list[str]:
    value = list(getattr(hook, constant, default))
    if not value or not all(isinstance(item, str) and item for item in value):
        raise _wrong(f"`{constant}` is {value!r}")
    return value


def _tuned(hook: Any, model: Any, parent: Any, job: dict[str, Any]) -> Any:
    teacher = copy.deepcopy(parent).eval() if job["distil"] else None
    return _model(hook.finetune(model, job["epochs"], teacher=teacher), "finetune")


def _prune(hook: Any, model: Any, example: Any, ratio: float, round_to: int) -> None:
    import torch
    import torch_pruning

    with torch.no_grad():
        before = [list(value.shape) for value in _answers(model, example)]
    keep = hook.keep(model) if hasattr(hook, "keep") else _last_layer(model, example)
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        round_to=round_to,
        ignored_layers=keep,
    )
    pruner.step()
    with torch.no_grad():
        after = [list(value.shape) for value in _answers(model, example)]
    if after != before:
        raise Refused(
            "hook",
            f"pruning changed the shape of the outputs from {before} to {after}",
            "the layers that make the outputs left alone",
            "define keep(model) in the hook: the modules whose outputs stay as wide as they are",
        )


def _last_layer(model: Any, example: Any) -> list[Any]:
    """The last layer with weights that runs: its width is that of the answer."""
    import torch

    ran: list[Any] = []
    layers = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)
    handles = [
        module.register_forward_hook(lambda module, *_: ran.append(module))
        for module in model.modules()
        if isinstance(module, layers)
    ]
    with torch.no_grad():
        model(example)
    for handle in handles:
        handle.remove()
    return ran[-1:]


def _answers(model: Any, example: Any) -> list[Any]:
    import torch

    value = model(example)
    return [value] if torch.is_tensor(value) else list(value)


def _export(model: Any, example: Any, names: tuple[list[str], list[str]], stem: str) -> dict[str, int]:
    """Write `stem.onnx` and `stem.pt2`, both with a dynamic batch dimension, and count."""
    import torch
    import torch_pruning

    inputs, outputs = names
    model = model.eval()
    found = len(_answers(model, example))
    if len(inputs) != 1 or found != len(outputs):
        raise _wrong(
            f"the model has 1 input and {found} outputs; INPUTS and OUTPUTS name {inputs} and {outputs}"
        )
    macs, parameters = torch_pruning.utils.count_ops_and_params(model, example)
    torch.onnx.export(
        model,
        (example,),
        stem + ".onnx",
        input_names=inputs,
        output_names=outputs,
        opset_version=OPSET,
        dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)},
        dynamo=False,
    )
    several = example.repeat(2, *(1,) * (example.dim() - 1))  # a size of 1 would be taken for a constant
    batch = torch.export.Dim("N", min=1, max=4096)
    torch.export.save(torch.export.export(model, (several,), dynamic_shapes=({0: batch},)), stem + ".pt2")
    return {"macs": int(macs), "parameters": int(parameters)}


def _no_space(happened: str) -> Refused:
    return Refused(
        "hook",
        happened,
        'SPACE = {"width": (0.5, 1.0), "resolution": [24, 32]}: a tuple is a range, a list has the choices; '
        "numbers or words; load(width=..., resolution=...) takes them all",
        "correct the hook; docs/guides/training-hooks.md has one",
    )


def _other_tensors(happened: str) -> Refused:
    return Refused(
        "hook",
        happened,
        "the tensors of the parent, whatever the knobs are: the input contract stays",
        "resize inside the model (forward), not outside",
    )


def _wrong(happened: str) -> Refused:
    return Refused(
        "hook",
        happened,
        "load() -> torch.nn.Module, example_input() -> tensor [1, ...], finetune(model, epochs, teacher)",
        "correct the hook; docs/guides/training-hooks.md has one",
    )
