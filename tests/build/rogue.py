"""Optimizer plug-ins that misbehave, for the tests of the builder. Children import them by name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from modelfleet_build.optimizers.onnxruntime import OnnxRuntimeOptimizer
from modelfleet_build.port import ConversionTask, Converted, Recipe, Tell
from modelfleet_core.release.manifest import Precision


@dataclass(frozen=True, slots=True)
class Rogue:
    """Makes good fp32 variants for onnxruntime and does `deed` instead of int8."""

    deed: str
    name: str = "rogue"
    runtime: str = "onnxruntime"
    packages: tuple[str, ...] = ("onnxruntime",)

    float_recipe: str | None = "fp32"
    options: tuple[str, ...] = ()

    recipes: tuple[Recipe, ...] = (Recipe("fp32", Precision.FP32), Recipe("int8", Precision.INT8))

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        return ()

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        if task.recipe.precision is not Precision.INT8:
            done = OnnxRuntimeOptimizer().convert(task, tell)
            if self.deed == "bend":
                _shuffle_classes(task.folder / done.entry)
            return done
        tell(f"about to {self.deed}")
        if self.deed == "hang":
            # The grandchild must not outlive the conversion either.
            sleeper = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
            tell(f"grandchild {sleeper.pid}")
            threading.Event().wait()
        elif self.deed == "eat":
            held = []
            while True:
                held.append(b"\x01" * (16 << 20))
        elif self.deed == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.deed == "exit":
            print("the converter says goodbye", flush=True)
            os._exit(7)
        elif self.deed == "raise":
            raise ValueError("the moon is in the wrong quarter")
        elif self.deed == "fill":
            raise OSError(errno.ENOSPC, "No space left on device")
        elif self.deed == "spoil":
            given = Recipe("fp32", Precision.FP32)
            done = OnnxRuntimeOptimizer().convert(replace(task, recipe=given), tell)
            _shuffle_classes(task.folder / done.entry)
            return done
        elif self.deed == "tell":
            own = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True)
            for line in own.stdout.splitlines():
                tell(line)
            raise ValueError("enough")
        raise AssertionError(self.deed)


def _shuffle_classes(path: os.PathLike[str]) -> None:
    """Roll the last weights by one row, so that every decision is another one."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    head = next(node for node in model.graph.node if node.op_type == "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name in head.input[1:]:
            rolled = np.roll(numpy_helper.to_array(tensor), 1, axis=0)
            tensor.CopyFrom(numpy_helper.from_array(rolled, tensor.name))
    onnx.save(model, path)


hang = Rogue("hang")
eat = Rogue("eat")
crash = Rogue("crash")
leave = Rogue("exit")
throw = Rogue("raise")
fill = Rogue("fill")
spoil = Rogue("spoil")
gossip = Rogue("tell")
bend = Rogue("bend")
lacking = Rogue("lack", runtime="lacking", packages=("no-such-distribution",))
