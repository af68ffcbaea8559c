"""``/v1/models``: the models there are, their cards, and whether they are ready."""

from typing import Any

import msgspec
from flask import Blueprint, Response

from models.bundle import Card
from models.errors import ModelError, UnknownModel
from models.forecaster import Forecaster
from models.repository import Repository
from service.errors import ModelNotFound
from worker.answers import encode
from worker.media_types import JSON

SUMMARY_FIELDS = ("summary", "network", "levels", "min_days", "window_days", "trained_days", "parameters")


def routes(models: Repository) -> Blueprint:
    """The routes of the catalogue."""
    views = Blueprint("catalogue", __name__)

    @views.get("/v1/models")
    def list_models() -> Response:
        return Response(encode({"models": [summary(models, name) for name in models.names()]}), content_type=JSON)

    @views.get("/v1/models/<name>")
    def get_model(name: str) -> Response:
        return Response(encode(details(models, name)), content_type=JSON)

    return views


def summary(models: Repository, name: str) -> dict[str, Any]:
    """A model and the version that serves; of one whose card cannot be read, that it is not ready."""
    ready = _made_ready(models, name)
    try:
        return _facts(models, ready.card if ready else models.card(name), ready)
    except ModelError:
        return {"name": name, "versions": models.versions(name), "states": models.states(name), "ready": False}


def details(models: Repository, name: str) -> dict[str, Any]:
    """
    A model with the card of the version that serves.

    Raises:
        ModelNotFound: There is none of that name.
        BundleError: Its card cannot be read.
    """
    try:
        ready = _made_ready(models, name)
        card = ready.card if ready else models.card(name)
    except UnknownModel as error:
        raise ModelNotFound(str(error)) from error
    return _facts(models, card, ready) | {"card": msgspec.to_builtins(card)}


def _made_ready(models: Repository, name: str) -> Forecaster | None:
    """The version that serves, made ready if need be; None where none can be."""
    try:
        return models.get(name)
    except ModelError:
        return None


def _facts(models: Repository, card: Card, ready: Forecaster | None) -> dict[str, Any]:
    facts = {"name": card.name, "versions": models.versions(card.name), "version": card.version, "digest": card.digest}
    facts |= {field: getattr(card, field) for field in SUMMARY_FIELDS}
    serves = {"ready": ready is not None, "provider": ready.provider if ready else None}
    return facts | serves | {"states": models.states(card.name)}
