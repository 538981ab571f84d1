"""What a served policy counts, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BYTES: Final = (1 << 10, 1 << 13, 1 << 16, 1 << 19, 1 << 22, 1 << 25)


class Figures(NamedTuple):
    """What is known of the cluster at the moment."""

    nodes: int = 0
    pods_held: int = 0
    faults: int = 0


class Metrics:
    """See the module. A registry of its own, so that several servers of one process do not meet."""

    def __init__(self) -> None:
        # because: such series double all others, and say when the server started; the library has no type for the switch
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self.registry = CollectorRegistry()

        def counter(name: str, said: str, *labels: str) -> Counter:
            return Counter(f"rehearse_{name}", said, labels, registry=registry)

        def gauge(name: str, said: str) -> Gauge:
            return Gauge(f"rehearse_{name}", said, registry=registry)

        def histogram(name: str, said: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"rehearse_{name}", said, ["verb"], buckets=buckets, registry=registry)

        self.requests = counter("requests_total", "Requests by verb and result.", "verb", "result")
        self.request_seconds = histogram("request_seconds", "From the whole body to the reply.", SECONDS)
        self.decision_seconds = histogram("decision_seconds", "What the policy took of it.", SECONDS)
        self.request_bytes = histogram("request_body_bytes", "Bodies of requests.", BYTES)
        self.reply_bytes = histogram("reply_body_bytes", "Bodies of replies.", BYTES)
        self.waiting = gauge("requests_waiting", "Requests that wait for the policy, or are in work.")
        self.cut_off = counter("connections_cut_off_total", "Connections that were ended here.", "reason")
        self.journal_faults = counter("journal_faults_total", "Decisions that could not be written down.")
        self.usage_known = gauge("usage_known", "1 if pods are watched, 0 if each node counts as idle.")
        self._nodes = gauge("nodes", "Nodes that are known.")
        self._held = gauge("pods_held", "Pods that hold a place.")
        self._faults = gauge("faults", "Objects that cannot be read or placed.")
        self._event_age = gauge("last_watch_event_age_seconds", "Since the last watch event; NaN without a watch.")
        self._event_age.set(float("nan"))
        self._journal_lost = gauge("journal_lines_lost", "Events and decisions that the journal could not keep.")

    def watch_age(self, age_s: Callable[[], float]) -> None:
        """From now on the age of the last watch event is asked for when it is read."""
        self._event_age.set_function(age_s)

    def journal(self, lost: Callable[[], int]) -> None:
        """From now on the lines that the journal lost are asked for when they are read."""
        self._journal_lost.set_function(lost)

    def show(self, figures: Figures) -> None:
        """Set what is known of the cluster."""
        self._nodes.set(figures.nodes)
        self._held.set(figures.pods_held)
        self._faults.set(figures.faults)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)
