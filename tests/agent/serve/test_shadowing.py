"""The evidence against known traffic: real models, real images, the numbers that must come out."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from modelfleet_agent.control.protocol import SlotDesired
from modelfleet_agent.sdk import WorldError
from modelfleet_agent.serve.sampling import is_mirrored
from modelfleet_agent.serve.shadow import QUEUE
from modelfleet_core.error_codes import Code
from modelfleet_core.gates.scores import check_report
from modelfleet_core.sketch.histogram import Histogram
from modelfleet_core.wire.director import Mode
from modelfleet_core.wire.report import Report

from e2e.support import eventually
from tests.agent.serve.support.fixtures import Variants
from tests.agent.serve.support.process import SLOT, ServeProcess, live, only, shadowing
from tests.agent.serve.support.truth import compared, logits
from tests.agent.serve.support.variants import Images

pytestmark = pytest.mark.server


def mirrored(serve: ServeProcess, outcome: str = "run") -> int:
    return int(serve.metric("modelfleet_mirror_total", outcome=outcome))


def has_mirrored(serve: ServeProcess, count: int) -> bool:
    return mirrored(serve) >= count


def closed(serve: ServeProcess, n: int) -> list[Report]:
    """Reports that hold `n` mirrored inputs together."""

    def look() -> list[Report] | None:
        reports = serve.reports()
        return reports if sum(report.n for report in reports) >= n else None

    reports = eventually(look, 20, what=f"reports of {n} inputs")
    assert reports is not None
    return reports


def test_the_agreement_of_known_models_on_known_traffic(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.1"), variants("1.2")
    inputs = live_images.inputs[:200]
    theirs, ours = logits(incumbent, inputs), logits(candidate, inputs)
    expected = compared(ours, theirs)
    serve.want(replace(shadowing(incumbent, candidate, window_s=1.0), compute_budget=1.0))
    serve.until_state(candidate)
    with serve.sdk() as model:
        for number, image in enumerate(inputs):
            assert np.array_equal(model(image), theirs[number]), "the mirror changes no answer"
            if number % 5 == 4:
                eventually(partial(has_mirrored, serve, number + 1), 20, 0.002)
    reports = closed(serve, 200)
    for report in reports:
        check_report(report)
        assert (report.operation, report.mode) == ("op-1", Mode.SHADOW)
        assert (report.release, report.incumbent) == (candidate.release, incumbent.release)
        assert report.candidate_answers == 0
    assert sum(report.served for report in reports) == 200
    assert sum(report.n for report in reports) == 200
    assert sum(report.candidate_only_failed + report.incumbent_failed for report in reports) == 0
    seen = [report.agreement for report in reports if report.agreement is not None]
    assert sum(item.compared for item in seen) == expected.compared == 200
    assert sum(item.agreed for item in seen) == expected.agreed
    assert sum(item.close for item in seen) == expected.close
    assert expected.agreed < 190, "1.2 is the mislabelled one"
    golden = reports[-1].golden
    assert golden is not None
    assert (golden.total, golden.candidate_right, golden.incumbent_right) == (64, 48, 64)
    coverage = [report.coverage for report in reports if report.coverage is not None]
    assert sum(item.offered for item in coverage) == sum(item.run for item in coverage) == 200
    assert sum(sum(report.scores.candidate) for report in reports if report.scores is not None) == 200
    pairs = [report.latency for report in reports if report.latency is not None]
    assert sum(item.count for item in pairs) >= 50
    assert all(Histogram.from_wire(item.candidate).count == item.count for item in pairs)
    assert all((report.rss_candidate_bytes or 0) > 10_000_000 for report in reports)


def test_pairs_see_a_slower_model(serve: ServeProcess, variants: Variants) -> None:
    """Without any traffic: golden inputs keep the pairs coming."""
    incumbent, candidate = variants("1.1"), variants("1.3")
    serve.want(only(incumbent))
    serve.until_state(incumbent)
    serve.want(shadowing(incumbent, candidate, window_s=1.0))
    serve.until_state(candidate)
    reports = eventually(
        lambda: [report for report in serve.reports() if report.latency and report.latency.count >= 20], 20
    )
    medians = []
    for side in ("candidate", "incumbent"):
        whole = Histogram()
        for report in reports:
            whole = whole.merged(Histogram.from_wire(getattr(report.latency, side)))
        medians.append(whole.quantile(0.5) or 0.0)
    assert 1.6 < medians[0] / medians[1] < 5.0
    assert all(report.n == 0 and report.agreement is None for report in reports), (
        "agreement is of real inputs"
    )


def test_a_window_without_traffic_is_sent_too(serve: ServeProcess, variants: Variants) -> None:
    serve.want(replace(only(variants("1.1")), operation="op-9", window_s=0.3))
    reports = eventually(lambda: found if len(found := serve.reports()) >= 3 else None, 10)
    assert reports is not None
    assert {(report.n, report.served, report.operation) for report in reports} == {(0, 0, "op-9")}
    windows = [report.window for report in reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))


def test_reverse_shadow_looks_at_the_chosen_share(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.1"), variants("1.4")
    inputs = live_images.inputs[:80]
    night = (1 - inputs).astype(np.float32)
    chosen = [image for image in night if is_mirrored(image.tobytes(), 0.5)]
    assert 20 < len(chosen) < 60
    expected = compared(logits(candidate, np.stack(chosen)), logits(incumbent, np.stack(chosen)))
    serve.want(replace(live(incumbent, candidate, share=0.5), compute_budget=1.0))
    serve.until_state(candidate)
    eventually(lambda: serve.actual().active == candidate.release, 10)
    with serve.sdk() as model:
        for number, image in enumerate(night):
            assert model.ask({"image": image[None]}).release == candidate.release
            sent = sum(is_mirrored(item.tobytes(), 0.5) for item in night[: number + 1])
            eventually(partial(has_mirrored, serve, sent), 20, 0.002)
    reports = [report for report in closed(serve, len(chosen)) if report.mode is Mode.LIVE]
    assert sum(report.candidate_answers for report in reports) == 80
    seen = [report.agreement for report in reports if report.agreement is not None]
    assert sum(item.compared for item in seen) == len(chosen)
    assert sum(item.agreed for item in seen) == expected.agreed
    assert sum(item.close for item in seen) == expected.close
    assert expected.agreed < 0.8 * len(chosen), "1.4 is lost at night"


def test_a_stuck_candidate_fills_a_short_queue_and_holds_nobody_up(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.1"), variants("1.2")
    serve.want(replace(shadowing(incumbent, candidate, window_s=1.0), compute_budget=1.0))
    pid = serve.until_state(candidate).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with serve.sdk(timeout_s=2.0) as model:
        for image in live_images.inputs[:40]:
            model(image)
    assert mirrored(serve, "offered") == 40
    assert mirrored(serve, "dropped_queue") >= 40 - QUEUE - 2
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: mirrored(serve) >= QUEUE, 20)
    assert (serve.actual().served, serve.actual().failed) == (40, 0)


def test_without_a_budget_nothing_is_mirrored(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.1"), variants("1.2")
    serve.want(replace(shadowing(incumbent, candidate, window_s=0.5), compute_budget=0.0))
    serve.until_state(candidate)
    with serve.sdk() as model:
        for image in live_images.inputs[:10]:
            model(image)
    reports = eventually(
        lambda: [report for report in serve.reports() if report.served], 10, what="a report with traffic"
    )
    assert sum(report.n for report in reports) == 0
    dropped = [report.coverage.dropped_budget for report in reports if report.coverage is not None]
    assert sum(dropped) == sum(report.served for report in reports)


def test_a_first_install_has_no_pairs_and_says_so(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    candidate = variants("1.5")
    finite = np.isfinite(logits(candidate, live_images.inputs[:200])).all(axis=1)
    inputs = [*live_images.inputs[:200][finite][:13], *live_images.inputs[:200][~finite][:7]]
    serve.want(SlotDesired(SLOT, candidate.release, None, candidate, None, operation="op-1", window_s=0.5))
    codes: set[Code] = set()
    with serve.sdk() as model:
        for image in inputs:
            try:
                model(image)
            except WorldError as error:
                codes.add(error.code)
    assert codes == {Code.OUTPUT_NOT_FINITE}
    slot = serve.actual()
    broken = len(inputs) - 13
    assert (slot.served, slot.failed) == (13, broken)
    assert broken > 3
    reports = closed(serve, len(inputs))
    assert {report.incumbent for report in reports} == {None}
    assert sum(report.candidate_only_failed for report in reports) == broken
    assert sum(report.served_failed for report in reports) == broken
    assert all(report.latency is None and report.agreement is None for report in reports)


def test_the_window_of_a_switch_is_not_mixed(
    serve: ServeProcess, variants: Variants, live_images: Images
) -> None:
    incumbent, candidate = variants("1.0"), variants("1.1")
    serve.want(shadowing(incumbent, candidate, window_s=2.0))
    serve.until_state(candidate)
    with serve.sdk() as model:
        for image in live_images.inputs[:10]:
            model(image)
        serve.want(live(incumbent, candidate, window_s=2.0))
        for image in live_images.inputs[:7]:
            model(image)
    eventually(lambda: sum(report.served for report in serve.reports()) == 17, 20)
    reports = serve.reports()
    answered = {
        mode: sum(report.candidate_answers for report in reports if report.mode is mode) for mode in Mode
    }
    assert answered == {Mode.SHADOW: 0, Mode.LIVE: 7, Mode.WITHDRAWN: 0}
    assert sum(report.served for report in reports if report.mode is Mode.SHADOW) == 10
    keys = [(report.release, report.window) for report in reports]
    assert len(set(keys)) == len(keys)
