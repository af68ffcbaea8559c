"""Admission and CORS in front of every route of a Flask app."""

from flask import Flask, Response, g, request

from service.admission import Admission, Caller
from service.bodies import read_announced
from service.cors import cors_headers, parse_origins, preflight_headers
from service.errors import Forbidden, RateLimited
from service.settings import ServiceSettings

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
        g.exchange.key = g.caller.key_id
        return None

    @app.after_request
    def let_origin_read(answer: Response) -> Response:
        answer.headers.extend(cors_headers(request.headers.get("Origin"), origins))
        return answer


def _admitted(admission: Admission) -> Caller:
    try:
        return admission.admit(request.method, request.path, request.headers.get("Authorization"), request.remote_addr)
    except (Forbidden, RateLimited):
        # The server ends a connection whose body is left unread; of strangers no body is waited for.
        if 0 < (request.content_length or 0) <= SMALL_BYTES:
            read_announced(request.environ["wsgi.input"], request.content_length or 0)
        raise
