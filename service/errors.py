"""
Errors of the HTTP edge, and how every error is answered, from one table: problem+json (RFC 9457); under /v2 its own.

    NextdayError
    └── HttpError
        ├── LengthRequired          a body without Content-Length
        ├── BodyTooLarge            more bytes than are taken
        ├── BodyTruncated           fewer bytes came than were announced
        ├── TooManyCloses           more closes than one request may have
        ├── TooManyDays             more days ahead than one request may ask for
        ├── UnsupportedMediaType    a Content-Type or Content-Encoding that is not taken
        ├── NotAcceptable           a format that is not given
        ├── InvalidParameter        something in the query or a header
        ├── ModelNotFound           a model named in the path
        ├── InvalidInference        an inference request that is not as the protocol or the model's card has it
        ├── InvalidEncoding         a compressed body that does not unpack
        ├── UnpackedTooLarge        a compressed body that unpacks to more bytes than are taken
        ├── NotOffered              a part of the protocol that is not there
        └── NotReady                a service that cannot forecast
"""

import logging
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from models.errors import EmptyRequest, InputError, InvalidSeries, ModelError, NextdayError, UnknownLevel, UnknownModel
from worker.answers import encode
from worker.errors import (
    IdempotencyConflict,
    JobNotFinished,
    JobNotFound,
    QueueUnavailable,
    ResultsDamaged,
    StorageUnavailable,
    TableError,
    TooManyJobs,
    UnsupportedFormat,
)
from worker.requests import InvalidJson, InvalidRequest, TooManySeries
from worker.tables import JSON

PROBLEM_TYPE = "application/problem+json"
PROTOCOL = "/v2"
"""Below it errors are those of the Open Inference Protocol."""
RETRY_AFTER_S = 5
"""Seconds after which a caller may try again what time can cure."""
MAX_FAULTS = 1000
"""Most faults that one answer lists."""

log = logging.getLogger(__name__)


class HttpError(NextdayError):
    """A request that is refused before the core sees it."""


class LengthRequired(HttpError):
    """A body without Content-Length: a server that cuts it off cannot tell."""

    def __init__(self) -> None:
        super().__init__("the request has no Content-Length; send its length instead of Transfer-Encoding: chunked")


class BodyTooLarge(HttpError):
    """More bytes than are taken."""

    def __init__(self, *, given: int, most: int, hint: str = "") -> None:
        super().__init__(f"the body has {given} bytes; at most {most} are taken{hint}")


class BodyTruncated(HttpError):
    """Fewer bytes came than were announced."""

    def __init__(self, *, received: int, announced: int) -> None:
        super().__init__(f"the body ended after {received} bytes; its Content-Length says {announced}")


class TooManyCloses(HttpError):
    """More closes than one request may have; counted by its commas, before anything is read."""

    def __init__(self, *, given: int, most: int) -> None:
        super().__init__(
            f"got about {given} numbers; at most {most} are taken here: send them as a job to POST /v1/jobs"
        )


class TooManyDays(HttpError):
    """More days ahead than one request may ask for, over all its series; each is drawn a thousand times."""

    def __init__(self, *, given: int, most: int) -> None:
        super().__init__(
            f"the horizon asks for {given} days behind the next one, over all series; at most {most} are drawn here:"
            " send fewer series at a time, or a shorter horizon"
        )


class UnsupportedMediaType(HttpError):
    """A Content-Type or Content-Encoding that is not taken."""

    def __init__(self, *, header: str, given: str, known: Iterable[str]) -> None:
        found = f"{header} is {given!r}" if given else f"there is no {header}"
        super().__init__(f"{found}; taken here: {', '.join(known)}")


class NotAcceptable(HttpError):
    """A format that is not given."""

    def __init__(self, *, given: str, known: Iterable[str]) -> None:
        super().__init__(f"{given!r} is not given; there are: {', '.join(known)}")


class InvalidParameter(HttpError):
    """A parameter of the query, or a header, that cannot be."""

    def __init__(self, *, name: str, reason: str) -> None:
        self.name = name
        super().__init__(f"{name}: {reason}")


class ModelNotFound(HttpError):
    """A model or version named in the path that is not there."""


class InvalidInference(HttpError):
    """An inference request that is not as the protocol or the model's card has it."""


class InvalidEncoding(HttpError):
    """A compressed body that does not unpack."""

    def __init__(self, *, encoding: str, reason: str) -> None:
        super().__init__(f"the body is not {encoding}, as its Content-Encoding says: {reason}")


class UnpackedTooLarge(HttpError):
    """A compressed body that unpacks to more bytes than are taken; it is unpacked no further."""

    def __init__(self, *, most: int, hint: str = "") -> None:
        super().__init__(f"the body unpacks to more than {most} bytes, which are the most that are taken{hint}")


class NotOffered(HttpError):
    """A part of the protocol that is not there."""


class NotReady(HttpError):
    """Some model is not ready, or there is none."""

    def __init__(self, *, missing: Iterable[str]) -> None:
        super().__init__(f"not ready: {', '.join(missing)}; GET /readyz tells why")


class Problem(NamedTuple):
    """How a kind of error is answered."""

    status: int
    slug: str
    title: str


PROBLEMS: dict[type[Exception], Problem] = {
    InvalidJson: Problem(400, "invalid-json", "The body is not JSON"),
    BodyTruncated: Problem(400, "body-truncated", "The body is not whole"),
    InvalidEncoding: Problem(400, "invalid-encoding", "The body does not unpack"),
    InvalidInference: Problem(400, "invalid-inference", "The inference request is not as the protocol has it"),
    JobNotFound: Problem(404, "job-not-found", "There is no such job"),
    ModelNotFound: Problem(404, "model-not-found", "There is no such model"),
    NotAcceptable: Problem(406, "not-acceptable", "The format asked for is not given"),
    JobNotFinished: Problem(409, "job-not-finished", "The job has not ended"),
    LengthRequired: Problem(411, "length-required", "The body's length is not told"),
    BodyTooLarge: Problem(413, "body-too-large", "The body is too large"),
    UnpackedTooLarge: Problem(413, "body-too-large", "The body is too large"),
    TooManySeries: Problem(413, "too-many-series", "Too many series for one request"),
    TooManyCloses: Problem(413, "too-many-closes", "Too many closes for one request"),
    TooManyDays: Problem(413, "too-many-days", "Too many days ahead for one request"),
    UnsupportedMediaType: Problem(415, "unsupported-media-type", "The body's type is not taken"),
    UnsupportedFormat: Problem(415, "unsupported-media-type", "The body's type is not taken"),
    EmptyRequest: Problem(422, "empty-request", "There is nothing to forecast"),
    InvalidSeries: Problem(422, "invalid-series", "Some series cannot be forecast"),
    UnknownModel: Problem(422, "unknown-model", "There is no such model"),
    UnknownLevel: Problem(422, "unknown-level", "The model does not give this level"),
    TableError: Problem(422, "invalid-table", "The upload cannot be read"),
    InvalidRequest: Problem(422, "invalid-request", "The request is not as documented"),
    InvalidParameter: Problem(422, "invalid-parameter", "A parameter is not as documented"),
    IdempotencyConflict: Problem(422, "idempotency-conflict", "The Idempotency-Key is taken"),
    InputError: Problem(422, "invalid-request", "The request is not as documented"),
    TooManyJobs: Problem(429, "too-many-jobs", "Too many jobs are unfinished"),
    QueueUnavailable: Problem(503, "queue-unavailable", "The job queue does not answer"),
    NotOffered: Problem(501, "not-offered", "This part of the protocol is not offered"),
    NotReady: Problem(503, "not-ready", "The service is not ready"),
    ResultsDamaged: Problem(500, "results-damaged", "The job's results are damaged on disk"),
    StorageUnavailable: Problem(507, "storage-unavailable", "The job cannot be stored"),
    ModelError: Problem(503, "model-not-ready", "The model is not ready"),
}
BUG = Problem(500, "internal-error", "Something went wrong here")


def handle_errors(app: Flask) -> None:
    """Let an app answer every error, its router's and its bugs too, in the form that the path asks for."""
    app.register_error_handler(NextdayError, answer_error)
    app.register_error_handler(HTTPException, answer_router_error)
    app.register_error_handler(Exception, answer_bug)


def answer_error(error: NextdayError) -> Response:
    """The answer to one of our own errors; what is not in the table is a bug."""
    problem = next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), None)
    if problem is None:
        return answer_bug(error)
    detail = str(error)
    if isinstance(error, ModelError):  # its reason names folders of this machine, which are the operator's matter
        log.error("%s", error)
        detail = "the model is not ready; GET /readyz tells which are"
    answer = _render(problem, detail, _places(error))
    if problem.status in (429, 503, 507):
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def answer_router_error(error: HTTPException) -> Response:
    """The answer to an error that the router raised: no such path, or no such method for it."""
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]  # a redirect is no problem
    title = HTTPStatus(status).phrase
    problem = Problem(status, title.lower().replace(" ", "-"), title)
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
    details = {
        404: "there is nothing at this path; GET /openapi.json lists what there is",
        405: f"this path takes {allowed}",
    }
    answer = _render(problem, details.get(status, error.description or title), [])
    if allowed:
        answer.headers["Allow"] = allowed
    return answer


def answer_bug(error: Exception) -> Response:
    """The answer to an error of ours: nothing of it goes out, all of it goes into the log under the request's id."""
    log.error("a request failed", exc_info=error)
    return _render(BUG, "the error is logged under this answer's X-Request-Id", [])


def _places(error: NextdayError) -> list[dict[str, str]]:
    """Where in the request the faults are, as JSON pointers into the body or names of parameters."""
    if isinstance(error, InvalidParameter):
        return [{"parameter": error.name, "detail": str(error)}]
    return [{"pointer": pointer, "detail": detail} for pointer, detail in islice(_pointers(error), MAX_FAULTS)]


def _pointers(error: NextdayError) -> Iterator[tuple[str, str]]:
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
        case EmptyRequest() | TooManySeries() | TooManyCloses():
            yield "/series", str(error)


def _render(problem: Problem, detail: str, places: list[dict[str, str]]) -> Response:
    g.problem = problem.slug  # for whoever counts
    if request.path == PROTOCOL or request.path.startswith(f"{PROTOCOL}/"):
        # The protocol has one status for what a caller can mend, and clients read the key `error` and nothing else.
        status = 400 if problem.status == 422 else problem.status
        return Response(encode({"error": detail}), status, content_type=JSON)
    document: dict[str, Any] = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
    }
    if places:
        document["errors"] = places
    return Response(encode(document), problem.status, content_type=PROBLEM_TYPE)
