"""ExecuTorch programs (`.pte`), in this process, or, on a builder, in another interpreter that has
executorch.

A program's tensors have no names: the contract calls them `input0`, `input1`, ... and `output0`, ...
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

from . import executorch_worker as worker
from .plugin import Opening, Plugin
from .port import Runtime
from .registry import missing

if TYPE_CHECKING:
    from .binding import PhysicalArray
    from .session import Engine

_IDENTIFIER = b"ET"
_HEADER = 8
_WORKER = Path(worker.__file__)


@dataclass(frozen=True, slots=True)
class ExecuTorch(Plugin):
    """The plug-in `executorch`; `python`: the interpreter that has the library, None = this one."""

    name: str = "executorch"
    package: str = "executorch"
    extra: str = "executorch"
    formats: tuple[str, ...] = (".pte",)
    python: Path | None = None

    def elsewhere(self, python: Path) -> Runtime:
        """See `port.Movable.elsewhere`."""
        return replace(self, python=python)

    def _lacks(self, error: ImportError) -> WorldError:
        if self.version() is None:
            return missing(self)
        # executorch does not declare torch, and cannot be imported without.
        return WorldError(
            Code.RUNTIME_MISSING,
            f"the runtime {self.name!r} cannot be imported: {error}",
            expected="executorch, and torch beside it",
            todo="pip install torch",
        )

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`."""
        from .session import load_failed

        path = opening.path
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER)
            # The file's own identifier, after the offset of the flatbuffer's root.
            if header[4:6] != _IDENTIFIER:
                raise ValueError("it is not an ExecuTorch program")
            if self.python is not None:
                return _Elsewhere(self.python, path, opening.threads)
            return _Here(worker.Program(str(path), opening.threads))
        except ImportError as error:
            raise self._lacks(error) from error
        except Exception as error:  # the library raises RuntimeError and its own classes
            raise load_failed(path, self.name, error) from error


def _named(inputs: int, outputs: int) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
    return (
        [frozenset({f"input{index}"}) for index in range(inputs)],
        [frozenset({f"output{index}"}) for index in range(outputs)],
    )


class _Here:
    """A program of this process behind the `Engine` port."""

    def __init__(self, program: Any) -> None:
        self._program: Any = program
        self._names = _named(len(program.inputs), len(program.outputs))

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        return self._names

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        answers = self._program.run([inputs[f"input{index}"] for index in range(len(inputs))])
        return {f"output{index}": value for index, value in enumerate(answers)}

    def release(self) -> None:
        self._program = None


class _Elsewhere:
    """A program in another interpreter behind the `Engine` port; only raw numbers go there and back."""

    def __init__(self, python: Path, path: Path, threads: int) -> None:
        # -I: neither our packages nor the folder of the program get into that interpreter.
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [str(python), "-I", str(_WORKER), str(path), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": str(threads)},
        )
        self._open = True
        try:
            told = self._told()
            self._outputs: list[list[int]] = told["outputs"]
            self._inputs: list[list[int]] = told["inputs"]
        except Exception:
            self.release()
            raise

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        return _named(len(self._inputs), len(self._outputs))

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        import numpy as np

        for index, shape in enumerate(self._inputs):
            value = np.ascontiguousarray(inputs[f"input{index}"], np.dtype("<f4"))
            if list(value.shape) != shape:
                raise ValueError(f"input{index} has shape {list(value.shape)}, the program takes {shape}")
            worker.write_frame(self._to, value.tobytes())
        self._to.flush()
        self._told()
        answer: dict[str, PhysicalArray] = {}
        for index, shape in enumerate(self._outputs):
            body = worker.read_frame(self._from)
            if body is None:
                raise self._gone()
            answer[f"output{index}"] = np.frombuffer(body, np.dtype("<f4")).reshape(shape)
        return answer

    def release(self) -> None:
        if not self._open:
            return
        self._open = False
        self._to.close()  # the worker ends with its input
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()

    @property
    def _to(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]  # a buffered pipe

    @property
    def _from(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    def _told(self) -> dict[str, Any]:
        body = worker.read_frame(self._from)
        if body is None:
            raise self._gone()
        told: dict[str, Any] = json.loads(body)
        if "error" in told:
            raise RuntimeError(told["error"])
        return told

    def _gone(self) -> RuntimeError:
        return RuntimeError(f"the interpreter that has executorch ended with status {self._process.wait(5)}")


plugin = ExecuTorch()
