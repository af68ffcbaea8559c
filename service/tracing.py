"""
Traces by OpenTelemetry, where `NEXTDAY_TRACES` says whom to send them to; without it nothing of this is imported.

A request costs no more than putting what is known about it aside. A thread makes spans of that, by `service.spans`, and
sends them on; where nobody takes them they are dropped, and once a minute that is said.
"""

import atexit
import importlib.util
import logging
import threading
import time
from collections import deque
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from models.errors import NextdayError, SettingError
from service.stages import Served

PATH = "/v1/traces"
"""Where OTLP over HTTP takes traces, behind an address that has no path of its own."""
SEND_S = 1.0
"""Seconds between two looks for what to send."""
MOST_AT_ONCE, MOST_WAITING = 500, 8_000
"""Requests that are sent together, and that wait; those that come after them take the place of the oldest."""
QUIET_S = 60.0
"""Seconds between two lines about traces that nobody takes."""
CLOSE_S = 2.0
"""Seconds that a collector who does not answer holds up the end of the process."""

log = logging.getLogger(__name__)


class TracingMissing(NextdayError):
    """Traces are asked for, and what makes them is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "NEXTDAY_TRACES is set, and traces need OpenTelemetry; install it with `pip install -e '.[tracing]'` in the"
            " clone"
        )


class Trace(NamedTuple):
    """
    A request that was answered, as a trace tells it: no body, no id of a series, no key.

    Attributes:
        method: Of the request.
        route: Its pattern.
        status: Of the answer.
        request_id: As in the answer and the log.
        traceparent: What the caller sent under this name (W3C), '' if nothing.
        tracestate: The same.
        ended_ns: When it was answered, in nanoseconds since 1970.
        took_ns: How long that took.
        stages: Of that, where each stage began and ended, counted from the start.
        rows: Rows that were forecast.
        served: The model that did.
    """

    method: str
    route: str
    status: int
    request_id: str
    traceparent: str
    tracestate: str
    ended_ns: int
    took_ns: int
    stages: tuple[tuple[str, int, int], ...]
    rows: int
    served: Served | None


class Sender(Protocol):
    """Who makes spans of requests and sends them."""

    def send(self, traces: list[Trace]) -> str | None:
        """Send some; why not, where that fails."""

    def close(self) -> None:
        """Give up what is under way."""


class Traces:
    """The traces of one process; made in the process that answers. Thread-safe."""

    def __init__(self, sender: Sender, *, send_s: float = SEND_S) -> None:
        self._sender = sender
        self._send_s = send_s
        self._waiting: deque[Trace] = deque(maxlen=MOST_WAITING)
        self._lost = 0
        self._told = -QUIET_S
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send_on, name="traces", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @classmethod
    def to(cls, url: str) -> "Traces":
        """
        Traces for a collector that takes OTLP over HTTP.

        Raises:
            SettingError: That is no address.
            TracingMissing: OpenTelemetry is not installed.
        """
        endpoint = check(url)
        from service.spans import Exporter  # noqa: PLC0415 - an extra that only this needs

        return cls(Exporter(endpoint))

    def add(self, trace: Trace) -> None:
        """Put a request aside to be sent."""
        if len(self._waiting) == MOST_WAITING:
            self._lost += 1
        self._waiting.append(trace)

    def close(self) -> None:
        """Send what waits, and no more after it; gives up on a collector that does not answer."""
        self._ending.set()
        self._thread.join(CLOSE_S)
        self._sender.close()
        atexit.unregister(self.close)

    def _send_on(self) -> None:
        while not self._ending.wait(self._send_s):
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        for _ in range(-(-len(self._waiting) // MOST_AT_ONCE)):
            some = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            try:
                reason = self._sender.send(some)
            except Exception as error:  # whatever it is, it must not end the traces
                reason = f"{type(error).__name__}: {error}"
            if reason:
                self._tell(reason, len(some))

    def _tell(self, reason: str, lost: int) -> None:
        self._lost += lost
        if time.monotonic() - self._told >= QUIET_S:
            self._told = time.monotonic()
            lost, self._lost = self._lost, 0
            log.warning("traces of %d requests could not be sent: %s", lost, reason)


def check(url: str) -> str:
    """
    The address that traces go to, once it is one and can be served.

    Raises:
        SettingError: That is no address.
        TracingMissing: OpenTelemetry is not installed.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        wanted = "the address of an OTLP collector, as http://127.0.0.1:4318"
        raise SettingError(variable="NEXTDAY_TRACES", value=url, wanted=wanted)
    for package in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
        try:
            there = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            there = None
        if there is None:
            raise TracingMissing
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{PATH}"
