"""``/healthz``: the process is up. ``/readyz``: it can forecast; if not, what is missing."""

from flask import Blueprint, Response

from models.repository import Repository
from service.drain import Drain
from service.metrics import Metrics
from worker.answers import encode
from worker.jobs import Jobs
from worker.tables import JSON

HEALTH = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
"""Paths that have threads of their own, so that whoever watches the service is told how it is when it is busy."""


def routes(models: Repository, jobs: Jobs, drain: Drain, metrics: Metrics) -> Blueprint:
    """The routes that balancers and people ask."""
    views = Blueprint("health", __name__)

    @views.get("/healthz")
    def healthz() -> Response:
        return Response(encode({"status": "ok"}), content_type=JSON)

    @views.get("/readyz")
    def readyz() -> Response:
        missing = models.load_newest()
        metrics.models(models, missing)
        ready = [name for name in models.names() if models.at_hand(name)]
        # Forecasts need no queue, so a queue that is away is told here and takes nothing down.
        state = {"models": ready, "missing": missing, "draining": drain.begun, "queue": jobs.queue_state()}
        able = not missing and not drain.begun
        return Response(encode({"ready": able, **state}), 200 if able else 503, content_type=JSON)

    return views
