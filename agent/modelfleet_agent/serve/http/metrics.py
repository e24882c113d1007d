"""`/metrics` in the Prometheus text format; docs/guides/serving.md explains each name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..app import Serve
from ..slot import Slot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


def render(serve: Serve) -> bytes:
    """All metrics of a serve."""
    slots = serve.slots()
    lines: list[str] = []
    for name, kind, text, samples in _families(serve, slots):
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [
            f"{name}{_labels(labels)} {value:g}" if value % 1 else f"{name}{_labels(labels)} {value:.0f}"
            for labels, value in samples
        ]
    return ("\n".join(lines) + "\n").encode()


def _families(serve: Serve, slots: tuple[Slot, ...]) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    def each(value: str) -> list[Sample]:
        return [({"slot": slot.name}, float(getattr(slot.tally, value))) for slot in slots]

    yield (
        "modelfleet_requests_total",
        "counter",
        "Real requests by what became of them.",
        [
            ({"slot": slot.name, "outcome": outcome}, float(count))
            for slot in slots
            for outcome, count in (
                ("served", slot.tally.served),
                ("failed", slot.tally.failed),
                ("dropped", slot.tally.dropped),
                ("refused", slot.tally.refused),
            )
        ],
    )
    yield (
        "modelfleet_requests_under_way",
        "gauge",
        "Real requests that are being answered now.",
        [({"slot": slot.name}, float(slot.in_flight)) for slot in slots],
    )
    yield (
        "modelfleet_answers_total",
        "counter",
        "Real requests by the release that answered.",
        [
            ({"slot": slot.name, "release": release}, float(count))
            for slot in slots
            for release, count in sorted(slot.answers.items())
        ],
    )
    yield (
        "modelfleet_answered_by_fallback_total",
        "counter",
        "Real requests that a committed model answered after the active one had failed.",
        each("by_fallback"),
    )
    yield (
        "modelfleet_compute_seconds_total",
        "counter",
        "Computing time of the models on real requests.",
        each("compute_s"),
    )
    yield (
        "modelfleet_swaps_total",
        "counter",
        "Changes of the active model.",
        [({"slot": slot.name}, float(slot.gaps.count)) for slot in slots],
    )
    yield (
        "modelfleet_worst_swap_gap_ms",
        "gauge",
        "Longest time in which a request that met a swap was not being worked on.",
        [({"slot": slot.name}, slot.gaps.worst_s * 1000) for slot in slots],
    )
    yield (
        "modelfleet_mirror_total",
        "counter",
        "Inputs chosen to be mirrored, by what became of them.",
        [
            ({"slot": slot.name, "outcome": outcome}, float(count))
            for slot in slots
            for outcome, count in slot.evidence.totals.items()
        ],
    )
    yield (
        "modelfleet_worker_deaths_total",
        "counter",
        "Deaths of a model's worker.",
        [
            ({"slot": slot.name, "release": model.ref.release}, float(model.crashes.total))
            for slot in slots
            for model in slot.all_models
        ],
    )
    yield (
        "modelfleet_worker_rss_bytes",
        "gauge",
        "Resident memory of a model's worker.",
        [
            ({"slot": slot.name, "release": model.ref.release}, float(rss))
            for slot in slots
            for model in slot.all_models
            if (rss := model.rss_bytes()) is not None
        ],
    )
    yield (
        "modelfleet_model_ready",
        "gauge",
        "1 where a model is loaded and ready.",
        [
            ({"slot": slot.name, "release": model.ref.release}, float(model.ready))
            for slot in slots
            for model in slot.all_models
        ],
    )
    yield (
        "modelfleet_windows_waiting",
        "gauge",
        "Closed evidence windows that the supervisor has not acknowledged.",
        [({}, float(len(serve.windows)))],
    )


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
