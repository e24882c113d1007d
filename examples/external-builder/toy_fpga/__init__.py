"""Teaches the builder a compiler for a toy FPGA: this object is all that a vendor writes."""

import sys
from pathlib import Path

from modelfleet_build.optimizers.external import ExternalBuilder
from modelfleet_build.port import Recipe
from modelfleet_core.release.manifest import Precision

# A vendor's compiler would be a program of its own: ("/opt/vendor/bin/compile",).
_COMPILER = (sys.executable, "-P", str(Path(__file__).with_name("compiler.py")))

plugin = ExternalBuilder(
    name="toy-fpga",
    runtime="toy-fpga",
    command=_COMPILER,
    version_command=(*_COMPILER, "--version"),
    packages=("modelfleet-toy-fpga",),
    recipes=(Recipe("int8", Precision.INT8, {"weights": "int8 per channel", "activations": "float32"}),),
    options=("lanes",),
    device_options=("lanes",),
)
