"""What every exchange has, whatever it is about: a request id, headers that protect, a line in the log."""

import logging
import re
import time
import uuid
from dataclasses import dataclass

from flask import Flask, Response, g, request

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_LOGGED_PATH = 300
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
            "path": path[:MAX_LOGGED_PATH],
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


def observe(app: Flask) -> None:
    """Give each request of an app an id, each answer its headers, and each exchange its line in the log."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.exchange = Exchange.begin(request.headers.get("X-Request-Id", ""))
    g.request_id = g.exchange.request_id


def _end(answer: Response) -> Response:
    headers = answer.headers
    for name, value in fixed_headers(g.request_id):
        headers.setdefault(name, value)
    sent = headers.get("Content-Length", type=int)
    g.exchange.end(
        method=request.method,
        path=request.path,
        status=answer.status_code,
        received=request.content_length,
        sent=sent,
    )
    return answer
