"""What serve, shadow and swaps cost on this machine, as ratios: processor time, open-loop latency, A/A pairs.

Everything is real: serve and its workers as processes, the digits models, onnxruntime with one thread.
Latencies are
open loop: measured from the instant a request should have been sent, so a stall counts for all that it holds
up.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles

from modelfleet_agent.control.protocol import ModelRef
from modelfleet_agent.sdk import Model
from modelfleet_core.sketch.histogram import Histogram
from modelfleet_runtimes import registry

from tests.agent.serve.support.process import SLOT, ServeProcess, live, only, shadowing
from tests.agent.serve.support.variants import Images, build, images

RATE = 20.0
SECONDS = 10.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Latencies:
    """Open-loop latencies in seconds."""

    values: tuple[float, ...]

    def at(self, share: float) -> float:
        return quantiles(self.values, n=1000, method="inclusive")[round(share * 1000) - 1]


def processor_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def open_loop(socket: Path, pictures: Images, rate: float, seconds: float) -> Latencies:
    """One application with a fixed schedule."""
    found: list[float] = []
    with Model(SLOT, socket=socket, timeout_s=30) as model:
        model(pictures.inputs[0])
        begun = time.perf_counter()
        for number in range(round(rate * seconds)):
            due = begun + number / rate
            while (left := due - time.perf_counter()) > 0:
                threading.Event().wait(left)
            model(pictures.inputs[number % len(pictures.inputs)])
            found.append(time.perf_counter() - due)
    return Latencies(tuple(found))


def direct(ref: ModelRef, pictures: Images) -> float:
    """Processor seconds of one inference without anything of ours around it."""
    from modelfleet_agent.worker.model import read_folder

    _, variant, contract = read_folder(Path(ref.folder), ref.variant)
    session = registry.load(variant.runtime.name).open(Path(ref.folder), variant.entry, contract, 1)
    count = 3000
    begun = time.process_time()
    for number in range(count):
        row = number % len(pictures.inputs)
        session.run({"image": pictures.inputs[row : row + 1]})
    spent = (time.process_time() - begun) / count
    session.close()
    return spent


@contextmanager
def burning(count: int, nice: int) -> Iterator[None]:
    """Other programs that want all of the processor."""
    code = f"import os; os.nice({nice})\nwhile True: pass"
    burners = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def cost(
    serve: ServeProcess, refs: list[ModelRef], pictures: Images, inference_s: float, title: str
) -> Latencies:
    """Processor time of serve and workers per second and per request, at a camera's rate."""
    pids = [serve.process.pid, *(pid for ref in refs if (pid := serve.until_state(ref).pid))]
    before = [processor_s(pid) for pid in pids]
    seen = open_loop(serve.socket, pictures, RATE, SECONDS)
    spent = [processor_s(pid) - start for pid, start in zip(pids, before, strict=True)]
    per_request = sum(spent) / (RATE * SECONDS)
    parts = ", ".join(f"{100 * item / SECONDS:.2f}" for item in spent)
    print(
        f"{title:28} {100 * sum(spent) / SECONDS:5.2f} % of a core (serve, workers: {parts}); per request"
        f" {1e6 * per_request:4.0f} us = {per_request / inference_s:4.1f} x the inference;"
        f" six agents {600 * sum(spent) / SECONDS:4.1f} %"
    )
    return seen


def ratios(serve: ServeProcess, windows: int, since: int) -> list[tuple[float, float]]:
    """log p50 and p95 ratios of candidate to incumbent, window by window."""
    while len(serve.reports()) < since + windows:
        threading.Event().wait(0.2)
    found: list[tuple[float, float]] = []
    for report in serve.reports()[since : since + windows]:
        if report.latency is None or report.latency.count < 5:
            continue
        ours = Histogram.from_wire(report.latency.candidate)
        theirs = Histogram.from_wire(report.latency.incumbent)
        pair = [math.log((ours.quantile(q) or 1.0) / (theirs.quantile(q) or 1.0)) for q in (0.5, 0.95)]
        found.append((pair[0], pair[1]))
    return found


def swaps(
    serve: ServeProcess, one: ModelRef, other: ModelRef, pictures: Images
) -> tuple[Latencies, Latencies]:
    """(steady, while models are loaded and swapped again and again), 100 requests a second."""
    serve.want(only(one))
    serve.until_state(one)
    steady = open_loop(serve.socket, pictures, 100.0, SECONDS)
    stop = threading.Event()

    def operator() -> None:
        while not stop.is_set():
            for table in (live(one, other), shadowing(one, other), only(one)):
                serve.want(table)
                if table.candidate is not None:
                    serve.until_state(other)
                stop.wait(0.3)

    thread = threading.Thread(target=operator)
    thread.start()
    try:
        swapping = open_loop(serve.socket, pictures, 100.0, 2 * SECONDS)
    finally:
        stop.set()
        thread.join()
    return steady, swapping


def main() -> None:
    pictures = images("live")
    with tempfile.TemporaryDirectory(prefix="mf-bench-") as name:
        folder = Path(name)
        incumbent, candidate, twin = (
            build(folder / part, "1.1" if part == "a" else version)
            for part, version in (("a", "1.1"), ("b", "1.0"), ("c", "1.1"))
        )
        # The same model under another release id: an A/A test of the pairs.
        twin = ModelRef("f" * 64, "digits:1.1-twin", twin.variant, twin.folder)
        inference_s = direct(incumbent, pictures)
        print(
            f"one inference alone: {1e6 * inference_s:.0f} us of processor time;"
            f" load {os.getloadavg()[0]:.1f}"
        )
        with ServeProcess(folder) as serve:
            serve.want(only(incumbent))
            off = cost(serve, [incumbent], pictures, inference_s, "20/s, serving alone")
            serve.want(shadowing(incumbent, candidate, window_s=2.0))
            on = cost(serve, [incumbent, candidate], pictures, inference_s, "20/s, shadow of everything")
            serve.want(live(incumbent, candidate, window_s=2.0, share=0.05))
            cost(serve, [incumbent, candidate], pictures, inference_s, "20/s, live, 5 % mirrored")
            print(
                f"shadow on / off, open loop: p50 x{on.at(0.5) / off.at(0.5):.2f}"
                f" p95 x{on.at(0.95) / off.at(0.95):.2f} p99 x{on.at(0.99) / off.at(0.99):.2f}"
                f" ({len(on.values)} requests each: p99 is their third largest)"
            )
            steady, swapping = swaps(serve, incumbent, candidate, pictures)
            slot = serve.actual()
            print(
                f"{slot.swaps} swaps with loading under 100/s, open loop: p50 x"
                f"{swapping.at(0.5) / steady.at(0.5):.2f} p99 x{swapping.at(0.99) / steady.at(0.99):.2f}"
                f" max {1e3 * max(swapping.values):.1f} ms (steady max {1e3 * max(steady.values):.1f} ms);"
                f" worst gap {slot.worst_swap_gap_ms:.1f} ms; failed {slot.failed}, dropped {slot.dropped}"
            )
            for title, count, nice in (("quiet", 0, 0), ("2 x nice 19", 2, 19), ("2 x normal", 2, 0)):
                serve.want(replace(shadowing(incumbent, twin, window_s=2.0, operation=title)))
                serve.until_state(twin)
                with burning(count, nice):
                    since = len(serve.reports()) + 1
                    thread = threading.Thread(target=open_loop, args=(serve.socket, pictures, RATE, 24.0))
                    thread.start()
                    found = ratios(serve, 11, since)
                    thread.join()
                middles, tails = [item[0] for item in found], [item[1] for item in found]
                sizes = [abs(item) for item in tails]
                print(
                    f"A/A pairs, {title:11}: {len(found)} windows of 2 s;"
                    f" p50 ratio {math.exp(median(middles)):.3f}, p95 ratio {math.exp(median(tails)):.3f};"
                    f" spread of log p95 (median |x|) {median(sizes):.3f}, largest {max(sizes):.3f}"
                )


if __name__ == "__main__":
    main()
