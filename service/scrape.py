"""``GET /metrics``: what was counted, and what is looked up when somebody asks, as Prometheus reads it."""

import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
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
JOB_ROWS = Definition(
    "nextday_job_rows_total", "counter", ("outcome",),
    "Rows of jobs that were done, by `completed` and `failed`, since there is this queue; a row that is scored again "
    "counts again; absent where the queue is away.",
)  # fmt: skip
QUEUE_OLDEST = Definition(
    "nextday_queue_oldest_seconds", "gauge", (),
    "Age of the job that has waited longest for its first chunk to be begun, since it was submitted or resumed; 0 "
    "where none waits; absent where the queue is away.",
)  # fmt: skip
QUEUE_MEMORY = Definition(
    "nextday_queue_memory_bytes", "gauge", (), "Memory that Redis uses; absent where the queue is away."
)
QUEUE_MEMORY_LIMIT = Definition(
    "nextday_queue_memory_limit_bytes", "gauge", (),
    "Memory that Redis may use, beyond 80 % of which no job is let in; absent where nothing limits it.",
)  # fmt: skip
COVERAGE = Definition(
    "nextday_model_coverage_ratio", "gauge", ("model", "version", "market", "band"),
    "Share of days whose close lay within a band of a model that is ready here, as measured when it was trained; a "
    "band of 0.9 should hold 0.9 of them.",
)  # fmt: skip
QUEUE_WORKERS = Definition(
    "nextday_queue_workers", "gauge", (), "Workers that gave a sign of life lately; absent where the queue is away."
)
QUEUE_LACKING = Definition(
    "nextday_queue_lacking_models", "gauge", (),
    "Models that jobs wait for and that some worker lacks, so that it leaves them to others; absent where the queue is "
    "away.",
)  # fmt: skip
LOOKED_UP = (
    BUILD_INFO, COVERAGE, QUEUE_UP, JOBS, JOB_ROWS, QUEUE_CHUNKS, QUEUE_OLDEST, QUEUE_WORKERS, QUEUE_LACKING,
    QUEUE_MEMORY, QUEUE_MEMORY_LIMIT,
)  # fmt: skip
COVERED = "coverage_"
"""How a card's measures of coverage begin, before a band in per cent."""


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
        yield _family(BUILD_INFO, {(version("nextday"),): 1})
        yield _family(COVERAGE, dict(_coverage(self._models)))
        backlog = self._queue.look(wait_s=QUEUE_WAIT_S)
        yield _family(QUEUE_UP, {(): int(backlog is not None)})
        if backlog is not None:
            yield from _of_queue(backlog)


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


def _of_queue(backlog: Backlog) -> Iterator[Metric]:
    yield _family(JOBS, {(status,): count for status, count in backlog.jobs.items()})
    yield _family(JOB_ROWS, {(outcome,): count for outcome, count in backlog.rows.items()})
    yield _family(QUEUE_CHUNKS, {(): backlog.chunks})
    yield _family(QUEUE_OLDEST, {(): backlog.oldest_s})
    yield _family(QUEUE_WORKERS, {(): backlog.workers})
    yield _family(QUEUE_LACKING, {(): len(backlog.lacking)})
    yield _family(QUEUE_MEMORY, {(): backlog.memory_bytes})
    if backlog.memory_limit_bytes:
        yield _family(QUEUE_MEMORY_LIMIT, {(): backlog.memory_limit_bytes})


def _coverage(models: Repository) -> Iterator[tuple[tuple[str, ...], float]]:
    """By model, version, market and band, of the models that are ready here."""
    for card in (each.card for each in models.forecasters()):
        for market, scores in card.scores.items():
            for measure, percent in scores.get(card.name, {}).items():
                if measure.startswith(COVERED):
                    band = f"{int(measure.removeprefix(COVERED)) / 100:g}"
                    yield (card.name, str(card.version), market, band), percent / 100


def _family(definition: Definition, values: Mapping[tuple[str, ...], float]) -> Metric:
    kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    family = kind(definition.name, definition.help, labels=definition.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
