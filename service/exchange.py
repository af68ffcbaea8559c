"""What every exchange has, whatever it is about: a request id, headers that protect, a clock."""

import random
import re
from typing import NamedTuple

from service.logs import current_id
from service.observers import Answered
from service.stages import Stages, server_timing

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
NOTHING = "default-src 'none'; frame-ancestors 'none'"
FIXED_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", NOTHING),
    ("cache-control", "no-store"),
    ("server", "nextday"),
)
"""Headers of every answer that has no other ones of these names."""

Headers = list[tuple[str, str]]


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
        path: Of the request, decoded.
        stages: Its clock, and what it turned out to be about.
        route: The pattern of the path, once it is known.
        problem: The slug of the problem that is its answer, if one is.
        key: The id of the caller's key.
        trace: The caller's headers traceparent and tracestate.
    """

    __slots__ = ("key", "method", "path", "problem", "request_id", "route", "stages", "trace")

    def __init__(self, given_id: str, method: str, path: str) -> None:
        """Begin now; an id that is none is replaced."""
        self.request_id = given_id if given_id and REQUEST_ID.fullmatch(given_id) else f"{random.getrandbits(128):032x}"
        self.method = method
        self.path = path
        self.stages = Stages()
        self.route: str | None = None
        self.problem: str | None = None
        self.key: str | None = None
        self.trace = ("", "")
        current_id.set(self.request_id)

    def headers(self) -> Headers:
        """What its answer has besides."""
        headers = [("x-request-id", self.request_id), *FIXED_HEADERS]
        if timing := server_timing(self.stages):
            headers.append(("server-timing", timing))
        return headers

    def answered(self, status: int, *, received: int | None, sent: int | None) -> Answered:
        """What those are told who observe it; sizes are of the bodies, in bytes."""
        return Answered(
            self.method,
            self.path,
            self.route,
            status,
            received,
            sent,
            self.request_id,
            self.problem,
            self.key,
            *self.trace,
        )
