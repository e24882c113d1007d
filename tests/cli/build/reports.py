"""Build reports with every kind of content."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from modelfleet_build.child.jobs import Spread
from modelfleet_build.report import BuildReport, ClassReport, DataReport, Outcome, ParentReport, VariantReport
from modelfleet_core.release.manifest import AcceleratorUse, Measurements, Precision, Task

CONTROL = Spread(1.0, 0.98, 1.02)
NPU = AcceleratorUse(17, 16, 1_000_000, 998_000, 73_856, 13_926, 45_158, 148.0, ("MEAN /pool: its axes",))


def measured(value: float, ratio: float | None = None, **changes: object) -> Measurements:
    made = Measurements("top1", value, 0.99, 100 * (0.99 - value), 0.98, 101_900, 300, rss_bytes=70_000_000)
    if ratio is not None:
        made = replace(
            made, latency_ratio=ratio, latency_ratio_low=0.9 * ratio, latency_ratio_high=1.1 * ratio
        )
    return replace(made, **changes)  # type: ignore[arg-type]


def variant(name: str, m: Measurements | None, **changes: object) -> VariantReport:
    kind = name.rpartition(".")[2].partition("-")[0]
    made = VariantReport(
        name=name,
        precision=Precision(kind),
        recipe=name.rpartition(".")[2],
        accepted=True,
        chosen=False,
        code="",
        reason="",
        measurements=m,
        not_finite=0,
        control=CONTROL,
        pareto=False,
        convert_s=1.0,
        measure_s=2.0,
        cached=False,
        tools={"onnx": "1.23.2"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def report() -> BuildReport:
    """Two built classes, one that was not, and names that try to be markup."""
    desk = ClassReport(
        "desk",
        True,
        "desk.int8",
        "desk.int8 is chosen: it takes 0.55 of the float time",
        "",
        (
            variant("desk.fp32", measured(0.99, size_bytes=228_400), pareto=True),
            variant("desk.int8", measured(0.9833, 0.55), chosen=True, pareto=True),
            variant(
                "desk.int8-dynamic",
                measured(0.95, 6.2),
                accepted=False,
                code="MF-1440",
                reason="it loses <script>alert(1)</script> 4 points",
            ),
            variant(
                "desk.fp16", None, accepted=False, code="MF-1432", reason='the tool "failed" & said nothing'
            ),
        ),
    )
    npu = measured(0.98, measured_with="litert", arena_bytes=29_400, rss_bytes=None, accelerator=NPU)
    chip = ClassReport(
        "chip", True, "chip.int8", "it is the only one", "", (variant("chip.int8", npu, chosen=True),)
    )
    none = ClassReport("phone", False, "", "the optimizer for it has no plug-in", "MF-1430", ())
    return BuildReport(
        name="digits",
        version="1.1",
        task=Task.CLASSIFICATION,
        created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        seconds=24.0,
        outcome=Outcome.SOME,
        release="ab" * 32,
        max_drop_points=1.0,
        objective="",
        parent=ParentReport(0.99, 300, 1 / 3, 0, 0.98, 64, 228_400, 67.0),
        data=(DataReport("validation", 300, "cd" * 32),),
        classes=(desk, chip, none),
        warnings=("mind <the> gap",),
    )
