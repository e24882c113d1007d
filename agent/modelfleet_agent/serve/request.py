"""One inference as serve routes it, and the check against the input contract that needs no arrays."""

from __future__ import annotations

from dataclasses import dataclass

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import BATCH, InputContract, LogicalTensor

from ..control.tensors import TensorHead, cut


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """A request. `deadline` is on the event loop's clock; `inputs` are the heads of the tensors in `body`.

    A single tensor may have an empty name: it is the model's first input.
    """

    inputs: tuple[TensorHead, ...]
    body: memoryview
    deadline: float


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """An answer: from which model, its tensors, and its computing time in nanoseconds."""

    release: str
    variant: str
    outputs: tuple[TensorHead, ...]
    body: memoryview
    compute_ns: int


def admit(contract: InputContract, request: Inference) -> tuple[tuple[TensorHead, ...], int]:
    """The heads with the contract's names, and the number of samples.

    Values (range, NaN) are checked where arrays are: in the worker.

    Raises:
        CallerError: MF-4005, names, element types or shapes are not those of the contract; MF-4036, heads and
            body do not belong together.
    """
    wanted = [binding.logical for binding in contract.inputs]
    heads = request.inputs
    if len(heads) == 1 and not heads[0].name and len(wanted) == 1:
        heads = (TensorHead(wanted[0].name, heads[0].shape, heads[0].dtype),)
    cut(heads, request.body)
    given = {head.name: head for head in heads}
    if len(given) != len(heads) or set(given) != {tensor.name for tensor in wanted}:
        names = ", ".join(tensor.name for tensor in wanted)
        raise _breaks(f"the inputs are {[head.name for head in heads]}", f"exactly: {names}")
    counts = {_samples(tensor, given[tensor.name]) for tensor in wanted}
    if len(counts) != 1:
        raise _breaks(f"the inputs have {sorted(counts)} samples", "the same number in every input")
    return heads, counts.pop()


def _samples(tensor: LogicalTensor, head: TensorHead) -> int:
    spelled = "[" + ", ".join("n" if item == BATCH else str(item) for item in tensor.shape) + "]"
    if head.dtype is not tensor.dtype:
        raise _breaks(f"the input {head.name!r} is {head.dtype}", f"{tensor.dtype}")
    fits = len(head.shape) == len(tensor.shape) and head.shape[1:] == tensor.shape[1:]
    if not fits or head.shape[0] < 1 or tensor.shape[0] not in (BATCH, head.shape[0]):
        raise _breaks(f"the input {head.name!r} has shape {list(head.shape)}", f"shape {spelled}")
    return head.shape[0]


def _breaks(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.INPUT_BREAKS_CONTRACT,
        happened,
        expected=expected,
        todo="send what the model's metadata say",
    )


def broken(reason: str) -> CallerError:
    """The worker refused the values of an input."""
    return _breaks(reason, "values as the input contract says")


def empty(slot: str) -> WorldError:
    """Nothing is installed in the slot."""
    return WorldError(
        Code.SLOT_EMPTY,
        f"the slot {slot!r} has no model",
        expected="a model that is installed and live",
        todo="check the slot's name, or wait for its first rollout (`modelfleet-agent status`)",
    )


def overloaded(slot: str, waiting: int) -> WorldError:
    """Too many requests wait."""
    return WorldError(
        Code.SERVE_OVERLOADED,
        f"{waiting} requests wait for the slot {slot!r}",
        expected="fewer requests than the model can answer",
        todo="send less often, or try again later",
    )


def too_late(slot: str) -> WorldError:
    """The deadline passed."""
    return WorldError(
        Code.DEADLINE_PASSED,
        f"the slot {slot!r} gave no answer before the deadline",
        expected="an answer in time",
        todo="give a longer deadline; `modelfleet-agent status` shows whether a model is starting",
    )


def failed(code: Code, reason: str) -> WorldError:
    """The model failed and no other could answer."""
    return WorldError(
        code,
        reason,
        expected="an answer of the model",
        todo="report the model; `modelfleet-agent status` shows its state",
    )
