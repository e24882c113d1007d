"""Serve <-> worker: one order, one answer, in split frames over a socket pair (semantics section 5).

Serve has at most one order under way in a worker, so an answer always belongs to the last order, and a worker
that dies or hangs fails exactly that one. Imports neither numpy nor a runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..control.protocol import ModelState, SelfTest
from ..control.tensors import TensorHead
from .priority import Priority


class Op(StrEnum):
    """Orders.

    OPEN: load the variant, test it, warm it up. RUN: answer an input, or compare answers on it.
    GOLDEN: score the answers on a part of a golden set. SAMPLE: hand out an input of the own golden set.
    """

    OPEN = "open"
    RUN = "run"
    GOLDEN = "golden"
    SAMPLE = "sample"


class Role(StrEnum):
    """Which of the two compared models this worker's is."""

    CANDIDATE = "candidate"
    INCUMBENT = "incumbent"


@dataclass(frozen=True, slots=True)
class Open:
    """`folder` is a complete variant folder; `self_test` is left out when a tested variant is loaded
    again. `engines` is a folder for engines that a runtime builds on this device; empty = none is kept."""

    folder: str
    variant: str
    threads: int
    self_test: bool
    engines: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One inference.

    Attributes:
        inputs: heads of the tensors that begin the body.
        theirs: heads of the other model's outputs that follow in the body; empty = nothing to compare.
        role: which of the compared models this is.
        measure: one half of a latency pair: rehearsals first, then the best of three timed runs.
        answer: whether the outputs are wanted.
    """

    inputs: tuple[TensorHead, ...] = ()
    theirs: tuple[TensorHead, ...] = ()
    role: Role | None = None
    measure: bool = False
    answer: bool = True


@dataclass(frozen=True, slots=True)
class GoldenPart:
    """Samples `start` .. `start + count - 1` of the golden set in `folder`."""

    folder: str
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Order:
    """One order; exactly the field named by `op` is set. `sample` is taken modulo the size of the set."""

    op: Op
    priority: Priority = Priority.NORMAL
    open: Open | None = None
    run: Run | None = None
    golden: GoldenPart | None = None
    sample: int | None = None


class Status(StrEnum):
    """What became of an order.

    OK: done. REFUSED: the input breaks the contract; counts for neither model. FAILED: exception.
    WRONG_SHAPE, NOT_FINITE: the model answered something unusable. PROGRESS: an answer to OPEN that is not
    the last.
    """

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class Compared:
    """Two models on the same samples (`modelfleet_runtimes.comparators`), counted.

    Attributes:
        samples: samples in the input.
        compared: samples that both models answered with finite numbers.
        agreed, close: of `compared`.
        candidate_failed, incumbent_failed: samples without a finite answer.
        candidate_scores, incumbent_scores: top scores of the `compared` samples, 0 to 1; empty where the task
            has none.
    """

    samples: int
    compared: int
    agreed: int
    close: int
    candidate_failed: int
    incumbent_failed: int
    candidate_scores: tuple[float, ...]
    incumbent_scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """How far loading came; `runtime` is name and version, `warm_ns` the median time of a warm inference.

    `can_lower`: the process may lower its priority and raise it again, so mirrored inputs may run at idle
    priority.
    """

    state: ModelState
    runtime: str = ""
    self_test: SelfTest | None = None
    warm_ns: int = 0
    golden_samples: int = 0
    can_lower: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one order.

    Attributes:
        compute_ns: binding and inference of the timed run, nanoseconds, measured in the worker.
        busy_ns: all the worker's time for this order.
        outputs: heads of the tensors in the body (for SAMPLE: of the input).
        right, total: of a golden part: sum of the samples' scores (0 to 1 each), and how many have a truth;
            `length` is the size of the whole set.
    """

    status: Status
    code: str | None = None
    reason: str | None = None
    compute_ns: int = 0
    busy_ns: int = 0
    outputs: tuple[TensorHead, ...] = ()
    compared: Compared | None = None
    opened: Opened | None = None
    right: float = 0.0
    total: int = 0
    length: int = 0
