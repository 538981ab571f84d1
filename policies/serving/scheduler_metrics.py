"""What a scheduler counts besides what every served policy counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from policies.serving.metrics import SECONDS, Metrics

WAITS: Final = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


class SchedulerMetrics:
    """See the module. Registered with the others."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry

        def counter(name: str, said: str, *labels: str) -> Counter:
            return Counter(f"rehearse_{name}", said, labels, registry=registry)

        def gauge(name: str, said: str) -> Gauge:
            return Gauge(f"rehearse_{name}", said, registry=registry)

        def histogram(name: str, said: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"rehearse_{name}", said, buckets=buckets, registry=registry)

        self.passes = counter("passes_total", "Scheduling passes by result.", "result")
        self.pass_seconds = histogram("pass_seconds", "What a pass of the policy took.", (*SECONDS, 30, 60))
        self.actions = counter("actions_total", "What the policy decided.", "action")
        self.bindings = counter("bindings_total", "Pods that were to be bound, by what became of it.", "result")
        self.bind_seconds = histogram("bind_seconds", "From the start of a job to its last pod.", (*SECONDS, 30, 60))
        self.evictions = counter("evictions_total", "Answers to evictions.", "result")
        self.dropped_reports = counter("dropped_reports_total", "Events that there was no time to write.")
        self.leads = gauge("leads", "1 if this process decides.")
        self.jobs_waiting = gauge("jobs_waiting", "Jobs that wait to be decided on.")
        self.jobs_nominated = gauge("jobs_nominated", "Jobs that wait for others to leave their nodes.")
        self.wait_seconds = histogram("wait_seconds", "From the creation of a job to its start.", WAITS)
