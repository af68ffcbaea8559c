"""``/v2``: the Open Inference Protocol over REST, as Triton's clients speak it."""

import threading
from contextlib import nullcontext
from typing import Any

from flask import Blueprint, Response, g, request

from models.repository import Repository
from service.errors import NotOffered
from service.forecasts import AS_A_JOB, LARGE_AT_ONCE, LARGE_BYTES
from service.oip.inference import Limits, find, infer
from service.oip.metadata import check_ready, model_config, model_metadata, repository_index, server_metadata
from service.oip.packing import packed, unpacked
from service.oip.requests import LENGTH_HEADER, header_length, read_index_request, read_load_request
from service.oip.statistics import Statistics
from service.settings import ServiceSettings
from service.stages import Stages
from worker.answers import encode
from worker.tables import JSON

MODEL = "/v2/models/<name>"
VERSION = "/v2/models/<name>/versions/<version>"
OCTETS = "application/octet-stream"


def routes(models: Repository, settings: ServiceSettings) -> Blueprint:
    """The routes of the protocol; what one process has answered is counted for as long as it lives."""
    views = Blueprint("oip", __name__)
    statistics = Statistics()
    _add_health(views, models)
    _add_metadata(views, models)
    _add_inference(views, models, settings, statistics)
    _add_statistics(views, models, statistics)
    _add_repository(views, models, settings)
    return views


def _json(document: Any) -> Response:
    return Response(encode(document), content_type=JSON)


def _add_health(views: Blueprint, models: Repository) -> None:
    @views.get("/v2/health/live")
    def live() -> Response:
        return _json({"live": True})

    @views.get("/v2/health/ready")
    def ready() -> Response:
        check_ready(models)
        return _json({"ready": True})

    @views.get(f"{MODEL}/ready")
    @views.get(f"{VERSION}/ready")
    def model_ready(name: str, version: str | None = None) -> Response:
        find(models, name, version)
        return _json({"name": name, "ready": True})


def _add_metadata(views: Blueprint, models: Repository) -> None:
    @views.get("/v2", strict_slashes=False)
    def server() -> Response:
        return _json(server_metadata())

    @views.get(MODEL)
    @views.get(VERSION)
    def model(name: str, version: str | None = None) -> Response:
        return _json(model_metadata(models, name, version))

    @views.get(f"{MODEL}/config")
    @views.get(f"{VERSION}/config")
    def config(name: str, version: str | None = None) -> Response:
        return _json(model_config(models, name, version))


def _add_inference(views: Blueprint, models: Repository, settings: ServiceSettings, statistics: Statistics) -> None:
    turn = threading.BoundedSemaphore(LARGE_AT_ONCE)
    limits = Limits(series=settings.max_series, closes=settings.max_closes)

    @views.post(f"{MODEL}/infer")
    @views.post(f"{VERSION}/infer")
    def post_infer(name: str, version: str | None = None) -> Response:
        body = unpacked(request, most=settings.max_body_bytes, hint=AS_A_JOB)
        forecaster = find(models, name, version)
        stages: Stages = g.stages
        stages.skip()  # the body comes in at the pace of the caller
        with statistics.watch(name, forecaster.card.version, stages):
            with turn if len(body) > LARGE_BYTES else nullcontext():
                stages.lap("wait")
                answer = infer(body, header_length(request), forecaster, limits, stages)
            content, encoding = packed(answer.content, request)
            stages.lap("encode")
        response = Response(content, content_type=JSON if answer.json_bytes is None else OCTETS)
        response.headers["Vary"] = "Accept-Encoding"
        if answer.json_bytes is not None:
            response.headers[LENGTH_HEADER] = str(answer.json_bytes)
        if encoding:
            response.headers["Content-Encoding"] = encoding
        return response


def _add_statistics(views: Blueprint, models: Repository, statistics: Statistics) -> None:
    @views.get("/v2/models/stats")
    def all_statistics() -> Response:
        return _json({"model_stats": [statistics.of(*each) for each in sorted(models.ready)]})

    @views.get(f"{MODEL}/stats")
    @views.get(f"{VERSION}/stats")
    def model_statistics(name: str, version: str | None = None) -> Response:
        serving = find(models, name, version).card.version
        versions = sorted(number for known, number in models.ready if known == name) if version is None else [serving]
        return _json({"model_stats": [statistics.of(name, number) for number in versions]})


def _add_repository(views: Blueprint, models: Repository, settings: ServiceSettings) -> None:
    def body() -> bytes:
        """The body of a request that may have none, which then may tell no length."""
        empty = request.content_length is None and "Transfer-Encoding" not in request.headers
        return b"" if empty else unpacked(request, most=settings.max_body_bytes)

    @views.post("/v2/repository/index")
    def index() -> Response:
        return _json(repository_index(models, only_ready=read_index_request(body()).ready))

    @views.post("/v2/repository/models/<name>/load")
    def load(name: str) -> Response:
        read_load_request(body())
        find(models, name, None)
        return _json({})

    @views.post("/v2/repository/models/<name>/unload")
    def unload(name: str) -> Response:
        body()
        find(models, name, None)
        raise NotOffered("unloading a model is not offered yet; it stays ready")
