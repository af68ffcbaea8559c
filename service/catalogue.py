"""``/v1/models``: the models there are, their cards, and whether they are ready."""

from typing import Any

import msgspec
from flask import Blueprint, Response

from models.bundle import Card
from models.errors import ModelError, UnknownModel
from models.repository import Repository
from service.errors import ModelNotFound
from worker.answers import encode
from worker.tables import JSON

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
    try:
        return _facts(models, models.card(name))
    except ModelError:
        return {"name": name, "versions": models.versions(name), "ready": False}


def details(models: Repository, name: str) -> dict[str, Any]:
    """
    A model with the card of the version that serves.

    Raises:
        ModelNotFound: There is none of that name.
        BundleError: Its card cannot be read.
    """
    try:
        card = models.card(name)
    except UnknownModel as error:
        raise ModelNotFound(str(error)) from error
    return _facts(models, card) | {"card": msgspec.to_builtins(card)}


def _facts(models: Repository, card: Card) -> dict[str, Any]:
    facts = {"name": card.name, "versions": models.versions(card.name), "version": card.version, "digest": card.digest}
    facts |= {field: getattr(card, field) for field in SUMMARY_FIELDS}
    try:
        return facts | {"ready": True, "provider": models.get(card.name, card.version).provider}
    except ModelError:
        return facts | {"ready": False, "provider": None}
