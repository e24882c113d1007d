"""Prometheus metrics of one controller, in a registry of its own (no global state)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest


class Metrics:
    """Counters and gauges; names are documented in docs/guides/controller.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "modelfleet_http_requests",
            "Requests of operators by route and status",
            ("route", "status"),
            registry=self.registry,
        )
        self.checkins = Counter(
            "modelfleet_checkins",
            "Check-ins by answer: statement or unchanged (refused ones count as device refusals)",
            ("answer",),
            registry=self.registry,
        )
        self.reports = Counter(
            "modelfleet_reports",
            "Reports by what became of them: accepted or duplicate (refused ones count as device refusals)",
            ("result",),
            registry=self.registry,
        )
        self.events = Counter("modelfleet_events", "Device events stored", registry=self.registry)
        self.refusals = Counter(
            "modelfleet_device_refusals",
            "Refused requests of devices by error code",
            ("code",),
            registry=self.registry,
        )
        self.enrolled = Counter("modelfleet_enrolments", "Devices enrolled", registry=self.registry)
        self.blob_bytes = Counter("modelfleet_blob_sent_bytes", "Bytes of blobs sent", registry=self.registry)
        self.decisions = Counter(
            "modelfleet_decisions",
            "Decisions that changed something, by action",
            ("action",),
            registry=self.registry,
        )
        self.tick_seconds = Histogram(
            "modelfleet_tick_seconds",
            "Time of one tick",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
            registry=self.registry,
        )
        self.tick_failures = Counter("modelfleet_tick_failures", "Ticks that failed", registry=self.registry)
        self.devices = Gauge("modelfleet_devices", "Enrolled devices", registry=self.registry)
        self.rollouts = Gauge("modelfleet_active_rollouts", "Active rollouts", registry=self.registry)
        self.revision = Gauge("modelfleet_revision", "Global assignment revision", registry=self.registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
