"""SDK <-> serve: split frames over a Unix stream socket, any number of requests one after the other.

Imports neither numpy nor anything of serve, so both sides share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelfleet_core.release.contract import LogicalTensor

from .tensors import TensorHead

VERSION: Final = 1
MAX_TIMEOUT_S: Final = 600.0


class Ask(StrEnum):
    """What the application wants: an inference, or what the model takes and gives."""

    INFER = "infer"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Question:
    """A request; the tensors of `inputs` follow in the body.

    Attributes:
        number: repeated in the reply.
        timeout_s: how long the caller will wait, seconds.
    """

    ask: Ask
    number: int
    slot: str
    timeout_s: float = 10.0
    inputs: tuple[TensorHead, ...] = ()
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer. `again`: the same call may succeed soon, at this serve or its successor."""

    code: str
    happened: str
    expected: str
    todo: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """The model that serves a slot now."""

    release: str
    reference: str
    variant: str
    ready: bool
    inputs: tuple[LogicalTensor, ...]
    outputs: tuple[LogicalTensor, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to the question of that number; the tensors of `outputs` follow in the body."""

    number: int
    release: str = ""
    variant: str = ""
    compute_ns: int = 0
    outputs: tuple[TensorHead, ...] = ()
    metadata: Metadata | None = None
    trouble: Trouble | None = None
