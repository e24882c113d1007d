"""How long a release takes to build, per example model: niced, one process at a time, nothing cached."""

from __future__ import annotations

import tempfile
from pathlib import Path

from modelfleet_build.pipeline import build
from modelfleet_build.progress import silent
from modelfleet_build.request import BuildRequest
from modelfleet_core.clock import SystemClock
from modelfleet_core.release.shipped_classes import SHIPPED

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
MODELS = ("digits-1.0", "digits-1.1", "digits-1.3-slow")
NICE = 10


def main() -> None:
    """Build each model for the three shipped classes and print where the time went."""
    print(f"{'model':20}{'whole':>8}{'convert':>10}{'measure':>10}  slowest conversion")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            request = BuildRequest(
                model=DIGITS / f"{name}.onnx",
                name="digits",
                version=name.split("-")[1],
                classes=tuple(item.name for item in SHIPPED),
                validation=DIGITS / "validation.npz",
                calibration=DIGITS / "calibration.npz",
                golden=DIGITS / "golden.npz",
                output=Path(folder) / name,
                nice=NICE,
            )
            report = build(request, silent, SystemClock()).report
            variants = [variant for item in report.classes for variant in item.variants]
            slowest = max(variants, key=lambda variant: variant.convert_s)
            print(
                f"{name:20}{report.seconds:6.1f} s{sum(v.convert_s for v in variants):8.1f} s"
                f"{sum(v.measure_s for v in variants):8.1f} s  {slowest.name} {slowest.convert_s:.1f} s"
            )


if __name__ == "__main__":
    main()
