"""The part of a session that is the same for every runtime: contract, binding, batches, errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError
from modelfleet_core.release.contract import InputContract, PhysicalTensor

from .binding import FloatArray, PhysicalArray, check_inputs, check_output, to_logical, to_physical


class Engine(Protocol):
    """What an adapter implements: the library's model behind physical tensors."""

    def tensors(self) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        """The inputs and the outputs that the file really has, each with all of its names."""
        ...

    def infer(self, inputs: dict[str, PhysicalArray]) -> dict[str, PhysicalArray]:
        """Run the model once. May raise whatever the library raises."""
        ...

    def release(self) -> None:
        """Drop the model."""
        ...


class BoundSession:
    """A `port.Session` over an `Engine`."""

    def __init__(self, engine: Engine, contract: InputContract, label: str) -> None:
        self._engine: Engine | None = engine
        self._contract = contract
        self._label = label
        self._single = any(_batch_of(binding.physical) == 1 for binding in contract.inputs)
        self._check_tensors(engine)

    @property
    def contract(self) -> InputContract:
        """See `port.Session.contract`."""
        return self._contract

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """See `port.Session.run`."""
        engine = self._engine
        if engine is None:
            raise WorldError(
                Code.SESSION_CLOSED,
                f"the session of {self._label} is closed",
                expected="an open session",
                todo="open the variant again",
            )
        samples = check_inputs(self._contract, inputs)
        if samples == 1 or not self._single:
            return self._run_once(engine, inputs, samples)
        # The file takes one sample at a time (TFLite, static IR): the contract still allows many.
        answers = [
            self._run_once(engine, {name: value[i : i + 1] for name, value in inputs.items()}, 1)
            for i in range(samples)
        ]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def close(self) -> None:
        """See `port.Session.close`."""
        if self._engine is not None:
            self._engine.release()
            self._engine = None

    def _run_once(
        self, engine: Engine, inputs: Mapping[str, FloatArray], samples: int
    ) -> dict[str, FloatArray]:
        physical = {
            binding.physical.name: to_physical(binding, inputs[binding.logical.name])
            for binding in self._contract.inputs
        }
        try:
            raw = engine.infer(physical)
        except ModelfleetError:
            raise
        except Exception as error:  # each library has errors of its own
            raise WorldError(
                Code.INFERENCE_FAILED,
                f"{self._label} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                expected="an answer",
                todo="try another variant of the release; report the model if it fails on every device",
            ) from error
        answer: dict[str, FloatArray] = {}
        for binding in self._contract.outputs:
            value = to_logical(binding, raw[binding.physical.name])
            check_output(binding.logical, value, samples)
            answer[binding.logical.name] = value
        return answer

    def _check_tensors(self, engine: Engine) -> None:
        inputs, outputs = engine.tensors()
        for side, present, bindings, exactly in (
            ("input", inputs, self._contract.inputs, True),
            ("output", outputs, self._contract.outputs, False),
        ):
            wanted = [binding.physical.name for binding in bindings]
            found = [sum(name in names for names in present) for name in wanted]
            if any(count != 1 for count in found) or (exactly and len(present) != len(wanted)):
                self.close()
                raise WorldError(
                    Code.CONTRACT_MISMATCH,
                    f"{self._label} has the {side}s {[sorted(names) for names in present]}",
                    expected=f"the contract's {wanted}",
                    todo="rebuild the variant; the file and its contract do not belong together",
                )


def _batch_of(physical: PhysicalTensor) -> int:
    return physical.shape[0] if physical.shape else -1


def entry_path(folder: Path, entry: str, formats: tuple[str, ...], runtime: str) -> Path:
    """Path of the file to open.

    Raises:
        CallerError: MF-4009, it leaves the folder or has a foreign suffix.
        WorldError: MF-4003, it is not there.
    """
    plain = "/" not in entry and "\\" not in entry and not entry.startswith(".")
    if not plain or not entry.endswith(formats):
        raise CallerError(
            Code.ENTRY_NOT_SUPPORTED,
            f"{runtime} was asked to open {entry!r}",
            expected=f"a plain file name that ends in {' or '.join(formats)}",
            todo="rebuild the variant for this runtime",
        )
    path = folder / entry
    if not path.is_file():
        raise load_failed(path, runtime, FileNotFoundError("there is no such file"))
    return path


def refuse_options(options: Mapping[str, str], known: tuple[str, ...], runtime: str) -> None:
    """Refuse what a runtime does not know: an option that is ignored would change nothing, silently.

    Raises:
        CallerError: MF-4050.
    """
    strange = sorted(set(options) - set(known))
    if strange:
        raise CallerError(
            Code.RUNTIME_OPTION,
            f"the variant wants {runtime} opened with {', '.join(strange)}",
            expected=f"of options only {', '.join(known)}" if known else "no options",
            todo="correct `options` of the device class and rebuild the release",
        )


def load_failed(path: Path, runtime: str, error: Exception) -> WorldError:
    """The error of a file that the library refuses."""
    return WorldError(
        Code.MODEL_LOAD_FAILED,
        f"{runtime} cannot load {path.name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
        expected="a file that this version of the runtime can load",
        todo="check the runtime's version against the release's needs, or rebuild the variant",
    )
