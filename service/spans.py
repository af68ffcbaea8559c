"""Requests as OpenTelemetry's spans, sent by OTLP over HTTP. Needs the extra `tracing`; see `service.tracing`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing import Trace

TIMEOUT_S = 5.0
"""Seconds that a collector has to take a batch, second tries included."""
FAILED = 500
"""From this status on it is the service that failed."""


class Exporter:
    """
    Makes a span of each request, its stages below it, and sends them. Belongs to one thread.

    Sampling, headers and certificates are as OpenTelemetry's own variables say, such as `OTEL_TRACES_SAMPLER`.
    """

    def __init__(self, endpoint: str) -> None:
        self._ended = _Ended()
        resource = Resource.create(
            {"service.name": "nextday", "service.version": version("nextday"), "process.pid": os.getpid()}
        )
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("nextday", version("nextday"))
        self._propagator = TraceContextTextMapPropagator()
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)

    def send(self, traces: list[Trace]) -> str | None:
        """Send some requests; why not, where that fails."""
        for trace in traces:
            self._span(trace)
        spans, self._ended.spans = self._ended.spans, []
        if not spans:  # their callers want none, or the sampler
            return None
        with _overheard() as said:
            result = self._exporter.export(spans)
        return None if result is SpanExportResult.SUCCESS else (said[-1] if said else "no reason was given")

    def close(self) -> None:
        """Give up what is under way."""
        with _overheard():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _span(self, trace: Trace) -> None:
        began_ns = trace.ended_ns - trace.took_ns
        carrier = {"traceparent": trace.traceparent, "tracestate": trace.tracestate}
        span = self._tracer.start_span(
            f"{trace.method} {trace.route}",
            context=self._propagator.extract(carrier, Context()),
            kind=SpanKind.SERVER,
            attributes=_attributes(trace),
            start_time=began_ns,
        )
        self._add_stages(span, trace, began_ns)
        if trace.status >= FAILED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(trace.ended_ns)

    def _add_stages(self, span: Span, trace: Trace, began_ns: int) -> None:
        within = set_span_in_context(span, Context())
        for stage, start_ns, end_ns in trace.stages:
            child = self._tracer.start_span(stage, context=within, start_time=began_ns + start_ns)
            child.end(began_ns + end_ns)


class _Ended(SpanProcessor):
    """Keeps the spans that have ended and are to be sent."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        if span.context and span.context.trace_flags.sampled:
            self.spans.append(span)


def _attributes(trace: Trace) -> dict[str, str | int]:
    """What a span says, by OpenTelemetry's names where there are some."""
    said: dict[str, str | int] = {
        "http.request.method": trace.method,
        "http.route": trace.route,
        "http.response.status_code": trace.status,
        "nextday.request_id": trace.request_id,
    }
    if trace.rows:
        said["nextday.rows"] = trace.rows
    if trace.served:
        said |= {f"nextday.model.{name}": value for name, value in trace.served._asdict().items()}
    return said


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What the exporter says meanwhile, kept out of the log: it says much about a collector that is away."""
    said: list[str] = []

    def listen(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    logger = logging.getLogger(trace_exporter.__name__)
    logger.addFilter(listen)
    try:
        yield said
    finally:
        logger.removeFilter(listen)
