"""What requests have beside their body and answers beside theirs, as `/openapi.json` documents it."""

from typing import Any

from service.exchange import FIXED_HEADERS, REQUEST_ID
from service.jobs import DOWNLOADS, MAX_KEY_LENGTH, MAX_LISTED
from service.oip.packing import WINDOW_BITS
from service.oip.requests import LENGTH_HEADER
from service.schemas import JOB_ID, VERSION

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
LIMIT = _query("limit", {**WHOLE, "maximum": MAX_LISTED, "default": 100}, "most jobs to list")
FORMAT = _query("format", {"enum": [*DOWNLOADS]}, "goes before Accept; NDJSON if neither is there")
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
    "Vary": _answered({**TEXT, "const": "Accept-Encoding"}, "the answer is compressed as Accept-Encoding asks"),
    "Content-Encoding": _answered({**TEXT, "enum": [*WINDOW_BITS]}, "how it is compressed, if it is", always=False),
    LENGTH_HEADER: _answered(
        {"type": "integer", "minimum": 1}, "length of the JSON in bytes, where raw tensors lie behind it", always=False
    ),
}
EVERYWHERE = ("X-Request-Id", "Server-Timing", *(name.title() for name, _ in FIXED_HEADERS))
"""Headers of every answer."""
OF_STATUS = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After", 507: "Retry-After"}
"""Headers that every error of a status has besides."""


def refer(kind: str, name: str) -> Described:
    """A reference to a component of the document."""
    return {"$ref": f"#/components/{kind}/{name}"}


def headers(*names: str) -> Described:
    """References to the headers of every answer, and to some besides."""
    return {name: refer("headers", name) for name in (*EVERYWHERE, *names)}
