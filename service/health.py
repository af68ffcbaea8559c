"""``/healthz``: the process is up. ``/readyz``: it can forecast; if not, what is missing."""

import threading
from collections.abc import Callable

from flask import Blueprint, Response

from models.repository import Repository
from service.drain import Drain
from service.metrics import Metrics
from worker.answers import encode
from worker.jobs import Jobs
from worker.media_types import JSON

HEALTH = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
"""Paths that have threads of their own, so that whoever watches the service is told how it is when it is busy."""


class OneAtATime:
    """
    What the queue says of itself, asked by one caller at a time; others are told what it said last.

    A queue that hangs takes a second to say so, and many who ask must not wait for each other.
    """

    def __init__(self, ask: Callable[[], dict[str, object]]) -> None:
        """Nothing is known yet."""
        self._ask = ask
        self._said: dict[str, object] | None = None
        self._turn = threading.Lock()

    def __call__(self) -> dict[str, object]:
        """The queue's state, now or when it was asked last."""
        if self._said is not None and self._turn.locked():
            return self._said
        with self._turn:
            self._said = self._ask()
            return self._said


def routes(models: Repository, jobs: Jobs, drain: Drain, metrics: Metrics) -> Blueprint:
    """The routes that balancers and people ask."""
    views = Blueprint("health", __name__)
    queue = OneAtATime(jobs.queue_state)

    @views.get("/healthz")
    def healthz() -> Response:
        return Response(encode({"status": "ok"}), content_type=JSON)

    @views.get("/readyz")
    def readyz() -> Response:
        missing = models.load_newest()
        metrics.models(models, missing)
        ready = [name for name in models.names() if models.at_hand(name)]
        # Forecasts need no queue, so a queue that is away is told here and takes nothing down.
        state = {"models": ready, "missing": missing, "draining": drain.begun, "queue": queue()}
        able = not missing and not drain.begun
        return Response(encode({"ready": able, **state}), 200 if able else 503, content_type=JSON)

    return views
