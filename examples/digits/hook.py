"""A training hook for digits-1.1: how the model is loaded and how it is fine-tuned
(docs/guides/training-hooks.md).

Runs in the isolated environment `torch`. `fleetctl build prune --hook examples/digits/hook.py ...` calls it.
"""

# pyright: reportMissingImports=false
# The interpreter that type checks this has no torch.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
INPUTS, OUTPUTS = ("image",), ("logits",)
NIGHT = 0.35  # share of inverted images: the model is for day and night


class Network(nn.Module):  # type: ignore[misc]  # torch ships its types, but is not installed here
    """The ONNX graph as torch modules, with its weights: what digits-1.1 needs and no more."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        weights = {
            item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
            for item in model.graph.initializer
        }
        self.steps: list[tuple[str, str, list[str], str]] = []  # operator, module, inputs, output
        for index, node in enumerate(model.graph.node):
            given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            name = f"{node.op_type.lower()}{index}"
            if node.op_type == "Conv":
                weight = weights[node.input[1]]
                out, inside, *kernel = weight.shape
                made: nn.Module = nn.Conv2d(
                    inside * given["group"],
                    out,
                    kernel,
                    given["strides"],
                    given["pads"][:2],
                    groups=given["group"],
                )
            elif node.op_type == "Gemm":
                weight = weights[node.input[1]]
                made = nn.Linear(weight.shape[1], weight.shape[0])
            else:
                self.steps.append(
                    (node.op_type, "", list(node.input[: 2 if node.op_type == "Add" else 1]), node.output[0])
                )
                continue
            with torch.no_grad():
                made.weight.copy_(weight)
                made.bias.copy_(weights[node.input[2]])
            self.add_module(name, made)
            self.steps.append((node.op_type, name, [node.input[0]], node.output[0]))
        self.source, self.target = model.graph.input[0].name, model.graph.output[0].name

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10] of images [n, 1, 32, 32], 0 to 1."""
        values = {self.source: image}
        for operator, module, inputs, output in self.steps:
            value = values[inputs[0]]
            if module:
                value = getattr(self, module)(value)
            elif operator == "Clip":
                value = functional.relu6(value)
            elif operator == "Add":
                value = value + values[inputs[1]]
            elif operator == "GlobalAveragePool":
                value = value.mean((2, 3), keepdim=True)
            elif operator == "Flatten":
                value = value.flatten(1)
            else:
                raise NotImplementedError(operator)
            values[output] = value
        return values[self.target]


def load() -> nn.Module:
    """The trained model."""
    return Network(onnx.load(str(HERE / "digits-1.1.onnx")))


def example_input() -> torch.Tensor:
    """One sample."""
    return torch.zeros(1, 1, 32, 32)


def finetune(model: nn.Module, epochs: int, teacher: nn.Module | None = None) -> nn.Module:
    """Train on; with a teacher, on its answers too (distillation: Hinton et al., arXiv 1503.02531)."""
    with np.load(HERE / "train.npz", allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays["images"]).float() / 255
        labels = torch.from_numpy(arrays["labels"])
    batch, heat = 64, 2.0
    steps = len(images) // batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=max(1, epochs * steps), pct_start=0.2
    )
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            shown = augmented(images[rows])
            answer = model(shown)
            loss = functional.cross_entropy(answer, labels[rows], label_smoothing=0.05)
            if teacher is not None:
                with torch.no_grad():
                    wanted = functional.softmax(teacher(shown) / heat, dim=1)
                told = functional.log_softmax(answer / heat, dim=1)
                loss = 0.5 * loss + 0.5 * heat**2 * functional.kl_div(told, wanted, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Slightly shifted, turned, scaled and noisy; some of them by night."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * 0.21
    scale = 1 + (torch.rand(count) * 2 - 1) * 0.12
    shift = (torch.rand(count, 2) * 2 - 1) * 0.19
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    turned = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(turned, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False)
    images = (images + torch.randn(images.shape) * 0.06).clamp(0, 1)
    night = (torch.rand(count, 1, 1, 1) < NIGHT).float()
    return night * (1 - images) + (1 - night) * images
