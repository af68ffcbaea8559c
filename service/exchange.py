"""What every exchange has, whatever it is about: an id, headers that protect, its stages' times, a line in the log."""

import logging
import random
import re
import time
from contextvars import ContextVar
from typing import Any, NamedTuple

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_LOGGED_PATH = 300
NOTHING = "default-src 'none'; frame-ancestors 'none'"
FIXED_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", NOTHING),
    ("cache-control", "no-store"),
    ("server", "nextday"),
)
"""Headers of every answer that has no other ones of these names."""

Headers = list[tuple[str, str]]

current_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered, for lines in the log."""

log = logging.getLogger("service.access")


class Answer(NamedTuple):
    """
    What is answered, before anything of HTTP's own.

    Attributes:
        status: As in 200.
        headers: Content-Type first; names in lower case.
        content: The body.
    """

    status: int
    headers: Headers
    content: bytes


class Exchange:
    """
    A request and its answer while they last.

    Attributes:
        request_id: The caller's, if it gave one, else a new one.
        method: Of the request.
        path: Of the request, as it came.
        stages: Seconds that each stage took, in the order in which they ended.
        facts: What else is known of it, for its line in the log.
    """

    __slots__ = ("_last", "_started", "facts", "method", "path", "request_id", "stages")

    def __init__(self, given_id: str, method: str, path: str) -> None:
        """Begin now; an id that is none is replaced."""
        self.request_id = given_id if given_id and REQUEST_ID.fullmatch(given_id) else f"{random.getrandbits(128):032x}"
        current_id.set(self.request_id)
        self.method = method
        self.path = path
        self.stages: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self._started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage."""
        now = time.perf_counter()
        self.stages[stage] = now - self._last
        self._last = now

    def ran(self, *, waited_s: float, ran_s: float) -> None:
        """Count what the last lap's end and now lie apart as two stages, as whoever ran them took their time."""
        self.stages["wait"], self.stages["run"] = waited_s, ran_s
        self._last = time.perf_counter()

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._started

    def headers(self) -> Headers:
        """What its answer has besides."""
        return [("x-request-id", self.request_id), *FIXED_HEADERS]

    def end(self, status: int, *, received: int | None, sent: int | None) -> None:
        """Write the line in the log; sizes are of the bodies, in bytes."""
        facts = {
            "method": self.method,
            "path": self.path[:MAX_LOGGED_PATH],
            "status": status,
            "received_bytes": received,
            "sent_bytes": sent,
            "took_ms": round(self.took_s * 1000, 3),
            "request_id": self.request_id,
            **self.facts,
        }
        log.info("request", extra={"facts": facts})
