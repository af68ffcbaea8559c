"""
The busiest route in front of Flask's dispatch: the same functions, without what Flask does around them.

Only what is plain is taken here, and only what succeeds is answered: whatever is not as usual, and every error, goes to
Flask's route with the body as it came, so that there is one place that words errors.
"""

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from models.repository import Repository
from service.bodies import read_announced
from service.exchange import Exchange, fixed_headers
from service.forecasts import LARGE_BYTES, answer
from service.settings import ServiceSettings
from worker.tables import JSON

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/v1/forecasts"
_PLAIN_TYPE = re.compile(r"application/json(; ?charset=utf-8)?", re.IGNORECASE)


class HotPath:
    """`POST /v1/forecasts` as a WSGI application, with Flask's behind it for all else."""

    def __init__(self, behind: "WSGIApplication", models: Repository, settings: ServiceSettings) -> None:
        self._behind = behind
        self._models = models
        self._settings = settings
        self._most_bytes = min(LARGE_BYTES, settings.max_body_bytes)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it."""
        if not self._takes(environ):
            return self._behind(environ, start_response)
        exchange = Exchange.begin(environ.get("HTTP_X_REQUEST_ID", ""))
        announced = int(environ["CONTENT_LENGTH"])
        body = read_announced(environ["wsgi.input"], announced)
        answered = self._answered(body) if len(body) == announced else None
        if answered is None:
            environ["wsgi.input"] = io.BytesIO(body)
            return self._behind(environ, start_response)
        headers = [("Content-Type", JSON), ("Content-Length", str(len(answered))), *fixed_headers(exchange.request_id)]
        exchange.end(method="POST", path=PATH, status=200, received=len(body), sent=len(answered))
        start_response("200 OK", headers)
        return [answered]

    def _answered(self, body: bytes) -> bytes | None:
        """The answer, if all goes well; else Flask's route will meet the same error, and word it."""
        try:
            return answer(body, self._models, self._settings)
        except Exception:
            return None

    def _takes(self, environ: "WSGIEnvironment") -> bool:
        """Whether a request is one of the plain ones."""
        length = environ.get("CONTENT_LENGTH", "")
        return bool(
            environ["REQUEST_METHOD"] == "POST"
            and environ["PATH_INFO"] == PATH
            and not environ.get("SCRIPT_NAME")
            and _PLAIN_TYPE.fullmatch(environ.get("CONTENT_TYPE", ""))
            and length.isascii()
            and length.isdecimal()
            and len(length) < 10
            and int(length) <= self._most_bytes
            and "HTTP_TRANSFER_ENCODING" not in environ
            and "HTTP_CONTENT_ENCODING" not in environ
        )


def put_in_front(app: Flask, models: Repository, settings: ServiceSettings) -> None:
    """Let an app answer its busiest route before its own dispatch."""
    app.wsgi_app = HotPath(app.wsgi_app, models, settings)  # type: ignore[method-assign]  # Flask's idiom for this
