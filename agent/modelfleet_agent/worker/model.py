"""One loaded variant in its worker: loads it, tests it, runs it, compares its answers with the other
model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import IntegrityError, ModelfleetError
from modelfleet_core.release.contract import DType, InputContract
from modelfleet_core.release.manifest import (
    CONTRACT_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    Variant,
)
from modelfleet_core.wire import codec
from modelfleet_runtimes import golden as golden_set
from modelfleet_runtimes import registry
from modelfleet_runtimes.comparators import Comparator, finite, for_manifest
from modelfleet_runtimes.golden import Golden
from modelfleet_runtimes.port import KeepsEngines, Session

from ..control.framing import Buffer, invalid
from ..control.protocol import ModelState, SelfTest
from ..control.tensors import TensorHead, cut
from .protocol import Answer, Compared, GoldenPart, Open, Opened, Role, Run, Status

FloatArray = npt.NDArray[np.float32]
Arrays = dict[str, FloatArray]

WARM_RUNS = 5
REHEARSALS = 3
REHEARSAL_NS = 1_000_000
TIMED_RUNS = 3
MAX_CONTRACT_BYTES = 1_000_000
_STATUS_OF = {Code.INPUT_BREAKS_CONTRACT: Status.REFUSED, Code.OUTPUT_WRONG: Status.WRONG_SHAPE}


class LoadedVariant:
    """A session and what belongs to it. Not safe for several threads.

    Args:
        session, golden, comparator: of the variant.
        ticks: a monotonic reading in nanoseconds.
    """

    def __init__(
        self, session: Session, golden: Golden, comparator: Comparator, ticks: Callable[[], int]
    ) -> None:
        self._session = session
        self._own = golden
        self._comparator = comparator
        self._ticks = ticks
        self._judges: tuple[str, Golden] | None = None

    def run(self, order: Run, body: memoryview) -> tuple[Answer, Sequence[Buffer]]:
        """Answer one input; exceptions of the model become a status."""
        begun = self._ticks()
        try:
            parts = cut((*order.inputs, *order.theirs), body)
            inputs = _arrays(order.inputs, parts)
            theirs = _arrays(order.theirs, parts[len(order.inputs) :])
            outputs, compute = self._measured(inputs) if order.measure else self._timed(inputs)
        except ModelfleetError as error:
            status = _STATUS_OF.get(error.code, Status.FAILED)
            return self._failed(status, error.code, error.happened, begun), ()
        compared = None
        if theirs:
            try:
                compared = self._compare(order.role, outputs, theirs)
            except ModelfleetError as error:
                return self._failed(Status.WRONG_SHAPE, error.code, error.happened, begun), ()
        if not finite(outputs):
            reason = "the model's answer holds NaN or infinite values"
            answer = self._failed(Status.NOT_FINITE, Code.OUTPUT_NOT_FINITE, reason, begun)
            return replace(answer, compute_ns=compute, compared=compared), ()
        heads: list[TensorHead] = []
        bodies: list[Buffer] = []
        if order.answer:
            for name, value in outputs.items():
                heads.append(TensorHead(name, value.shape))
                bodies.append(value.data.cast("B"))
        busy = self._ticks() - begun
        answer = Answer(Status.OK, compute_ns=compute, busy_ns=busy, outputs=tuple(heads), compared=compared)
        return answer, bodies

    def golden(self, part: GoldenPart) -> Answer:
        """Scores of the answers on a part of a golden set, which need not be the own one.

        Raises:
            IntegrityError: MF-4012, the set cannot be read.
            CallerError: MF-4011, it is the set of another task.
        """
        begun = self._ticks()
        if self._judges is None or self._judges[0] != part.folder:
            self._judges = (part.folder, golden_set.read(Path(part.folder) / GOLDEN_NAME))
        whole = self._judges[1]
        some = whole.part(slice(part.start, part.start + part.count))
        right, total = golden_set.score(self._session, some, self._comparator)
        busy = self._ticks() - begun
        return Answer(Status.OK, busy_ns=busy, right=right, total=total, length=len(whole))

    def _timed(self, inputs: Arrays) -> tuple[Arrays, int]:
        started = self._ticks()
        outputs = self._session.run(inputs)
        return outputs, self._ticks() - started

    def _measured(self, inputs: Arrays) -> tuple[Arrays, int]:
        """One half of a latency pair.

        Rehearsals first: the model that has just answered the real request has warm caches and would win.
            Then the
        best of a few runs: what disturbs one of them is the machine, what slows all of them down is the
            model.
        """
        begun = self._ticks()
        for _ in range(REHEARSALS):
            self._session.run(inputs)
            if self._ticks() - begun > REHEARSAL_NS:
                break
        outputs, best = self._timed(inputs)
        for _ in range(TIMED_RUNS - 1):
            outputs, taken = self._timed(inputs)
            best = min(best, taken)
        return outputs, best

    def sample(self, index: int) -> tuple[Answer, Sequence[Buffer]]:
        """One input of the own golden set, for latency pairs where traffic is thin."""
        row = index % len(self._own)
        value = np.ascontiguousarray(self._own.inputs[row : row + 1])
        head = TensorHead(self._session.contract.inputs[0].logical.name, value.shape)
        return Answer(Status.OK, outputs=(head,), length=len(self._own)), (value.data.cast("B"),)

    def warm(self, runs: int) -> int:
        """Run a few golden inputs; the median time of one, in nanoseconds (0 where all of them failed)."""
        times: list[int] = []
        for index in range(runs):
            answer, body = self.sample(index)
            done, _ = self.run(Run(inputs=answer.outputs, answer=False), memoryview(body[0]))
            if done.compute_ns:
                times.append(done.compute_ns)
        return int(median(times)) if times else 0

    def close(self) -> None:
        """Free the session."""
        self._session.close()

    def _compare(self, role: Role | None, ours: Arrays, theirs: Mapping[str, FloatArray]) -> Compared:
        if role is Role.INCUMBENT:
            found = self._comparator.compare(theirs, ours)
        else:
            found = self._comparator.compare(ours, theirs)
        both = found.comparable
        return Compared(
            samples=len(both),
            compared=int(both.sum()),
            agreed=int((found.agree & both).sum()),
            close=int((found.close & both).sum()),
            candidate_failed=int(found.candidate_failed.sum()),
            incumbent_failed=int(found.incumbent_failed.sum()),
            candidate_scores=_known(found.candidate_score[both]),
            incumbent_scores=_known(found.incumbent_score[both]),
        )

    def _failed(self, status: Status, code: Code, reason: str, begun: int) -> Answer:
        return Answer(status, code.value, reason[:500], busy_ns=self._ticks() - begun)


def open_variant(order: Open, ticks: Callable[[], int]) -> Iterator[Opened | LoadedVariant]:
    """Load a variant step by step: progress as it goes, then `READY` or `FAILED`, then the variant if it may
    run.

    A failed self-test yields FAILED with its outcome and still the variant: whether a committed model may go
    on in spite of it is serve's decision.

    Raises:
        ModelfleetError: the folder is not complete, the runtime is missing or refuses the file.
    """
    folder = Path(order.folder)
    manifest, variant, contract = read_folder(folder, order.variant)
    comparator = for_manifest(manifest)
    runtime = registry.load(variant.runtime.name)
    if order.engines and isinstance(runtime, KeepsEngines):
        runtime = runtime.with_engines(Path(order.engines))
    label = f"{runtime.name} {runtime.version()}"
    yield Opened(ModelState.STARTING, label)
    session = runtime.open(folder, variant.entry, contract, order.threads, variant.runtime.options)
    golden = golden_set.read(folder / GOLDEN_NAME)
    outcome: SelfTest | None = None
    if order.self_test:
        yield Opened(ModelState.TESTING, label)
        found = golden_set.self_test(session, golden, variant.bounds, comparator)
        outcome = SelfTest(found.passed, found.samples, found.reason, found.worst_error)
    yield Opened(ModelState.WARMING, label, outcome)
    loaded = LoadedVariant(session, golden, comparator, ticks)
    warm_ns = loaded.warm(WARM_RUNS)
    state = ModelState.FAILED if outcome is not None and not outcome.passed else ModelState.READY
    yield Opened(state, label, outcome, warm_ns, len(golden))
    yield loaded


def read_folder(folder: Path, variant_name: str) -> tuple[Manifest, Variant, InputContract]:
    """The parts of a variant folder that say how to open it.

    Raises:
        CallerError: MF-1601, manifest or contract are malformed.
        IntegrityError: MF-4038, a file is missing or the release has no such variant.
    """
    try:
        manifest_bytes = _bounded(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
        contract_bytes = _bounded(folder / CONTRACT_NAME, MAX_CONTRACT_BYTES)
    except OSError as error:
        raise incomplete(f"{folder.name}: {error.strerror or error} ({error.filename})") from error
    manifest = codec.decode(manifest_bytes, Manifest, what=MANIFEST_NAME, limit=MAX_MANIFEST_BYTES)
    variant = manifest.variant(variant_name)
    if variant is None:
        raise incomplete(f"{manifest.reference()} has no variant {variant_name!r}")
    contract = codec.decode(contract_bytes, InputContract, what=CONTRACT_NAME, limit=MAX_CONTRACT_BYTES)
    return manifest, variant, contract


def incomplete(happened: str) -> IntegrityError:
    """The error of a folder that is not a whole variant."""
    return IntegrityError(
        Code.VARIANT_INCOMPLETE,
        f"the variant folder cannot be used: {happened}",
        expected=f"{MANIFEST_NAME}, {CONTRACT_NAME}, {GOLDEN_NAME} and the files that the manifest lists",
        todo="fetch the variant again",
    )


def _known(scores: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Without those of tasks that have none."""
    return tuple(scores[~np.isnan(scores)].tolist())


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _arrays(heads: Sequence[TensorHead], parts: Sequence[memoryview]) -> Arrays:
    arrays: Arrays = {}
    for head, part in zip(heads, parts, strict=False):
        if head.dtype is not DType.FLOAT32:
            raise invalid(f"the tensor {head.name!r} is {head.dtype}", "float32")
        if head.name in arrays:
            raise invalid(f"the tensor {head.name!r} stands twice", "each tensor once")
        arrays[head.name] = np.frombuffer(part, np.float32).reshape(head.shape)
    return arrays
