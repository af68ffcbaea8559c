"""How every error is answered, from the one table: problem+json (RFC 9457); under /v2 as that protocol has it."""

import logging
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

from werkzeug.exceptions import HTTPException

from models.errors import (
    EmptyRequest,
    InvalidSeries,
    ModelError,
    ModelUnloaded,
    NothingToExplain,
    UnknownLevel,
    UnknownModel,
)
from service.errors import (
    BUG,
    NOT_ALLOWED,
    NOT_FOUND,
    PROBLEM_TYPE,
    PROBLEMS,
    PROTOCOL,
    HttpError,
    InvalidParameter,
    Problem,
    TooManyCloses,
    TooManyDays,
    TooMuchToExplain,
)
from service.exchange import Answer, Exchange
from worker.answers import encode
from worker.media_types import JSON
from worker.requests import InvalidRequest, TooManySeries

RETRY_AFTER_S = 5
"""Seconds after which a caller may try again what time can cure."""
MAX_FAULTS = 1000
"""Most faults that one answer lists."""

log = logging.getLogger(__name__)


def answer_to(error: Exception, exchange: Exchange) -> Answer:
    """
    The answer to anything that was raised while a request was answered.

    Args:
        error: Ours; the router's; or a bug, of which nothing goes out.
        exchange: Whose path says in which form errors are answered; it is told which problem it has.
    """
    if isinstance(error, HTTPException):
        return _of_router(error, exchange)
    problem = problem_of(error)
    if problem is BUG:
        log.error("a request failed", exc_info=error)
        return _render(BUG, "the error is logged under this answer's X-Request-Id", [], exchange)
    detail = str(error)
    if isinstance(error, ModelError) and not isinstance(error, ModelUnloaded):
        # Its reason names folders of this machine, which are the operator's matter.
        log.error("%s", error)
        detail = "the model is not ready; GET /readyz tells which are"
    answer = _render(problem, detail, _places(error), exchange)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.status in (429, 503, 507) else {}
    if isinstance(error, HttpError):
        headers |= error.headers
    answer.headers.extend(headers.items())
    return answer


def problem_of(error: Exception) -> Problem:
    """The row of the table that an error has; what has none is a bug."""
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), BUG)


def _of_router(error: HTTPException, exchange: Exchange) -> Answer:
    """The answer to what the router raised: no such path, or no such method for it."""
    status = error.code or 500
    title = HTTPStatus(status).phrase
    known = {each.status: each for each in (NOT_FOUND, NOT_ALLOWED, BUG)}
    problem = known.get(status) or Problem(status, title.lower().replace(" ", "-"), title)
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
    details = {
        404: "there is nothing at this path; GET /openapi.json lists what there is",
        405: f"this path takes {allowed}",
    }
    answer = _render(problem, details.get(status, error.description or title), [], exchange)
    if allowed:
        answer.headers.append(("allow", allowed))
    return answer


def _places(error: Exception) -> list[dict[str, str]]:
    """Where in the request the faults are, as JSON pointers into the body or names of parameters."""
    if isinstance(error, InvalidParameter):
        return [{"parameter": error.name, "detail": str(error)}]
    return [{"pointer": pointer, "detail": detail} for pointer, detail in islice(_pointers(error), MAX_FAULTS)]


def _pointers(error: Exception) -> Iterator[tuple[str, str]]:
    match error:
        case InvalidSeries():
            for each in error.faults:
                yield f"/series/{each.series}" + ("" if each.close is None else f"/closes/{each.close}"), str(each)
        case InvalidRequest():
            for fault in error.faults:
                yield fault.pointer, fault.detail
        case UnknownModel():
            yield "/model" if error.version is None else "/version", str(error)
        case UnknownLevel():
            yield "/levels", str(error)
        case TooManyDays():
            yield "/horizon", str(error)
        case NothingToExplain() | TooMuchToExplain():
            yield "/explain", str(error)
        case EmptyRequest() | TooManySeries() | TooManyCloses():
            yield "/series", str(error)


def _render(problem: Problem, detail: str, places: list[dict[str, str]], exchange: Exchange) -> Answer:
    exchange.problem, path = problem.slug, exchange.path
    if path == PROTOCOL or path.startswith(f"{PROTOCOL}/"):
        # The protocol has one status for what a caller can mend, and clients read the key `error` and nothing else.
        status = 400 if problem.status == 422 else problem.status
        return Answer(status, [("content-type", JSON)], encode({"error": detail}))
    document: dict[str, Any] = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
    }
    if places:
        document["errors"] = places
    return Answer(problem.status, [("content-type", PROBLEM_TYPE)], encode(document))
