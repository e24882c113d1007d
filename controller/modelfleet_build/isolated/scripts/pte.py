"""Makes an ExecuTorch program of a torch.export program, with XNNPACK, in fp32 or int8.

Runs in the isolated environment `torch`.
"""

# pyright: reportMissingImports=false
# The interpreter that type checks us has no torch.

import warnings
from collections.abc import Callable
from typing import Any

from start import Refused

warnings.filterwarnings("ignore")


def run(job: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Write `job["target"]`.

    Args:
        job: `companion`: the `.pt2`; `inputs`, `outputs`: shapes for one sample, batch dimension included;
            `int8`, `per_channel`; `calibration`: `.npz` with `inputs`, for int8; `target`; `threads`.
        tell: Takes progress.

    Returns:
        `delegated`: operators that XNNPACK runs; `portable`: names of those left to portable kernels.
    """
    import torch

    torch.manual_seed(0)
    program = _loaded(job["companion"])
    examples = tuple(torch.zeros(shape) for shape in job["inputs"])
    exported = _fixed(program, examples, job)
    if job["int8"]:
        exported = _quantised(exported, examples, job, tell)
    tell("lowering to XNNPACK")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    portable = _portable(lowered)
    buffer = lowered.to_executorch().buffer
    with open(job["target"], "wb") as file:
        file.write(buffer)
    return {"portable": portable}


def _loaded(path: str) -> Any:
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:
        raise Refused(
            "companion",
            f"the companion is not a torch.export program: {type(error).__name__}: {str(error)[:200]}",
            "a file written by torch.export.save, with a torch that is not newer than the environment's",
            "write it anew: torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2')",
        ) from error


def _fixed(program: Any, examples: tuple[Any, ...], job: dict[str, Any]) -> Any:
    """The same program for exactly one sample."""
    import torch

    try:
        fixed = torch.export.export(program.module(), examples)
        answers = fixed.module()(*examples)
    except Exception as error:
        raise Refused(
            "companion",
            f"the companion does not take one sample of the shapes {job['inputs']}: {str(error)[:200]}",
            "a program of the same model, exported for one sample or with a dynamic batch dimension",
            "export it with an example of one sample",
        ) from error
    answers = [answers] if torch.is_tensor(answers) else list(answers)
    found = [list(answer.shape) for answer in answers]
    if found != job["outputs"] or any(answer.dtype != torch.float32 for answer in answers):
        raise Refused(
            "companion",
            f"the companion gives outputs of the shapes {found}",
            f"float32 {job['outputs']}, like the ONNX model, in the same order",
            "export both from the same model",
        )
    return fixed


def _quantised(
    exported: Any, examples: tuple[Any, ...], job: dict[str, Any], tell: Callable[[str], None]
) -> Any:
    import numpy as np
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=job["per_channel"]))
    prepared = prepare_pt2e(exported.module(), quantizer)
    with np.load(job["calibration"], allow_pickle=False) as arrays:
        samples = arrays["inputs"]
    tell(f"calibrating on {len(samples)} samples")
    with torch.no_grad():
        for row in range(len(samples)):
            prepared(torch.from_numpy(samples[row : row + 1]))
    return torch.export.export(convert_pt2e(prepared), examples)


def _portable(lowered: Any) -> list[str]:
    """Operators that no delegate runs, by name, sorted."""
    found = set()
    for node in lowered.exported_program().graph.nodes:
        if node.op == "call_function":
            name = str(getattr(node.target, "__name__", node.target))
            if "delegate" not in name and name != "getitem":
                found.add(name)
    return sorted(found)
