"""Whole rollouts in virtual time, many of them; writes its tables into docs/reference/gates.md.

    nice python bench/rollout_simulation.py             all of it (some minutes on one core)
    nice python bench/rollout_simulation.py --quick     a few of the rollouts, prints only

Every number comes from the product's own cohorts, wealths, verdicts and engine
(`modelfleet_core.simulation`); seeds are fixed, so a run can be repeated.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from modelfleet_core.gates import wealth
from modelfleet_core.gates.evidence import DeviceSum, Stratum
from modelfleet_core.gates.judge import judge_rows
from modelfleet_core.gates.scores import score
from modelfleet_core.rollout.gate import DEFAULT_GATES
from modelfleet_core.rollout.plan import RolloutPlan, Stage
from modelfleet_core.rollout.progress import RolloutOutcome
from modelfleet_core.simulation.campaign import Tally, campaign, quantile, upper_bound
from modelfleet_core.simulation.fleet import Scenario
from modelfleet_core.simulation.noise import (
    AUTOCORRELATED,
    NOISY,
    NOISY_AUTOCORRELATED,
    Behaviour,
)
from modelfleet_core.wire.director import Mode

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "gates.md"
DEADLINE_S = 96 * 300.0


def plan(devices: int, *, alpha: float = 0.05) -> RolloutPlan:
    """Shadow on `devices`, live on as many, then all; at most 96 windows of 5 minutes per stage."""
    return RolloutPlan(
        "sim:1.1",
        (
            Stage("shadow", Mode.SHADOW, devices=devices, deadline_s=DEADLINE_S),
            Stage("canary", Mode.LIVE, devices=devices, deadline_s=DEADLINE_S),
            Stage("all", Mode.LIVE, percent=100, deadline_s=DEADLINE_S),
        ),
        min_devices=min(10, devices),
        false_rollback=alpha,
    )


def bad(base: Scenario, behaviour: Behaviour) -> Scenario:
    return replace(base, shadow=behaviour, live=behaviour)


def share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if count else "0"


def median(values: Sequence[int]) -> str:
    found = quantile(values, 0.5)
    return "-" if found is None else str(found)


# --------------------------------------------------------------------------------------- whole rollouts


def whole_rollouts(scale: float) -> str:
    """Three classes of 20 devices, cohorts of 10."""
    base = Scenario(plan(10), {"a": 20, "b": 20, "c": 20})
    good: list[tuple[str, Scenario]] = [
        ("A/A, quiet devices", base),
        ("A/A, autocorrelated noise (0.8)", replace(base, noise=AUTOCORRELATED)),
        (
            "A/A, one rogue device per class, +60 % latency",
            replace(base, rogues=1, rogue=Behaviour(latency=0.6)),
        ),
        (
            "A/A, one rogue device per class, 30 % errors",
            replace(base, rogues=1, rogue=Behaviour(errors=0.3)),
        ),
        (
            "A/A, autocorrelated noise and one rogue device (+60 %)",
            replace(base, noise=AUTOCORRELATED, rogues=1, rogue=Behaviour(latency=0.6)),
        ),
        ("A/A, noisy devices (report sd 0.28)", replace(base, noise=NOISY)),
        (
            "A/A, noisy and autocorrelated (0.8): beyond the assumptions",
            replace(base, noise=NOISY_AUTOCORRELATED),
        ),
        ("p95 +3 %, inside tolerance", bad(base, Behaviour(latency=0.03))),
    ]
    harmful: list[tuple[str, Scenario]] = [
        ("p95 +10 %", bad(base, Behaviour(latency=0.10))),
        ("p95 +20 %", bad(base, Behaviour(latency=0.20))),
        ("p95 +20 %, noisy devices", replace(bad(base, Behaviour(latency=0.20)), noise=NOISY)),
        ("p95 +50 %", bad(base, Behaviour(latency=0.50))),
        ("errors 0.1 -> 1 %", bad(base, Behaviour(errors=0.01))),
        ("errors 0.1 -> 3 %", bad(base, Behaviour(errors=0.03))),
        ("agreement 99 -> 96 %", bad(base, Behaviour(disagreement=0.04))),
        ("agreement 99 -> 90 %", bad(base, Behaviour(disagreement=0.10))),
        ("good in shadow, agreement 50 % once live", replace(base, live=Behaviour(disagreement=0.5))),
        ("bricks the device once live", replace(base, live=Behaviour(bricks=True))),
        ("golden accuracy -12 pt", replace(base, golden_drop=8)),
    ]
    lines = [
        "| case | rollouts | some class rolled back | 95 % bound | completed | held | median windows |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, scenario in good:
        tally = campaign(scenario, range(max(20, int(300 * scale))))
        back = tally.any_rollback
        lines.append(
            f"| {name} | {tally.rollouts} | {share(back, tally.rollouts)} | "
            f"{upper_bound(back, tally.rollouts):.1%} | "
            f"{share(tally.count(RolloutOutcome.COMPLETED), tally.rollouts)} | "
            f"{share(tally.count(RolloutOutcome.HELD), tally.rollouts)} | {median(tally.windows)} |"
        )
        say(lines[-1])
    lines += [
        "",
        "| harmful case (each class alone) | classes | rolled back | in shadow | completed | 95 % bound | "
        "held | reports to rollback: median, 99 % | largest share serving it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, scenario in harmful:
        one = replace(scenario, classes={"a": 20}, plan=replace(scenario.plan, false_rollback=0.05 / 3))
        tally = campaign(one, range(max(20, int(500 * scale))))
        done = tally.count(RolloutOutcome.COMPLETED)
        lines.append(
            f"| {name} | {tally.rollouts} | {share(tally.any_rollback, tally.rollouts)} | "
            f"{share(tally.stopped_in_first, tally.rollouts)} | {share(done, tally.rollouts)} | "
            f"{upper_bound(done, tally.rollouts):.1%} | "
            f"{share(tally.count(RolloutOutcome.HELD), tally.rollouts)} | "
            f"{median(tally.reports)}, {quantile(tally.reports, 0.99)} | {tally.served:.1%} |"
        )
        say(lines[-1])
    return "\n".join(lines)


# --------------------------------------------------------------------------------------- cohort sizes


def cohort_sizes(scale: float) -> str:
    """Every cohort size, one class with the alpha of three."""
    rogue = Behaviour(latency=0.6)
    columns: list[tuple[str, Callable[[Scenario], Scenario], bool]] = [
        ("A/A", lambda s: s, False),
        ("A/A, AR 0.8", lambda s: replace(s, noise=AUTOCORRELATED), False),
        ("A/A, noisy, AR 0.8", lambda s: replace(s, noise=NOISY_AUTOCORRELATED), False),
        ("A/A, one rogue +60 %", lambda s: replace(s, rogues=1, rogue=rogue), False),
        ("p95 +20 %", lambda s: bad(s, Behaviour(latency=0.2)), True),
        ("p95 +20 %, noisy", lambda s: replace(bad(s, Behaviour(latency=0.2)), noise=NOISY), True),
        ("errors 1 %", lambda s: bad(s, Behaviour(errors=0.01)), True),
        ("agreement 96 %", lambda s: bad(s, Behaviour(disagreement=0.04)), True),
    ]
    lines = [
        "| devices | " + " | ".join(name for name, _, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for devices in range(1, 13):
        base = Scenario(plan(devices, alpha=0.05 / 3), {"a": 2 * devices})
        cells: list[str] = []
        for _, change, harmful in columns:
            tally = campaign(change(base), range(max(20, int(100 * scale))))
            cells.append(_cell(tally, harmful))
        lines.append(f"| {devices} | " + " | ".join(cells) + " |")
        say(lines[-1])
    return "\n".join(lines)


def _cell(tally: Tally, harmful: bool) -> str:
    back = share(tally.any_rollback, tally.rollouts)
    if not harmful:
        return back
    done = tally.count(RolloutOutcome.COMPLETED)
    completed = f", completed {share(done, tally.rollouts)}" if done else ""
    return f"{back} ({median(tally.reports)}){completed}"


# ------------------------------------------------------------------------------------------- arithmetic


def reports_needed(outcomes: Sequence[float], needed: float, limit: int = 2000) -> int | None:
    """Reports until evidence reaches `needed`, when bets come out like `outcomes`, over and over."""
    total = wealth.NONE
    for count in range(1, limit + 1):
        total = wealth.added(total, wealth.step(outcomes[(count - 1) % len(outcomes)]))
        if wealth.log_evidence([total]) >= math.log(needed):
            return count
    return None


def arithmetic(_: float) -> str:
    lines = [
        "Reports (all devices of the class together, no trimming: fewer than 5 devices) until a gate is "
        "**worse**, when every report bets g:",
        "",
        "| g | needs 20:1 (1 gate, 1 class) | 80:1 (4 gates, 1 class) | 240:1 (4 gates, 3 classes) | 720:1 |",
        "|---|---|---|---|---|",
    ]
    for g in (0.1, 0.2, 0.33, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 9.0):
        cells = [str(reports_needed([g], needed)) for needed in (20, 80, 240, 720)]
        lines.append(f"| {g:g} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Reports until a rate gate (errors, disagreement, silence) is **fine**, by breaches among them:",
        "",
        "| breaches | 0 | 1 | 2 | 3 | 4 | 6 | 8 |",
        "|---|---|---|---|---|---|---|---|",
        "| reports of the class in the stage | "
        + " | ".join(str(_with_breaches(k)) for k in (0, 1, 2, 3, 4, 6, 8))
        + " |",
        "",
        "Reports until a latency gate is **fine**, by limit (rows) and true increase:",
        "",
        "| limit | 0 % | +3 % | +5 % | +10 % |",
        "|---|---|---|---|---|",
    ]
    for limit in (0.10, 0.15, 0.20, 0.30, 0.50, 1.00):
        bets = [(math.log1p(limit) - math.log1p(x)) / 0.15 for x in (0.0, 0.03, 0.05, 0.10)]
        cells = [str(reports_needed([max(-1.0, min(1.0, g))], 20) or "never") for g in bets]
        lines.append(f"| +{limit:.0%} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _with_breaches(breaches: int) -> int:
    """Order does not matter: the breaches come first."""
    total = wealth.times(wealth.step(-1.0), breaches)
    for count in range(breaches, 5000):
        if wealth.log_evidence([total]) >= math.log(20):
            return count
        total = wealth.added(total, wealth.step(0.25))
    raise AssertionError("never")


# ------------------------------------------------------------------------------------------------ speed


def speed(_: float) -> str:
    rng = Random(1)
    gate = DEFAULT_GATES[0]
    rows = []
    began = time.process_time()
    for device in range(1000):
        row = DeviceSum(f"dev_{device}")
        for _report in range(6):
            row = row.plus(score(gate, rng.gauss(0.0, 0.07)), 0)
        rows.append(row)
    per_report_us = (time.process_time() - began) / 6000 * 1e6
    times = []
    for _round in range(30):
        began = time.process_time()
        judge_rows(gate, rows, 0, Stratum.WITH_INCUMBENT, 240.0, 10, 6)
        times.append((time.process_time() - began) * 1e3)
    return (
        "| what | processor time |\n|---|---|\n"
        f"| one score added to one device's row | {per_report_us:.0f} us |\n"
        f"| verdict of one gate over 1000 devices, median of 30 | {sorted(times)[15]:.1f} ms |"
    )


SECTIONS: dict[str, Callable[[float], str]] = {
    "whole rollouts": whole_rollouts,
    "cohort sizes": cohort_sizes,
    "arithmetic": arithmetic,
    "speed": speed,
}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def fill(page: str, name: str, table: str) -> str:
    """The page with the text between the section's two marks replaced."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    head, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{PAGE.name} has no section {name!r} between {begin} and {end}")
    return f"{head}{begin}\n{table}\n{end}{after}"


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rollouts; the page is not written")
    parser.add_argument("--only", choices=list(SECTIONS), help="this section alone")
    args = parser.parse_args(argv)
    for name, section in SECTIONS.items():
        if args.only in (None, name):
            say(f"== {name}")
            table = section(0.05 if args.quick else 1.0)
            print(table)
            if not args.quick:
                PAGE.write_text(fill(PAGE.read_text(), name, table))


if __name__ == "__main__":
    main(sys.argv[1:])
