"""What requests have beside their body and answers beside theirs, as `/openapi.json` documents it."""

from typing import Any

from service.downloads import FORMATS
from service.exchange import FIXED_HEADERS, REQUEST_ID
from service.jobs import LISTED, MAX_LISTED
from service.oip.packing import WINDOW_BITS
from service.oip.requests import LENGTH_HEADER
from service.schemas import JOB_ID, SHA256, VERSION
from service.submissions import MAX_KEY_LENGTH, PACKINGS
from worker.ledger import STATUSES
from worker.reading.limits import MAX_JOINED

TEXT = {"type": "string"}
WHOLE = {"type": "integer", "minimum": 1}

Described = dict[str, Any]


def _query(name: str, schema: Described, text: str, **more: Any) -> Described:
    return {"name": name, "in": "query", "schema": schema, "description": text, **more}


def _header(name: str, schema: Described, text: str) -> Described:
    return {"name": name, "in": "header", "schema": schema, "description": text}


def _path(name: str, pattern: str, text: str, example: str) -> Described:
    schema = {**TEXT, "pattern": pattern}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": text, "example": example}


def _answered(schema: Described, text: str, *, always: bool = True) -> Described:
    return {"required": always, "schema": schema, "description": text}


_LEVEL = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}

MODEL = _query("model", {**TEXT, "minLength": 1}, "name of the model; `lstm` if left out")
MODEL_VERSION = _query("version", {**WHOLE, "maximum": 999_999_999}, "version of the model; the newest if left out")
LEVELS = _query(
    "levels",
    {"type": "array", "items": _LEVEL, "minItems": 1},
    "quantile levels with commas between, as in `0.05,0.5,0.95`, of those that `GET /v1/models` lists; all if left out",
    style="form",
    explode=False,
)
JOIN = _query(
    "join",
    {"type": "array", "items": {**TEXT, "minLength": 1}, "minItems": 1, "maxItems": MAX_JOINED, "uniqueItems": True},
    "columns of the upload, with commas between, that the results have, too",
    style="form",
    explode=False,
)
WEBHOOK = _query(
    "webhook", {**TEXT, "minLength": 1}, "https URL to be told of the job's end, if the operator allows it"
)
EXPIRES = _query(
    "expires_in_h",
    {"type": "number", "exclusiveMinimum": 0},
    "hours until the job and its files are deleted, if that is sooner than otherwise",
)
LIMIT = _query("limit", {**WHOLE, "maximum": MAX_LISTED, "default": LISTED}, "most jobs to list")
AFTER = _query("after", {**TEXT, "minLength": 1}, "the `next` of the page before")
STATUS = _query(
    "status",
    {"type": "array", "items": {"enum": [*STATUSES]}, "minItems": 1},
    "only jobs of these; with commas between, or several times",
    style="form",
    explode=False,
)
LISTED_MODEL = _query("model", {**TEXT, "minLength": 1}, "only jobs of this model")
FORMAT = _query("format", {"enum": [*FORMATS]}, "goes before Accept; NDJSON if neither is there")
RANGE = _header("Range", TEXT, "one part, as in `bytes=1000-`; of several, or of none, the whole comes")
IF_RANGE = _header("If-Range", TEXT, "ETag that the file has to have for Range to count")
IF_NONE_MATCH = _header("If-None-Match", TEXT, "ETags of what you have; 304 where it is one of them")
ENCODING = _header("Content-Encoding", {"enum": [*PACKINGS]}, "how the upload is packed")
DIGEST = _header(
    "Content-Digest",
    {**TEXT, "pattern": "^sha-(256=:[A-Za-z0-9+/]{43}=|512=:[A-Za-z0-9+/]{86}==):$"},
    "the body's digest as it is sent, RFC 9530, by sha-256 or sha-512; another body is refused",
)
KEY = _header(
    "Idempotency-Key",
    {**TEXT, "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "the same key with the same body gives the same job; printable ASCII",
)
SPLIT = _header(
    LENGTH_HEADER, {"type": "integer", "minimum": 0}, "length of the JSON in bytes, where raw tensors lie behind it"
)

PARAMETERS: dict[str, Described] = {
    "name": _path("name", "^[^/]+$", "name of a model", "lstm"),
    "version": _path("version", f"^{VERSION}$", "version of the model", "1"),
    "job_id": _path("job_id", f"^{JOB_ID}$", "id of a job, as its submission answered it", "0" * 32),
}
"""Those of paths, which many operations share."""

HEADERS: dict[str, Described] = {
    "X-Request-Id": _answered(
        {**TEXT, "pattern": f"^{REQUEST_ID.pattern}$"},
        "the request's own, if it is 1 to 64 of these characters, or a new one; the log names the request so",
    ),
    **{name.title(): _answered({**TEXT, "const": value}, "protects") for name, value in FIXED_HEADERS},
    "Retry-After": _answered(WHOLE, "seconds after which to try again"),
    "WWW-Authenticate": _answered({**TEXT, "const": "Bearer"}, "how to say who asks"),
    "Server-Timing": _answered(TEXT, "milliseconds of each stage, where there were any", always=False),
    "Allow": _answered(TEXT, "the methods that this path takes"),
    "Location": _answered({**TEXT, "pattern": f"^/v1/jobs/{JOB_ID}$"}, "where the job is"),
    "Content-Disposition": _answered(TEXT, "the name of the file"),
    "Link": _answered(TEXT, 'the next page, `rel="next"`, if there is one', always=False),
    "ETag": _answered({**TEXT, "pattern": f'^"{SHA256}"$'}, "the sha256 of the file's bytes"),
    "Accept-Ranges": _answered({**TEXT, "const": "bytes"}, "parts of it can be had by Range"),
    "Content-Range": _answered(
        {**TEXT, "pattern": r"^bytes (\*|\d+-\d+)/\d+$"}, "which part it is, and of how much", always=False
    ),
    "Content-Digest": _answered(TEXT, "sha-256 of the whole, RFC 9530", always=False),
    "Repr-Digest": _answered(TEXT, "sha-256 of the whole, of which this may be a part, RFC 9530"),
    "Vary": _answered({**TEXT, "const": "Accept-Encoding"}, "the answer is compressed as Accept-Encoding asks"),
    "Content-Encoding": _answered({**TEXT, "enum": [*WINDOW_BITS]}, "how it is compressed, if it is", always=False),
    LENGTH_HEADER: _answered(
        {"type": "integer", "minimum": 1}, "length of the JSON in bytes, where raw tensors lie behind it", always=False
    ),
}
EVERYWHERE = ("X-Request-Id", "Server-Timing", *(name.title() for name, _ in FIXED_HEADERS))
"""Headers of every answer."""
OF_STATUS = {
    401: "WWW-Authenticate",
    405: "Allow",
    416: "Content-Range",
    429: "Retry-After",
    503: "Retry-After",
    507: "Retry-After",
}
"""Headers that every error of a status has besides."""


def refer(kind: str, name: str) -> Described:
    """A reference to a component of the document."""
    return {"$ref": f"#/components/{kind}/{name}"}


def headers(*names: str) -> Described:
    """References to the headers of every answer, and to some besides."""
    return {name: refer("headers", name) for name in (*EVERYWHERE, *names)}
