"""
The busiest routes, `POST /v1/forecasts` and `POST /v2/models/{name}/infer`, apart from whoever takes their requests in.

The front door and Flask's routes do the same with them: hold the headers against what is taken, read as many bytes as
were announced, make `Work` of these, run it, and finish it.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple, Protocol

from flask import Blueprint, Response, g, request

from models.forecaster import Forecaster
from models.repository import Repository
from service import forecasts
from service.bodies import announced_bytes, check_type, read_announced
from service.dispatch import respond
from service.exchange import Answer, Exchange
from service.forecasts import AS_A_JOB
from service.gather import Ran
from service.incoming import LARGE_BYTES
from service.oip import inference
from service.oip.inference import Limits, Sent
from service.oip.requests import LENGTH_HEADER
from service.oip.statistics import Statistics
from service.settings import ServiceSettings
from service.stages import Served
from service.work import Work
from worker.media_types import JSON

LARGE_AT_ONCE = 2
"""Large bodies that a process works on at a time, since a number in memory takes many times its bytes in JSON."""
INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Headers(Protocol):
    """Headers of a request, whoever parsed them."""

    def __contains__(self, key: str, /) -> bool:
        """Whether there is one of a name in lower case."""

    def get(self, key: str, default: str, /) -> str:
        """One of them, by its name in lower case."""


class BusyRoute(NamedTuple):
    """
    One of them, for one request.

    Attributes:
        pattern: Its path, as the documents have it.
        admit: From the headers to the length of the body; raises what `service.bodies` raises.
        prepare: From headers and body to the rows that are to run; raises what is wrong with them.
    """

    pattern: str
    admit: Callable[[Headers], int]
    prepare: Callable[[Headers, bytes], Work]


class BusyRoutes:
    """The busiest routes of a service."""

    def __init__(self, models: Repository, settings: ServiceSettings) -> None:
        """Of these models, within these limits."""
        self.statistics = Statistics()
        self._models = models
        self._settings = settings
        self._limits = Limits(settings.max_body_bytes, settings.max_series, settings.max_closes)
        self.forecasts = BusyRoute(forecasts.PATH, self._admit_forecasts, self._prepare_forecasts)

    def never_wait_here(self) -> None:
        """Let `prepare` raise `NotAtHand` in this thread where a model is not ready, which else it would make so."""
        self._models.never_wait_here()

    def find(self, method: str, path: str) -> BusyRoute | None:
        """The busy route that a request goes to, if it does."""
        if method != "POST":
            return None
        if path == forecasts.PATH:
            return self.forecasts
        if path.endswith("/infer") and (found := INFER.fullmatch(path)):
            return self.infer(found[1], found[2])
        return None

    def infer(self, name: str, version: str | None) -> BusyRoute:
        """The route of inference by a model, and perhaps a version, named in the path."""
        pattern = "/v2/models/{name}/infer" if version is None else "/v2/models/{name}/versions/{version}/infer"
        return BusyRoute(pattern, self._admit, partial(self._prepare_inference, name, version))

    def answer_alone(self, route: BusyRoute, headers: Headers, body: bytes, exchange: Exchange) -> Answer:
        """The answer to a request whose rows run with no one else's."""
        return self.finish(*self.run_alone(route, headers, body, exchange), exchange)

    def run_alone(self, route: BusyRoute, headers: Headers, body: bytes, exchange: Exchange) -> tuple[Work, Ran]:
        """The rows of a request and what became of them, run with no one else's."""
        work = self.prepare(route, headers, body, exchange)
        began_ns = time.perf_counter_ns()
        quantiles = work.forecaster.run(work.rows)
        ran = Ran(quantiles, len(work.rows), time.perf_counter_ns() - began_ns)
        self.seen(work.forecaster, ran.batch_rows, ran.run_ns)
        return work, ran

    def prepare(self, route: BusyRoute, headers: Headers, body: bytes, exchange: Exchange) -> Work:
        """The rows of a request, whose body has just come."""
        stages = exchange.stages
        stages.skip()
        work = route.prepare(headers, body)
        card = work.forecaster.card
        stages.lap("decode")
        stages.rows = len(work.rows)
        stages.served = Served(card.name, card.version, card.digest, work.forecaster.provider)
        return work

    def seen(self, forecaster: Forecaster, rows: int, run_ns: int) -> None:
        """Count a run."""
        self.statistics.ran(forecaster.card, rows, run_ns)

    def finish(self, work: Work, ran: Ran, exchange: Exchange) -> Answer:
        """The answer to a request whose rows have run."""
        stages = exchange.stages
        stages.ran(ran.run_ns)
        answer = work.finish(ran.quantiles)
        stages.lap("encode")
        self.statistics.succeeded(work.forecaster.card, stages, ran.batch_rows)
        return answer

    def _admit(self, headers: Headers) -> int:
        chunked = bool(headers.get("transfer-encoding", ""))
        length = headers.get("content-length", "")
        return announced_bytes(length, chunked=chunked, most=self._settings.max_body_bytes, hint=AS_A_JOB)

    def _admit_forecasts(self, headers: Headers) -> int:
        check_type(headers.get("content-type", ""), headers.get("content-encoding", ""), (JSON,))
        return self._admit(headers)

    def _prepare_forecasts(self, _headers: Headers, body: bytes) -> Work:
        return forecasts.prepare(body, self._models, self._settings)

    def _prepare_inference(self, name: str, version: str | None, headers: Headers, body: bytes) -> Work:
        # Its Content-Type is not looked at: Triton's client sends none, its asyncio client octets, curl a form.
        forecaster = inference.find(self._models, name, version)
        name_of_length = LENGTH_HEADER.lower()
        json_bytes = headers.get(name_of_length, "") if name_of_length in headers else None
        how = Sent(headers.get("content-encoding", ""), json_bytes, headers.get("accept-encoding", ""))
        with self.statistics.failing(forecaster.card):
            return inference.prepare(body, how, forecaster, self._limits)


def routes(busy: BusyRoutes) -> Blueprint:
    """The busiest routes as Flask has them, one request at a time."""
    views = Blueprint("busy", __name__)
    turn = threading.BoundedSemaphore(LARGE_AT_ONCE)

    def answer(route: BusyRoute) -> Response:
        announced = route.admit(request.headers)
        body = read_announced(request.environ["wsgi.input"], announced)
        with turn if announced > LARGE_BYTES else nullcontext():
            return respond(busy.answer_alone(route, request.headers, body, g.exchange))

    @views.post(forecasts.PATH)
    def post_forecasts() -> Response:
        return answer(busy.forecasts)

    @views.post("/v2/models/<name>/infer")
    @views.post("/v2/models/<name>/versions/<version>/infer")
    def post_infer(name: str, version: str | None = None) -> Response:
        return answer(busy.infer(name, version))

    return views
