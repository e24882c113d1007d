"""Runs a variant in its real runtime: answers, memory, and latency against its float parent.

Latency is compared, never measured alone: in every round the models are called in turn, in random order, on
the same inputs, so that whatever else the machine does strikes all of them. The parent takes part twice; what
its two copies seem to differ by is the noise that a real difference has to exceed.
"""

from __future__ import annotations

import fcntl
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import AnswerWriter, read_inputs
from modelfleet_build.child.jobs import Loadable, Measured, MeasureJob, Spread
from modelfleet_build.port import Tell
from modelfleet_core.clock import Clock
from modelfleet_core.errors import ModelfleetError
from modelfleet_runtimes import registry
from modelfleet_runtimes.port import Session

FloatArray = npt.NDArray[np.float32]

_WARM_UP = 5
_MIN_ROUNDS = 3
_STATUS = Path("/proc/self/status")


def measure(job: MeasureJob, clock: Clock, tell: Tell) -> Measured:
    """Run the job.

    Raises:
        ModelfleetError: The target or the reference cannot be loaded, or fails while latency is measured.
    """
    target = _open(job.target)
    validation = read_inputs(Path(job.validation))
    tell(f"answering {len(validation)} samples")
    failed = _answer(target, validation, Path(job.answers), "validation")
    if job.golden is not None:
        _answer(target, read_inputs(Path(job.golden)), Path(job.answers), "golden")
    # In another interpreter it is not this process's, and most of it would be that one's own packages.
    rss = peak_rss() if job.target.python is None else None
    if not job.rounds:
        return Measured(failed=failed, rss_bytes=rss, latency_us=None, ratio=None, control=None, rounds=0)
    reference = _open(job.reference) if job.reference is not None else target
    control = _open(job.reference or job.target)
    tell("comparing latency with the float parent")
    sessions = [reference, control] if job.reference is None else [reference, control, target]
    with Path(job.turn).open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        times = _rounds(sessions, validation, job, clock)
    ratio = _spread(times[:, 2] / times[:, 0]) if job.reference is not None else None
    return Measured(
        failed=failed,
        rss_bytes=rss,
        latency_us=float(np.median(times[:, -1]) * 1e6) if ratio else float(np.median(times[:, 0]) * 1e6),
        ratio=ratio,
        control=_spread(times[:, 1] / times[:, 0]),
        rounds=len(times),
    )


def peak_rss() -> int | None:
    """Peak resident memory of this process in bytes, None where the system does not tell.

    Not `getrusage`: its maximum survives exec and would be that of the builder.
    """
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _open(item: Loadable) -> Session:
    elsewhere = Path(item.python) if item.python is not None else None
    runtime = registry.load(item.runtime, elsewhere)
    return runtime.open(Path(item.folder), item.entry, item.contract, threads=1, options=item.options)


def _answer(session: Session, inputs: FloatArray, folder: Path, data: str) -> int:
    """Write every output for every sample, NaN where the runtime failed; returns how often it did."""
    name = session.contract.inputs[0].logical.name
    outputs = tuple(binding.logical for binding in session.contract.outputs)
    failed = 0
    with AnswerWriter(folder, data, outputs, len(inputs)) as writer:
        for row in range(len(inputs)):
            try:
                writer.add(session.run({name: inputs[row : row + 1]}))
            except ModelfleetError:
                writer.add(None)
                failed += 1
    return failed


def _rounds(
    sessions: list[Session], inputs: FloatArray, job: MeasureJob, clock: Clock
) -> npt.NDArray[np.float64]:
    """[rounds, sessions] seconds: the median of each session's calls in each round."""
    name = sessions[0].contract.inputs[0].logical.name
    chance = random.Random(job.seed)
    order = list(range(len(sessions)))
    for session in sessions:
        for row in range(_WARM_UP):
            session.run({name: inputs[row % len(inputs)][None]})
    deadline = clock.monotonic() + job.latency_s
    rounds: list[list[float]] = []
    while len(rounds) < job.rounds and (len(rounds) < _MIN_ROUNDS or clock.monotonic() < deadline):
        times: list[list[float]] = [[] for _ in sessions]
        for _ in range(job.calls_per_round):
            request = {name: inputs[chance.randrange(len(inputs))][None]}
            chance.shuffle(order)
            for index in order:
                begun = clock.monotonic()
                sessions[index].run(request)
                times[index].append(clock.monotonic() - begun)
        rounds.append([float(np.median(item)) for item in times])
    return np.asarray(rounds, np.float64)


def _spread(ratios: npt.NDArray[np.float64]) -> Spread:
    low, median, high = (float(item) for item in np.percentile(ratios, (10, 50, 90)))
    return Spread(median, low, high)
