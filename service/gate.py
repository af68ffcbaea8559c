"""Admission and CORS in front of every route of a Flask app."""

from typing import TYPE_CHECKING

from flask import Flask, Response, g, request

from models.errors import NextdayError
from models.repository import Repository
from service.admission import Admission
from service.bodies import read_announced
from service.cors import cors_headers, parse_origins, preflight_headers
from service.errors import Forbidden, RateLimited
from service.hotpath import PATH, HotPath
from service.settings import ServiceSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

CALLER = "nextday.caller"
"""Where a door in front of Flask leaves the caller whom it has admitted, so that no request counts twice."""
SMALL_BYTES = 64 * 1024
"""Bodies that are read before a refusal, which keeps the connection of a caller we know."""


def guard(app: Flask, admission: Admission, settings: ServiceSettings) -> None:
    """
    Admit each request before anything else looks at it; what an app observes is told before it.

    Raises:
        SettingError: An origin of the settings is none.
    """
    origins = parse_origins(settings.cors_origins)
    app.extensions["admission"] = admission

    @app.before_request
    def admit() -> Response | None:
        origin, wanted_method = request.headers.get("Origin"), request.headers.get("Access-Control-Request-Method")
        if headers := preflight_headers(request.method, origin, wanted_method, origins):
            return Response(status=204, headers=headers)
        g.caller = request.environ.get(CALLER) or _admitted(admission)
        return None

    @app.after_request
    def let_origin_read(answer: Response) -> Response:
        answer.headers.extend(cors_headers(request.headers.get("Origin"), origins))
        return answer


class GuardedHotPath(HotPath):
    """The hot path for those who are admitted; whoever is not meets the same refusal behind it, which words it."""

    def __init__(
        self, behind: "WSGIApplication", models: Repository, settings: ServiceSettings, admission: Admission
    ) -> None:
        super().__init__(behind, models, settings)
        self._admission = admission

    def _takes(self, environ: "WSGIEnvironment") -> bool:
        if not super()._takes(environ) or "HTTP_ORIGIN" in environ:
            return False
        given, client = environ.get("HTTP_AUTHORIZATION"), environ.get("REMOTE_ADDR")
        try:
            environ[CALLER] = self._admission.admit("POST", PATH, given, client)
        except NextdayError:
            return False
        return True


def _admitted(admission: Admission) -> object:
    try:
        return admission.admit(request.method, request.path, request.headers.get("Authorization"), request.remote_addr)
    except (Forbidden, RateLimited):
        # The server ends a connection whose body is left unread; of strangers no body is waited for.
        if 0 < (request.content_length or 0) <= SMALL_BYTES:
            read_announced(request.environ["wsgi.input"], request.content_length or 0)
        raise
