"""Those who are told of each exchange, whichever door it came through: metrics, access log, traces."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from service.accesslog import MAX_LOGGED_CHARS, AccessLog
from service.keys import without_secrets
from service.metrics import METHODS, Metrics
from service.settings import ServiceSettings
from service.stages import Served, Stages
from service.tallies import OTHER
from service.tracing import Trace, Traces

OVERLOADED = "overloaded"
"""The problem of those for whom there is no room."""


class Answered(NamedTuple):
    """
    A request and its answer.

    Attributes:
        method: As the caller wrote it.
        path: As the caller wrote it; goes into the log alone.
        route: The pattern of the path; None where there is none.
        status: Of the answer.
        received: Bytes of the request's body.
        sent: Bytes of the answer's body.
        request_id: As in the answer.
        problem: Its slug, where the answer is a problem.
        key: The id of the caller's key, never the key.
        traceparent: The caller's header of this name, '' if there is none.
        tracestate: The same.
    """

    method: str
    path: str
    route: str | None
    status: int
    received: int | None
    sent: int | None
    request_id: str
    problem: str | None = None
    key: str | None = None
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Observers:
    """The observers of one process; made in the process that answers."""

    metrics: Metrics
    access: AccessLog
    traces: Traces | None

    @classmethod
    def of(cls, settings: ServiceSettings, folder: Path | None = None) -> "Observers":
        """
        The observers that the settings ask for.

        Args:
            settings: Whether there is an access log, and where traces go.
            folder: Where the processes of one service count together; None for one that counts alone.

        Raises:
            SettingError: The address of the traces is none.
            TracingMissing: Traces are asked for, and OpenTelemetry is not installed.
        """
        traces = Traces.to(settings.traces) if settings.traces else None
        return cls(Metrics(folder), AccessLog(on=settings.access_log == "on"), traces)

    def began(self) -> None:
        """A request has come; `over` goes with it, whatever happens between."""
        self.metrics.began()

    def over(self) -> None:
        """A request that had begun is over."""
        self.metrics.ended()

    def answered(self, stages: Stages, exchange: Answered) -> None:
        """
        Count, log and trace a request that was answered.

        Args:
            stages: Its clock, with what it turned out to be about.
            exchange: What came and what went.
        """
        took_ns = stages.total_ns
        method = exchange.method if exchange.method in METHODS else OTHER
        route = exchange.route or OTHER
        self.metrics.request(route, method, exchange.status, took_ns / 1e9, stages)
        if exchange.problem:
            self.metrics.rejected(exchange.problem)
        if (
            self.access.on and exchange.problem != OVERLOADED
        ):  # of these there may be many, and each would cost the others
            self.access.write_later(partial(_facts, exchange, stages.rows, stages.served, took_ns))
        if self.traces:
            trace = Trace(
                method=method,
                route=route,
                status=exchange.status,
                request_id=exchange.request_id,
                traceparent=exchange.traceparent,
                tracestate=exchange.tracestate,
                ended_ns=time.time_ns(),
                took_ns=took_ns,
                stages=tuple(stages.spans()),
                rows=stages.rows,
                served=stages.served,
            )
            self.traces.add(trace)

    def turned_away(self, stages: Stages, route: str, method: str, status: int) -> None:
        """Count a request for which there was no room, at once."""
        self.metrics.request(route, method, status, stages.total_ns / 1e9)
        self.metrics.rejected(OVERLOADED)


def _facts(exchange: Answered, rows: int, served: Served | None, took_ns: int) -> dict[str, Any]:
    """What the access log says of an exchange."""
    facts: dict[str, Any] = {
        "method": exchange.method[:MAX_LOGGED_CHARS],
        "path": without_secrets(exchange.path[:MAX_LOGGED_CHARS]),
        "status": exchange.status,
        "received_bytes": exchange.received,
        "sent_bytes": exchange.sent,
        "took_ms": took_ns // 1000 / 1000,
        "request_id": without_secrets(exchange.request_id),
    }
    if exchange.key:
        facts["key"] = exchange.key
    if served:
        facts["model"] = served.name
    if rows:
        facts["rows"] = rows
    return facts
