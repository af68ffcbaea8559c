"""``/v2``: the Open Inference Protocol over REST, as Triton's clients speak it."""

from typing import Any

from flask import Blueprint, Response, request

from models.repository import Repository
from service.bodies import read_body
from service.drain import Drain
from service.lifecycle import Lifecycle
from service.oip.inference import OCTETS, find
from service.oip.metadata import check_ready, model_config, model_metadata, repository_index, server_metadata
from service.oip.packing import unpacked
from service.oip.requests import read_index_request, read_load_request, read_unload_request
from service.oip.statistics import Statistics
from service.settings import ServiceSettings
from worker.answers import encode
from worker.media_types import JSON

__all__ = ["OCTETS", "routes"]

MODEL = "/v2/models/<name>"
VERSION = "/v2/models/<name>/versions/<version>"


def routes(
    models: Repository, lifecycle: Lifecycle, settings: ServiceSettings, statistics: Statistics, drain: Drain
) -> Blueprint:
    """The routes of the protocol but for inference, which `service.busy` answers and counts."""
    views = Blueprint("oip", __name__)
    _add_health(views, models, drain)
    _add_metadata(views, models)
    _add_statistics(views, models, statistics)
    _add_repository(views, models, lifecycle, settings)
    return views


def _json(document: Any) -> Response:
    return Response(encode(document), content_type=JSON)


def _add_health(views: Blueprint, models: Repository, drain: Drain) -> None:
    @views.get("/v2/health/live")
    def live() -> Response:
        return _json({"live": True})

    @views.get("/v2/health/ready")
    def ready() -> Response:
        check_ready(models, draining=drain.begun)
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


def _add_repository(views: Blueprint, models: Repository, lifecycle: Lifecycle, settings: ServiceSettings) -> None:
    def body() -> bytes:
        """The body of a request that may have none, which then may tell no length."""
        empty = request.content_length is None and "Transfer-Encoding" not in request.headers
        if empty:
            return b""
        sent = read_body(request, most=settings.max_body_bytes)
        return unpacked(sent, request.headers.get("Content-Encoding", ""), most=settings.max_body_bytes)

    @views.post("/v2/repository/index")
    def index() -> Response:
        return _json(repository_index(models, only_ready=read_index_request(body()).ready))

    @views.post("/v2/repository/models/<name>/load")
    def load(name: str) -> Response:
        read_load_request(body())
        return _json(lifecycle.load(name))

    @views.post("/v2/repository/models/<name>/unload")
    def unload(name: str) -> Response:
        read_unload_request(body())
        return _json(lifecycle.unload(name))
