"""A collector of traces: takes OTLP over HTTP on a port of its own, and keeps what it is sent."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

DEADLINE_S = 30


@dataclass
class Collector:
    """What came, as it came."""

    url: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        """All spans so far."""
        found = [scope for request in self.requests for each in request.resource_spans for scope in each.scope_spans]
        return [span for scope in found for span in scope.spans]

    def wait(self, spans: int) -> list[Span]:
        """The spans, once there are so many."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.spans) < spans:
            assert time.monotonic() < deadline, self.spans
            time.sleep(0.02)
        return self.spans


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.append(self.path)
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()


def attributes(span: Span) -> dict[str, Any]:
    """What a span says."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
