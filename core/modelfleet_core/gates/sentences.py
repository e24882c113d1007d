"""One plain sentence per verdict, made of its numbers; nothing is said that is not computed."""

from __future__ import annotations

from modelfleet_core.gates.evidence import Stratum
from modelfleet_core.gates.verdict import Judgement, Verdict
from modelfleet_core.gates.words import amount, count, name_of, odds, share
from modelfleet_core.rollout.gate import Gate, Metric

_OF_WHAT = {
    Metric.ERRORS: "of inputs",
    Metric.DISAGREEMENT: "of inputs, with the incumbent",
    Metric.SILENCE: "of windows",
}


def bet(gate: Gate, verdict: Verdict, min_rounds: int, more: int | None) -> str:
    """The sentence of a betting gate."""
    if not verdict.reports:
        return f"{_subject(verdict)}: nothing reported yet"
    effect = _effect(gate, verdict)
    if verdict.judgement is Judgement.WORSE:
        return (
            f"{effect}; {_devices(verdict)}; evidence {odds(verdict.evidence)} "
            f"(needs {odds(verdict.needed)}) after {count(verdict.reports, 'report')}"
        )
    if verdict.judgement is Judgement.FINE:
        return (
            f"{effect}; evidence {odds(verdict.promote_evidence)} against unacceptable "
            f"(needs {odds(verdict.promote_needed)}) after {count(verdict.stage_reports, 'report')} "
            f"of {count(verdict.stage_devices, 'device')}"
        )
    return f"{effect}; undecided: {_open(verdict, min_rounds, more)}"


def golden(gate: Gate, verdict: Verdict, samples: int, wanted: int) -> str:
    """The sentence of the golden gate; `samples` = size of the smallest golden set, `wanted` = devices
    needed.
    """
    subject = _subject(verdict)
    if verdict.effect is None:
        return f"{subject}: no labelled result reported (a release built without labels has none)"
    worth = f"one of {samples} samples is worth {amount(Metric.GOLDEN, 1 / samples)}" if samples else ""
    if verdict.stratum is Stratum.WITHOUT_INCUMBENT:
        floor = gate.floor or 0.0
        said = f"{subject} {share(max(0.0, floor - verdict.effect))} (floor {share(floor)}"
    else:
        change = f"{'-' if verdict.effect > 0 else '+'}{amount(Metric.GOLDEN, abs(verdict.effect))}"
        said = f"{subject} {change} vs incumbent (tolerated -{amount(Metric.GOLDEN, gate.tolerance)}"
    text = f"{said}; {worth}) on {count(verdict.devices, 'device')}"
    if verdict.worse_devices:
        text += f", {verdict.worse_devices} beyond tolerance"
    if verdict.judgement is Judgement.UNDECIDED:
        text += f"; undecided: {wanted} devices needed"
    return text


def not_applicable(gate: Gate, why: str) -> str:
    """Why the gate has nothing to say here."""
    return f"{name_of(gate.metric)}: not applicable, {why}"


def excused(verdict: Verdict, better: Verdict) -> str:
    """Why a gate beyond tolerance does not count."""
    gained = amount(Metric.GOLDEN, abs(better.effect or 0.0))
    return (
        f"{verdict.sentence}; excused: golden accuracy is {gained} better on "
        f"{count(better.devices, 'device')}, so the models disagree because the candidate is right more often"
    )


def _subject(verdict: Verdict) -> str:
    alone = " (devices without an incumbent)" if verdict.stratum is Stratum.WITHOUT_INCUMBENT else ""
    return f"{name_of(verdict.metric)}{alone}"


def _effect(gate: Gate, verdict: Verdict) -> str:
    tolerated = f"(tolerated {amount(gate.metric, gate.tolerance)})"
    value = amount(gate.metric, verdict.effect or 0.0)
    if gate.metric.is_latency:
        return f"{_subject(verdict)} {value} vs incumbent on the same inputs {tolerated}"
    return f"{_subject(verdict)} {value} {_OF_WHAT[gate.metric]} {tolerated}"


def _devices(verdict: Verdict) -> str:
    text = f"{verdict.worse_devices} of {count(verdict.devices, 'device')} worse"
    if verdict.devices < 5:
        return f"{text} (below 5 devices one bad device can decide)"
    if verdict.set_aside:
        text += f", worst {len(verdict.set_aside)} set aside"
    return text


def _open(verdict: Verdict, min_rounds: int, more: int | None) -> str:
    worse = f"evidence {odds(verdict.evidence)} of {odds(verdict.needed)} for worse"
    fine = f"{odds(verdict.promote_evidence)} of {odds(verdict.promote_needed)} for fine"
    if verdict.promote_evidence >= verdict.promote_needed:
        if verdict.rounds < min_rounds:
            return f"{worse}, {fine}; {verdict.rounds} of {count(min_rounds, 'round')}"
        return f"{worse}, {fine}; measured beyond tolerance, which is never fine"
    rate = "no direction yet" if more is None else f"at this rate about {count(more, 'more report')}"
    return f"{worse}, {fine}; {rate}"
