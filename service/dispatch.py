"""Flask's part of every exchange: it begins and ends, and what was raised becomes its answer."""

import functools
import re

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from service.exchange import Answer, Exchange
from service.observers import Observers
from service.problems import answer_to

EXCHANGE = "nextday.exchange"
"""Under which name in a WSGI environment the front door hands on an exchange that it began, and will end."""


def observe(app: Flask, observers: Observers) -> None:
    """Give each request of an app an id, each answer its headers, and tell the observers of each exchange."""

    def begin() -> None:
        g.handed_on = EXCHANGE in request.environ
        g.exchange = request.environ.get(EXCHANGE) or Exchange(
            request.headers.get("X-Request-Id", ""), request.method, request.path
        )
        g.exchange.route = pattern(request.url_rule.rule) if request.url_rule else None
        if not g.handed_on:
            g.exchange.trace = request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
            observers.began()

    def end(answer: Response) -> Response:
        for name, value in g.exchange.headers():
            answer.headers.setdefault(name, value)
        if not g.handed_on:
            sent = answer.headers.get("Content-Length", type=int)
            told = g.exchange.answered(answer.status_code, received=request.content_length, sent=sent)
            observers.answered(g.exchange.stages, told)
        return answer

    def close(_error: BaseException | None) -> None:
        if "exchange" in g and not g.handed_on:
            observers.over()

    app.before_request(begin)
    app.after_request(end)
    app.teardown_request(close)


def handle_errors(app: Flask) -> None:
    """Let an app answer every error, its router's and its bugs too, in the form that the path asks for."""
    app.register_error_handler(HTTPException, _answer_router)
    app.register_error_handler(Exception, _answer)


def respond(answer: Answer) -> Response:
    """An answer as Flask's."""
    return Response(answer.content, answer.status, answer.headers)


@functools.cache
def pattern(rule: str) -> str:
    """
    A rule of Flask's as a path of OpenAPI.

    >>> pattern("/v1/jobs/<job_id>"), pattern("/docs/<path:path>")
    ('/v1/jobs/{job_id}', '/docs/{path}')
    """
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule)


def _answer_router(error: HTTPException) -> AnyResponse:
    if (error.code or 500) < 400:
        return error.get_response()  # a redirect is no problem
    return _answer(error)


def _answer(error: Exception) -> Response:
    return respond(answer_to(error, g.exchange))
