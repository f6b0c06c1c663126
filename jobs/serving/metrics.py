"""What a service counts, for Prometheus.

The rule: each service has a registry of its own, so that two in a process do not count together.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from lvm_batch.io.schema import ROUTES
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.jobs.serving.rows import Answers

_SECONDS = (0.0005, 0.001, 0.0015, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_TOTALS = {"n_requests": "lvm_batch_requests_total", "n_rows": "lvm_batch_rows_total"}
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of requests, rows, routes, reasons and batches, and how long requests took."""

    def __init__(self, reasons_to_count: Sequence[str] = REASONS) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.under_way = Gauge(
            "lvm_batch_requests_under_way", "Requests in progress.", registry=self._registry
        )
        self.ready = Gauge("lvm_batch_ready", "Whether the service takes requests.", registry=self._registry)
        self._requests = Counter(
            "lvm_batch_requests",
            "Requests answered, by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "lvm_batch_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "lvm_batch_batch_rows",
            "Rows in one batch of the models.",
            buckets=_ROWS,
            registry=self._registry,
        )
        rows = Counter(
            "lvm_batch_rows",
            "Rows answered, by the model of the prediction.",
            ["route"],
            registry=self._registry,
        )
        reasons = Counter(
            "lvm_batch_escalation_reasons",
            "Rows for which an escalation criterion held.",
            ["reason"],
            registry=self._registry,
        )
        self._rows = [rows.labels(route) for route in ROUTES]
        self._reasons = [reasons.labels(reason) for reason in reasons_to_count]

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        requests, took = self._counters(path, status)
        requests.inc()
        took.observe(seconds)

    @cache  # noqa: B019 - it lives as long as the process
    def _counters(self, path: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(path, str(status)), self._seconds.labels(path)

    def batch(self, n_rows: int) -> None:
        """Count a batch of rows."""
        self._batches.observe(n_rows)

    def routed(self, answers: Answers) -> None:
        """Count rows that have an answer, by route and reason."""
        if len(answers.answered) == 1:  # without numpy's sums, which take as long as all the rest
            if not answers.answered[0]:
                return
            self._rows[int(answers.escalated[0])].inc()
            for counter, holds in zip(self._reasons, answers.reasons[0].tolist(), strict=True):
                if holds:
                    counter.inc()
            return
        n_escalated = int((answers.escalated & answers.answered).sum())
        self._rows[0].inc(int(answers.answered.sum()) - n_escalated)
        self._rows[1].inc(n_escalated)
        counts = answers.reasons[answers.answered].sum(axis=0).tolist()
        for counter, count in zip(self._reasons, counts, strict=True):
            counter.inc(count)

    def totals(self) -> dict[str, int]:
        """Return the requests and rows answered so far."""
        return {name: int(self._sum(counted)) for name, counted in _TOTALS.items()}

    def _sum(self, counted: str) -> float:
        samples = (sample for metric in self._registry.collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name == counted)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)
