"""What the service counts and times, for Prometheus: one number over all of its processes, whichever is asked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import Metric

from models.repository import Repository
from service.stages import Stages
from service.tallies import OTHER, Definition, Tallies

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Definition(
    "nextday_requests_total", "counter", ("route", "method", "status"),
    "Requests answered; the route is its pattern, and `other` where there is none.",
)  # fmt: skip
REQUEST_SECONDS = Definition(
    "nextday_request_seconds", "histogram", ("route",), "Time from a request's head to its answer.",
    (.0003, .0005, .00075, .001, .0015, .0025, .005, .0075, .01, .025, .05, .1, .25, .5, 1, 2.5),
)  # fmt: skip
STAGE_SECONDS = Definition(
    "nextday_stage_seconds", "histogram", ("stage",),
    "Time of a request's stages: `decode`, `wait` (for a turn), `run`, `encode`.",
    (.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1),
)  # fmt: skip
IN_FLIGHT = Definition("nextday_requests_in_flight", "gauge", (), "Requests that are being answered.")
REJECTIONS = Definition(
    "nextday_rejections_total", "counter", ("reason",),
    "Requests answered with a problem, by the last part of its type; `GET /problems` lists them.",
)  # fmt: skip
BATCH_ROWS = Definition(
    "nextday_batch_rows",
    "histogram",
    (),
    "Rows of one run of the graph.",
    (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 4096),
)
PAD_RATIO = Definition(
    "nextday_pad_ratio", "histogram", (), "Share of a run's days that are padding.",
    (0, .01, .025, .05, .1, .15, .25, .5, .75),
)  # fmt: skip
RUN_SECONDS = Definition(
    "nextday_run_seconds", "histogram", ("model",), "Time of one run of the graph.",
    (.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1),
)  # fmt: skip
ROWS = Definition("nextday_rows_total", "counter", ("model", "version"), "Rows that were forecast.")
MODEL_INFO = Definition(
    "nextday_model_info", "gauge", ("model", "version", "digest", "provider"),
    "1 for each model version that is ready in some process, with what it runs on there.", gathering="livemax",
)  # fmt: skip
MODEL_READY = Definition(
    "nextday_model_ready", "gauge", ("model",), "1 where a model's newest version is ready in every process, else 0.",
    gathering="livemin",
)  # fmt: skip
REFUSALS = Definition(
    "nextday_model_refusals_total", "counter", ("model",), "Versions that a process refused to make ready."
)

DEFINITIONS = (
    REQUESTS, REQUEST_SECONDS, STAGE_SECONDS, IN_FLIGHT, REJECTIONS, BATCH_ROWS, PAD_RATIO, RUN_SECONDS, ROWS,
    MODEL_INFO, MODEL_READY, REFUSALS,
)  # fmt: skip
"""What is counted as it happens; `service.scrape` adds what is looked up when somebody asks."""
UNITS = ("seconds", "rows", "ratio")


class Metrics:
    """The metrics of one process, beside those of others in a folder. Thread-safe."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Take a place in the folder; without one, count for this process alone.

        Args:
            folder: Shared by the processes of one service, and theirs alone; empty when the first of them starts.
        """
        self._tallies = tallies = Tallies(folder)
        self._lock = tallies.lock
        self._requests = tallies.counter(REQUESTS)
        self._request_seconds = tallies.histogram(REQUEST_SECONDS)
        self._stage_seconds = tallies.histogram(STAGE_SECONDS)
        self._in_flight = tallies.gauge(IN_FLIGHT)
        self._rejections = tallies.counter(REJECTIONS)
        self._batch_rows = tallies.histogram(BATCH_ROWS)
        self._pad_ratio = tallies.histogram(PAD_RATIO)
        self._run_seconds = tallies.histogram(RUN_SECONDS)
        self._rows = tallies.counter(ROWS)
        self._model_info = tallies.gauge(MODEL_INFO)
        self._model_ready = tallies.gauge(MODEL_READY)
        self._refusals = tallies.counter(REFUSALS)
        self._told: Counter[str] = Counter()

    def began(self) -> None:
        """A request has come; `ended` goes with it, whatever happens between."""
        with self._lock:
            self._in_flight.add()

    def ended(self) -> None:
        """A request that had begun is over."""
        with self._lock:
            self._in_flight.add((), -1.0)

    def request(self, route: str, method: str, status: int, seconds: float, stages: Stages | None = None) -> None:
        """
        Count a request that was answered.

        Args:
            route: Its pattern, as `/v1/jobs/{job_id}`, or `other`; never a caller's path.
            method: As the caller wrote it.
            status: Of the answer.
            seconds: From its head to its answer.
            stages: What of that went where.
        """
        if method not in METHODS:
            method = OTHER
        totals_ns = stages.totals_ns if stages else {}
        with self._lock:
            self._requests.add((route, method, str(status)))
            self._request_seconds.add((route,), seconds)
            for stage, ns in totals_ns.items():
                self._stage_seconds.add((stage,), ns / 1e9)

    def rejected(self, slug: str) -> None:
        """Count an answer that was a problem, by its slug in `service.errors.PROBLEMS`."""
        with self._lock:
            self._rejections.add((slug,))

    def run(self, model: str, version: int, rows: int, cells: int, real_days: int, seconds: float) -> None:
        """
        Count one run of a graph, as `models.forecaster.Ran`.

        Args:
            model: The model's name.
            version: Its version.
            rows: Rows of the run.
            cells: Days of the run, its padding included.
            real_days: Days that are no padding.
            seconds: What the run took.
        """
        with self._lock:
            self._batch_rows.add((), rows)
            self._pad_ratio.add((), 1.0 - real_days / cells)
            self._run_seconds.add((model,), seconds)
            self._rows.add((model, str(version)), rows)

    def models(self, models: Repository, missing: Mapping[str, str] | None = None) -> None:
        """
        Note which models are ready in this process.

        Args:
            models: The models.
            missing: Those that are not ready, of all; None where nobody tried, and then only what serves is noted.
        """
        ready = models.forecasters()
        serving = {(each.card.name, str(each.card.version), each.card.digest, each.provider) for each in ready}
        refused = models.refusals.copy()
        with self._lock:
            for name, count in (refused - self._told).items():
                self._refusals.add((name,), count)
            self._told = refused
            for labels in {*self._model_info.known, *serving}:
                self._model_info.set(labels, float(labels in serving))
            for name in {labels[0] for labels in serving}:
                if missing is not None or (name,) not in self._model_ready.known:
                    self._model_ready.set((name,), 1.0)
            for name in missing or ():
                self._model_ready.set((name,), 0.0)

    def collect(self) -> Iterator[Metric]:
        """The metrics over all processes, as prometheus-client prints them."""
        for metric in sorted(self._tallies.collect(), key=lambda each: each.name):
            metric.unit = next((unit for unit in UNITS if metric.name.endswith(f"_{unit}")), "")
            if metric.name == MODEL_INFO.name:
                metric.samples = [sample for sample in metric.samples if sample.value]  # what no longer serves
            yield metric
