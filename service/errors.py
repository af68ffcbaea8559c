"""
Errors of the HTTP edge, and the one table from every error to its status; `service.problems` words the answers.

    NextdayError
    └── HttpError
        ├── Unauthorized            no API key, or one that is not let in
        ├── Forbidden               an API key without the scope that is needed
        ├── RateLimited             more requests than a caller may make
        ├── LengthRequired          a body without Content-Length
        ├── BodyTooLarge            more bytes than are taken
        ├── BodyTruncated           fewer bytes came than were announced
        ├── TooManyCloses           more closes than one request may have
        ├── TooManyDays             more days ahead than one request may ask for
        ├── TooMuchToExplain        more closes than one request may have explained
        ├── UnsupportedMediaType    a Content-Type or Content-Encoding that is not taken
        ├── NotAcceptable           a format that is not given
        ├── InvalidParameter        something in the query or a header
        ├── RangeNotSatisfiable     a part of a download that there is not
        ├── ModelNotFound           a model named in the path
        ├── InvalidInference        an inference request that is not as the protocol or the model's card has it
        ├── InvalidEncoding         a compressed body that does not unpack
        ├── UnpackedTooLarge        a compressed body that unpacks to more bytes than are taken
        ├── NotOffered              a part of the protocol that is not there
        ├── BodyTooSlow             a body that does not come
        ├── Overloaded              more requests at a time than are worked on
        ├── DiskBusy                more bytes of bodies on their way than the disk is to hold
        ├── VersionRefused          a version that was to serve and must not
        ├── StateUnavailable        what the processes share cannot be written
        └── NotReady                a service that cannot forecast
"""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from models.errors import (
    EmptyRequest,
    InputError,
    InvalidSeries,
    ModelError,
    ModelUnloaded,
    NextdayError,
    NothingToExplain,
    UnknownLevel,
    UnknownModel,
)
from worker.errors import (
    BadCursor,
    DigestMismatch,
    IdempotencyConflict,
    IntakeBusy,
    JobExpired,
    JobNotFinished,
    JobNotFound,
    JobStateConflict,
    QueueFull,
    QueueUnavailable,
    ReferenceRefused,
    ResultsDamaged,
    StorageUnavailable,
    TableError,
    TooManyBytes,
    TooManyJobs,
    UnsupportedFormat,
    UploadTooLarge,
    WebhookRefused,
)
from worker.requests import InvalidJson, InvalidRequest, TooManySeries

PROBLEM_TYPE = "application/problem+json"
PROTOCOL = "/v2"
"""Below it errors are those of the Open Inference Protocol."""


class HttpError(NextdayError):
    """
    A request that is refused before the core sees it.

    Attributes:
        headers: What its answer carries besides.
    """

    headers: Mapping[str, str] = MappingProxyType({})


class Unauthorized(HttpError):
    """No API key, or one that is not let in."""

    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})

    def __init__(self, *, given: bool) -> None:
        super().__init__(
            "this API key is not let in"
            if given
            else "an API key is needed; send it in the header `Authorization: Bearer <key>`"
        )


class Forbidden(HttpError):
    """An API key without the scope that is needed; or none, where the service has none (`has` is None)."""

    def __init__(self, *, needed: str, has: Iterable[str] | None) -> None:
        how = (
            f"this service has no keys: make one with `nextday keys new NAME --scope {needed} --file FILE`, then start "
            "it with NEXTDAY_API_KEYS_FILE=FILE"
            if has is None
            else f"yours has {', '.join(has)}"
        )
        super().__init__(f"this needs an API key with the scope `{needed}`; {how}")


class RateLimited(HttpError):
    """More requests than a caller may make."""

    def __init__(self, *, rate_per_s: float, wait_s: float) -> None:
        self.headers = {"Retry-After": str(math.ceil(wait_s))}
        super().__init__(f"at most {rate_per_s:g} requests a second are taken from you; the next one in {wait_s:.3g} s")


class LengthRequired(HttpError):
    """A body without Content-Length: a server that cuts it off cannot tell."""

    def __init__(self) -> None:
        super().__init__("the request has no Content-Length; send its length instead of Transfer-Encoding: chunked")


class BodyTooLarge(HttpError):
    """More bytes than are taken."""

    def __init__(self, *, given: int, most: int, hint: str = "") -> None:
        super().__init__(f"the body has {given} bytes; at most {most} are taken{hint}")


class BodyTruncated(HttpError):
    """Fewer bytes came than were announced; how many is not always known."""

    def __init__(self, *, received: int | None, announced: int) -> None:
        where = "early" if received is None else f"after {received} bytes"
        super().__init__(f"the body ended {where}; its Content-Length says {announced}")


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


class TooMuchToExplain(HttpError):
    """More closes than one request may have explained, over all its series; each becomes hundreds of numbers."""

    def __init__(self, *, given: int, most: int) -> None:
        super().__init__(
            f"got {given} closes to explain, over all series; at most {most} are explained here: send fewer series at a"
            " time, or leave `explain` out"
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


class RangeNotSatisfiable(HttpError):
    """A part of a download that begins behind its end."""

    def __init__(self, *, size_bytes: int) -> None:
        self.headers = {"Content-Range": f"bytes */{size_bytes}"}
        super().__init__(f"the file has {size_bytes} bytes, and the Range begins behind them")


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


class BodyTooSlow(HttpError):
    """A body that does not come, or comes too slowly to be waited for."""

    def __init__(self, *, waited_s: float) -> None:
        super().__init__(f"the body had not come after {waited_s:.1f} s; send it at once")


class Overloaded(HttpError):
    """More requests at a time than are worked on; turned away before anything is read."""

    headers = MappingProxyType({"Retry-After": "1"})

    def __init__(self) -> None:
        super().__init__("as many requests as there is room for are being answered already; try again in a second")


class VersionRefused(HttpError):
    """A version that was to serve is not what its card says; what served before goes on."""

    def __init__(self, *, name: str, reason: str, serving: int | None) -> None:
        goes_on = "no version serves" if serving is None else f"version {serving} goes on"
        super().__init__(f"the version of the model {name!r} that was to serve is refused: {reason}; {goes_on}")


class StateUnavailable(HttpError):
    """What the processes of the service share cannot be written; nothing has changed."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the service's state cannot be written ({reason}); nothing has changed")


class DiskBusy(HttpError):
    """More bytes of bodies on their way than the disk is to hold."""

    headers = MappingProxyType({"Retry-After": "1"})

    def __init__(self, *, most: int) -> None:
        super().__init__(f"bodies of {most} bytes are on their way already; try again in a second")


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
    Unauthorized: Problem(401, "unauthorized", "An API key is needed"),
    Forbidden: Problem(403, "forbidden", "The API key does not open this"),
    NotOffered: Problem(400, "not-offered", "This part of the protocol is not offered"),
    JobNotFound: Problem(404, "job-not-found", "There is no such job"),
    ModelNotFound: Problem(404, "model-not-found", "There is no such model"),
    NotAcceptable: Problem(406, "not-acceptable", "The format asked for is not given"),
    ModelUnloaded: Problem(409, "model-unloaded", "The model is unloaded"),
    JobNotFinished: Problem(409, "job-not-finished", "The job has not ended"),
    JobStateConflict: Problem(409, "job-state-conflict", "The job's status does not allow this"),
    JobExpired: Problem(410, "job-expired", "The job has expired"),
    BodyTooSlow: Problem(408, "body-too-slow", "The body did not come in time"),
    LengthRequired: Problem(411, "length-required", "The body's length is not told"),
    BodyTooLarge: Problem(413, "body-too-large", "The body is too large"),
    UnpackedTooLarge: Problem(413, "body-too-large", "The body is too large"),
    UploadTooLarge: Problem(413, "body-too-large", "The body is too large"),
    TooManySeries: Problem(413, "too-many-series", "Too many series for one request"),
    TooManyCloses: Problem(413, "too-many-closes", "Too many closes for one request"),
    TooManyDays: Problem(413, "too-many-days", "Too many days ahead for one request"),
    RangeNotSatisfiable: Problem(416, "range-not-satisfiable", "There is no such part"),
    UnsupportedMediaType: Problem(415, "unsupported-media-type", "The body's type is not taken"),
    UnsupportedFormat: Problem(415, "unsupported-media-type", "The body's type is not taken"),
    EmptyRequest: Problem(422, "empty-request", "There is nothing to forecast"),
    InvalidSeries: Problem(422, "invalid-series", "Some series cannot be forecast"),
    UnknownModel: Problem(422, "unknown-model", "There is no such model"),
    UnknownLevel: Problem(422, "unknown-level", "The model does not give this level"),
    NothingToExplain: Problem(422, "nothing-to-explain", "The model cannot tell what it kept, added and showed"),
    TooMuchToExplain: Problem(422, "too-much-to-explain", "Too many closes to explain in one request"),
    DigestMismatch: Problem(422, "digest-mismatch", "The body is not what its Content-Digest says"),
    ReferenceRefused: Problem(422, "reference-refused", "The file cannot be had"),
    WebhookRefused: Problem(422, "webhook-refused", "The webhook is not called by this service"),
    TableError: Problem(422, "invalid-table", "The upload cannot be read"),
    InvalidRequest: Problem(422, "invalid-request", "The request is not as documented"),
    InvalidParameter: Problem(422, "invalid-parameter", "A parameter is not as documented"),
    BadCursor: Problem(422, "invalid-cursor", "There is no such page"),
    IdempotencyConflict: Problem(422, "idempotency-conflict", "The Idempotency-Key is taken"),
    VersionRefused: Problem(422, "version-refused", "The version must not serve"),
    InputError: Problem(422, "invalid-request", "The request is not as documented"),
    TooManyJobs: Problem(429, "too-many-jobs", "Too many jobs are unfinished"),
    TooManyBytes: Problem(429, "too-many-bytes", "Too much input is stored"),
    RateLimited: Problem(429, "rate-limited", "Too many requests"),
    QueueUnavailable: Problem(503, "queue-unavailable", "The job queue does not answer"),
    QueueFull: Problem(503, "queue-full", "The job queue has no room"),
    IntakeBusy: Problem(503, "overloaded", "Too many requests at a time"),
    Overloaded: Problem(503, "overloaded", "Too many requests at a time"),
    DiskBusy: Problem(503, "overloaded", "Too many requests at a time"),
    NotReady: Problem(503, "not-ready", "The service is not ready"),
    ResultsDamaged: Problem(500, "results-damaged", "The job's results are damaged on disk"),
    StateUnavailable: Problem(507, "state-unavailable", "The service's state cannot be written"),
    StorageUnavailable: Problem(507, "storage-unavailable", "The job cannot be stored"),
    ModelError: Problem(503, "model-not-ready", "The model is not ready"),
}
NOT_FOUND = Problem(404, "not-found", "Not Found")
NOT_ALLOWED = Problem(405, "method-not-allowed", "Method Not Allowed")
BUG = Problem(500, "internal-error", "Something went wrong here")
KINDS = {each.slug: each for each in (*PROBLEMS.values(), NOT_FOUND, NOT_ALLOWED, BUG)}
"""Every kind of problem that is answered, by the last part of its type."""
