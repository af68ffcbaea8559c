"""``GET /metrics``: what was counted, and what is looked up when somebody asks, as Prometheus reads it."""

import threading
from collections.abc import Iterator
from importlib.metadata import version

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from werkzeug.datastructures import MIMEAccept

from models.repository import Repository
from service.metrics import Metrics
from service.tallies import Definition
from worker.errors import QueueUnavailable
from worker.jobs import Backlog, Jobs

OPENMETRICS = "application/openmetrics-text"
PLAIN = "text/plain"
QUEUE_WAIT_S = 0.3
"""Seconds that the queue has to answer; then its metrics are left out."""

BUILD_INFO = Definition("nextday_build_info", "gauge", ("version",), "1, with the version of the service.")
QUEUE_UP = Definition("nextday_queue_up", "gauge", (), "1 if the job queue answers in time, else 0.")
JOBS = Definition(
    "nextday_jobs", "gauge", ("status",),
    "Jobs that are kept, by status: `queued`, `in_progress`, `finalizing`, `cancelling` or `ended`; absent where the "
    "queue is away.",
)  # fmt: skip
QUEUE_CHUNKS = Definition(
    "nextday_queue_chunks", "gauge", (), "Chunks of jobs that are not done yet; absent where the queue is away."
)
QUEUE_WORKERS = Definition(
    "nextday_queue_workers", "gauge", (), "Workers that gave a sign of life lately; absent where the queue is away."
)
QUEUE_LACKING = Definition(
    "nextday_queue_lacking_models", "gauge", (),
    "Models that jobs wait for and that some worker lacks, so that it leaves them to others; absent where the queue is "
    "away.",
)  # fmt: skip
LOOKED_UP = (BUILD_INFO, QUEUE_UP, JOBS, QUEUE_CHUNKS, QUEUE_WORKERS, QUEUE_LACKING)


def routes(metrics: Metrics, models: Repository, jobs: Jobs) -> Blueprint:
    """The route that Prometheus asks."""
    views = Blueprint("metrics", __name__)
    scrape = Scrape(metrics, models, jobs)

    @views.get("/metrics")
    def get_metrics() -> Response:
        if _wants_openmetrics(request.accept_mimetypes):
            return Response(openmetrics.generate_latest(scrape), content_type=openmetrics.CONTENT_TYPE_LATEST)
        return Response(generate_latest(scrape), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return views


def _wants_openmetrics(accept: MIMEAccept) -> bool:
    """Whether it is named, and plain text is not liked better; which version of it does not matter."""
    liked: dict[str, float] = {OPENMETRICS: 0, PLAIN: 0}
    for name, quality in accept:
        media_type = name.split(";")[0].strip()
        liked[media_type] = max(quality, liked.get(media_type, 0))
    return liked[OPENMETRICS] > 0 and liked[OPENMETRICS] >= liked[PLAIN]


class Scrape:
    """All metrics, as prometheus-client prints them. Thread-safe."""

    def __init__(self, metrics: Metrics, models: Repository, jobs: Jobs) -> None:
        self._metrics = metrics
        self._models = models
        self._queue = Glance(jobs)

    def collect(self) -> Iterator[Metric]:
        """Each metric; never waits long for the queue."""
        self._metrics.models(self._models)
        yield from self._metrics.collect()
        yield _gauge(BUILD_INFO, {(version("nextday"),): 1})
        backlog = self._queue.look(wait_s=QUEUE_WAIT_S)
        yield _gauge(QUEUE_UP, {(): int(backlog is not None)})
        if backlog is not None:
            yield _gauge(JOBS, {(status,): count for status, count in backlog.jobs.items()})
            yield _gauge(QUEUE_CHUNKS, {(): backlog.chunks})
            yield _gauge(QUEUE_WORKERS, {(): backlog.workers})
            yield _gauge(QUEUE_LACKING, {(): len(backlog.lacking)})


class Glance:
    """A look at the queue that takes no longer than it may. Thread-safe."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._looking = threading.Lock()

    def look(self, *, wait_s: float) -> Backlog | None:
        """What waits in the queue; None if it does not say so in time, or has not yet ended another look."""
        if not self._looking.acquire(blocking=False):
            return None
        found: list[Backlog] = []
        looker = threading.Thread(target=self._look, args=(found,), daemon=True)
        looker.start()
        looker.join(wait_s)
        return found[0] if found else None

    def _look(self, found: list[Backlog]) -> None:
        try:
            found.append(self._jobs.backlog())
        except QueueUnavailable:
            pass
        finally:
            self._looking.release()


def _gauge(definition: Definition, values: dict[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(definition.name, definition.help, labels=definition.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
