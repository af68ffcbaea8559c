"""What every exchange has, whatever it is about: a request id, headers that protect, a line in the log."""

import functools
import logging
import re
import time
import uuid
from dataclasses import dataclass

from flask import Flask, Response, g, request

from service.accesslog import MAX_LOGGED_CHARS
from service.observers import Answered, Observers
from service.stages import Stages, server_timing

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
NOTHING = "default-src 'none'; frame-ancestors 'none'"
_FIXED = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", NOTHING),
    ("Cache-Control", "no-store"),
)

log = logging.getLogger("service.access")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer: their id, and when they began, in seconds of a clock of its own."""

    request_id: str
    started: float

    @classmethod
    def begin(cls, given: str) -> "Exchange":
        """Now, with the id that the caller gave, if it is one, else a new one."""
        return cls(given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex, time.perf_counter())

    def end(self, *, method: str, path: str, status: int, received: int | None, sent: int | None) -> None:
        """Write the line in the log; sizes are of the bodies, in bytes."""
        facts = {
            "method": method,
            "path": path[:MAX_LOGGED_CHARS],
            "status": status,
            "received_bytes": received,
            "sent_bytes": sent,
            "took_ms": round((time.perf_counter() - self.started) * 1000, 3),
            "request_id": self.request_id,
        }
        log.info("request", extra={"facts": facts})


def fixed_headers(request_id: str) -> list[tuple[str, str]]:
    """Headers of every answer that has no other ones of these names."""
    return [("X-Request-Id", request_id), *_FIXED]


def observe(app: Flask, observers: Observers) -> None:
    """Give each request of an app an id, each answer its headers, and tell the observers of each exchange."""

    def begin() -> None:
        g.exchange = Exchange.begin(request.headers.get("X-Request-Id", ""))
        g.request_id = g.exchange.request_id
        g.stages = Stages()
        observers.began()

    def end(answer: Response) -> Response:
        headers = answer.headers
        for name, value in fixed_headers(g.request_id):
            headers.setdefault(name, value)
        if timing := server_timing(g.stages):
            headers["Server-Timing"] = timing
        observers.answered(g.stages, _answered(answer))
        return answer

    def close(_error: BaseException | None) -> None:
        if "stages" in g:
            observers.over()

    app.before_request(begin)
    app.after_request(end)
    app.teardown_request(close)


def _answered(answer: Response) -> Answered:
    rule = request.url_rule
    return Answered(
        method=request.method,
        path=request.path,
        route=pattern(rule.rule) if rule else None,
        status=answer.status_code,
        received=request.content_length,
        sent=answer.headers.get("Content-Length", type=int),
        request_id=g.request_id,
        problem=g.get("problem"),
        traceparent=request.headers.get("traceparent", ""),
        tracestate=request.headers.get("tracestate", ""),
    )


@functools.cache
def pattern(rule: str) -> str:
    """
    A rule of Flask's as a path of OpenAPI.

    >>> pattern("/v1/jobs/<job_id>"), pattern("/docs/<path:path>")
    ('/v1/jobs/{job_id}', '/docs/{path}')
    """
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule)
