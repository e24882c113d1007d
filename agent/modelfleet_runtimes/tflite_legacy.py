"""tflite-runtime 2.14, the last of its kind: for old ARM images where LiteRT has no wheel. Python 3.11, numpy
1.

The only importer of `tflite_runtime`. What it refuses: files with per-channel int8 weights in a fully
connected operator whose activations are float (dynamic range). This runtime answers such a file with a
constant, without an error; every other form was measured right (ADR 0004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.contract import InputContract

from .port import NO_OPTIONS, Session
from .registry import installed_version, missing

if TYPE_CHECKING:
    from .tflite_file import TfliteFile


@dataclass(frozen=True, slots=True)
class TfliteLegacy:
    """The plug-in `tflite-legacy`."""

    name: str = "tflite-legacy"
    package: str = "tflite-runtime"
    extra: str = "tflite-legacy"
    formats: tuple[str, ...] = (".tflite",)

    def version(self) -> str | None:
        """See `port.Runtime.version`."""
        return installed_version(self.package)

    def open(
        self,
        folder: Path,
        entry: str,
        contract: InputContract,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Session:
        """See `port.Runtime.open`.

        Raises:
            WorldError: MF-4058, the file has a form that this runtime answers with garbage.
        """
        from .session import BoundSession, entry_path, load_failed, refuse_options
        from .tflite_engine import SignatureEngine
        from .tflite_file import NotTflite, read_tflite

        path = entry_path(folder, entry, self.formats, self.name)
        refuse_options(options, (), self.name)
        try:
            # Before the library is looked for: a wrong file is wrong everywhere.
            file = read_tflite(path.read_bytes())
        except NotTflite as error:
            raise load_failed(path, self.name, error) from error
        if (output := garbage(file)) is not None:
            raise WorldError(
                Code.VARIANT_GARBAGE,
                f"{path.name} has a fully connected operator {output!r} with per-channel int8 weights and "
                f"float activations, which {self.package} answers with garbage",
                expected="fp32, or int8 in weights and activations",
                todo="build the class with the optimizer tflite-legacy; LiteRT runs this file correctly",
            )
        try:
            from tflite_runtime.interpreter import Interpreter  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing(self) from error
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            engine = SignatureEngine(interpreter)
        except Exception as error:  # the library raises ValueError and RuntimeError
            raise load_failed(path, self.name, error) from error
        return BoundSession(engine, contract, f"{self.name} with {entry}")


def garbage(file: TfliteFile) -> str | None:
    """Output of the first operator that tflite-runtime computes wrongly without an error; None without."""
    from .tflite_file import FLOAT32, FULLY_CONNECTED, INT8

    for operator in file.operators:
        if operator.code != FULLY_CONNECTED:
            continue
        activations, weights = (file.tensors[index] for index in operator.inputs[:2])
        if activations.kind == FLOAT32 and weights.kind == INT8 and len(weights.scales) > 1:
            return file.tensors[operator.outputs[0]].name
    return None


plugin = TfliteLegacy()
