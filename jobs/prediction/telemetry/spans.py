"""Sends OpenTelemetry a span for a run and one for each of its units.

The rule: spans change nothing about a run; spans that do not arrive are one note, and are waited for no longer than
some seconds. OpenTelemetry's SDK finds out by itself where they go, and with which key
(``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_HEADERS``); the span that a run is part of is that of
``TRACEPARENT``, as https://www.w3.org/TR/trace-context/ writes it.
"""

from __future__ import annotations

import logging
import os
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.console.exit_codes import error_as_dict
from lvm_batch.jobs.prediction.observers import RunObserver
from lvm_batch.jobs.prediction.results.events import Event, UnitDone, UnitFailed
from lvm_batch.jobs.prediction.telemetry.delivery import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome

TIMEOUT_S = 10.0
"""For what has not been sent when a run ends."""

PARENT = "TRACEPARENT"
"""The variable that names the span which a run is part of."""

_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk")
_MOST_WAITING = 2**16  # spans; the SDK sends 512 at a time


class Spans(RunObserver):
    """Sends the spans of one run of the service ``name``; ``tell`` gets one note if they do not arrive."""

    def __init__(self, name: str, *, tell: Callable[[str], object]) -> None:
        self._name = name
        self._tell = tell
        self._sender: _Sender | None = None
        self._run: Span | None = None

    def begin(self, run: RunBeginning) -> None:
        """Begin the span of the run; settings of OpenTelemetry that cannot be used are the note."""
        if problem := problem_of(lambda: self._start(run), timeout_s=TIMEOUT_S):
            self._run = None
            self._tell(f"no spans are sent to OpenTelemetry: {redact(problem)}")

    def _start(self, run: RunBeginning) -> None:
        self._sender = _Sender(self._name)
        job = run.plan.job
        about = {"job_id": job.job_id, "rows": run.plan.n_rows, "output": redact(run.settings.output)}
        context = _outer_context(self._tell)
        self._run = self._sender.tracer.start_span("run", context, attributes=_named(about))

    def event(self, event: Event) -> None:
        """Add the span of a unit: it ends now, and began as long ago as its parts took."""
        match event:
            case UnitDone(record):
                seconds = dict(record.seconds or {})
                about = {"output": record.output, "rows": record.rows_in, "worker": record.worker}
                parts = {f"seconds.{part}": took for part, took in seconds.items()}
                self._add_unit(about | parts, took_s=sum(seconds.values()))
            case UnitFailed(failure, rows):
                about = {"output": failure.output, "rows": rows, "worker": failure.worker}
                self._add_unit(about, problem=failure.message)

    def conclude(self, outcome: RunOutcome) -> None:
        """End the span of a run that came to its end, and send what is left."""
        summary = outcome.summary
        about = {
            "units": summary.units,
            "units_done": summary.units_done,
            "rows_out": summary.totals.rows_out,
        }
        self._end(about, outcome.error)

    def fail(self, error: BaseException) -> None:
        """End the span by what stopped the run; a run that never held the output has none."""
        self._end({}, error)

    def _add_unit(self, about: dict[str, Any], *, took_s: float = 0.0, problem: str | None = None) -> None:
        from opentelemetry.trace import set_span_in_context

        if self._run is None or self._sender is None:
            return
        now_ns = time.time_ns()
        span = self._sender.tracer.start_span(
            "unit",
            set_span_in_context(self._run),
            attributes=_named(about),
            start_time=now_ns - round(took_s * 1e9),
        )
        _mark(span, problem)
        span.end(now_ns)

    def _end(self, about: dict[str, Any], error: BaseException | None) -> None:
        if self._run is None or self._sender is None:
            return
        self._run.set_attributes(_named(about))
        _mark(self._run, str(error_as_dict(error)["message"]) if error else None)
        self._run.end()
        if problem := self._sender.close():
            self._tell(f"spans for OpenTelemetry may not have arrived: {redact(problem)}")


class _Sender:
    """Makes spans, and sends them from a thread of its own."""

    def __init__(self, name: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._logged = _FirstMessage()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": name}), shutdown_on_exit=False
        )
        processor = BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=_MOST_WAITING)
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer("lvm-batch", version("lvm-batch"))

    def close(self) -> str | None:
        """Send what is left; return why spans did not arrive."""
        problem = problem_of(self._provider.shutdown, timeout_s=TIMEOUT_S)
        self._logged.close()
        return self._logged.text or problem


class _FirstMessage(logging.Handler):
    """Keeps the first thing that the SDK logs about its deliveries, which it reports in no other way."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self._loggers = [logging.getLogger(name) for name in _LOGGERS]
        for logger in self._loggers:
            logger.addHandler(self)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, without the trace of an error."""
        error = record.exc_info[1] if record.exc_info else None
        self.text = self.text or ": ".join(filter(None, (record.getMessage().rstrip("."), str(error or ""))))

    def close(self) -> None:
        """Leave the loggers as they were."""
        for logger in self._loggers:
            logger.removeHandler(self)
            logger.propagate = True
        super().close()


def _outer_context(tell: Callable[[str], object]) -> Context:
    """Return the context of the span that this run is part of, if the environment names one."""
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = os.environ.get(PARENT, "")
    context = TraceContextTextMapPropagator().extract({"traceparent": parent})
    if parent and not get_current_span(context).get_span_context().is_valid:
        tell(f"{PARENT} is left out: {redact(parent)!r} is not 00-TRACE-SPAN-FLAGS in hexadecimal digits")
    return context


def _named(about: dict[str, Any]) -> dict[str, Any]:
    return {f"lvm_batch.{name}": value for name, value in about.items()}


def _mark(span: Span, problem: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, redact(problem)) if problem else Status(StatusCode.OK))
