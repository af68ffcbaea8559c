"""What every exchange has, whatever it is about: a request id, headers that protect, a line in the log."""

import logging
import re
import time
import uuid

from flask import Flask, Response, g, request

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_LOGGED_PATH = 300
NOTHING = "default-src 'none'; frame-ancestors 'none'"

log = logging.getLogger("service.access")


def observe(app: Flask) -> None:
    """Give each request of an app an id, each answer its headers, and each exchange its line in the log."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _end(answer: Response) -> Response:
    headers = answer.headers
    headers["X-Request-Id"] = g.request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Content-Security-Policy", NOTHING)
    headers.setdefault("Cache-Control", "no-store")
    facts = {
        "method": request.method,
        "path": request.path[:MAX_LOGGED_PATH],
        "status": answer.status_code,
        "received_bytes": request.content_length,
        "sent_bytes": headers.get("Content-Length", type=int),
        "took_ms": round((time.perf_counter() - g.started) * 1000, 3),
    }
    log.info("request", extra={"facts": facts})
    return answer
