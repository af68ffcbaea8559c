"""Flask's part of every exchange: it begins and ends, and what was raised becomes its answer."""

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from service.exchange import Answer, Exchange
from service.problems import answer_to

EXCHANGE = "nextday.exchange"
"""Under which name in a WSGI environment the front door hands on an exchange that it began, and will end."""


def observe(app: Flask) -> None:
    """Give each request of an app an id, each answer its headers, and each exchange its line in the log."""
    app.before_request(_begin)
    app.after_request(_end)


def handle_errors(app: Flask) -> None:
    """Let an app answer every error, its router's and its bugs too, in the form that the path asks for."""
    app.register_error_handler(HTTPException, _answer_router)
    app.register_error_handler(Exception, _answer)


def respond(answer: Answer) -> Response:
    """An answer as Flask's."""
    return Response(answer.content, answer.status, answer.headers)


def _begin() -> None:
    handed_on = request.environ.get(EXCHANGE)
    g.exchange = handed_on or Exchange(request.headers.get("X-Request-Id", ""), request.method, request.path)
    g.ends_here = handed_on is None


def _end(answer: Response) -> Response:
    headers = answer.headers
    for name, value in g.exchange.headers():
        headers.setdefault(name, value)
    if g.ends_here:
        sent = headers.get("Content-Length", type=int)
        g.exchange.end(answer.status_code, received=request.content_length, sent=sent)
    return answer


def _answer_router(error: HTTPException) -> AnyResponse:
    if (error.code or 500) < 400:
        return error.get_response()  # a redirect is no problem
    return _answer(error)


def _answer(error: Exception) -> Response:
    return respond(answer_to(error, request.path))
