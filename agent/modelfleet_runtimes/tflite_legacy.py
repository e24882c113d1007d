"""tflite-runtime 2.14, the last of its kind: for old ARM images where LiteRT has no wheel. Python 3.11, numpy
1.

The only importer of `tflite_runtime`. What it refuses: files with per-channel int8 weights in a fully
connected operator whose activations are float (dynamic range). This runtime answers such a file with a
constant, without an error; every other form was measured right (ADR 0004).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from .plugin import Opening, Plugin

if TYPE_CHECKING:
    from .session import Engine
    from .tflite_file import TfliteFile


@dataclass(frozen=True, slots=True)
class TfliteLegacy(Plugin):
    """The plug-in `tflite-legacy`."""

    name: str = "tflite-legacy"
    package: str = "tflite-runtime"
    extra: str = "tflite-legacy"
    formats: tuple[str, ...] = (".tflite",)

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`.

        Raises:
            WorldError: MF-4058, the file has a form that this runtime answers with garbage.
        """
        from .tflite_engine import SignatureEngine
        from .tflite_file import read_tflite

        with self.loading(opening.path):
            # Before the library is looked for: a wrong file is wrong everywhere.
            output = garbage(read_tflite(opening.path.read_bytes()))
        if output is not None:
            raise WorldError(
                Code.VARIANT_GARBAGE,
                f"{opening.path.name} has a fully connected operator {output!r} with per-channel int8 "
                f"weights and float activations, which {self.package} answers with garbage",
                expected="fp32, or int8 in weights and activations",
                todo="build the class with the optimizer tflite-legacy; LiteRT runs this file correctly",
            )
        with self.importing():
            from tflite_runtime.interpreter import Interpreter  # pyright: ignore[reportMissingImports]
        with self.loading(opening.path):
            return SignatureEngine(Interpreter(model_path=str(opening.path), num_threads=opening.threads))


def garbage(file: TfliteFile) -> str | None:
    """Output of the first operator that tflite-runtime computes wrongly without an error; None without.

    Raises:
        NotTflite: A fully connected operator lacks its input, its weights or its output.
    """
    from .tflite_file import FLOAT32, FULLY_CONNECTED, INT8, NotTflite

    for operator in file.operators:
        if operator.code != FULLY_CONNECTED:
            continue
        if (
            len(operator.inputs) < 2
            or not operator.outputs
            or min(*operator.inputs[:2], *operator.outputs) < 0
        ):
            raise NotTflite("a fully connected operator of it lacks its input, weights or output")
        activations, weights = (file.tensors[index] for index in operator.inputs[:2])
        if activations.kind == FLOAT32 and weights.kind == INT8 and len(weights.scales) > 1:
            return file.tensors[operator.outputs[0]].name
    return None


plugin = TfliteLegacy()
