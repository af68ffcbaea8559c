"""``/openapi.json``: the API as OpenAPI 3.1, made from the types of bodies and answers and one table of routes."""

import functools
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from service.admission import ANY_KEY, OPEN, needed
from service.errors import KINDS, PROBLEM_TYPE, PROTOCOL
from service.health import HEALTH
from service.oip import OCTETS
from service.oip.requests import LENGTH_HEADER, IndexRequest, LoadRequest
from service.oip.schemas import (
    IndexEntry,
    InferenceAnswer,
    InferenceBody,
    InferenceError,
    Live,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    StatisticsAnswer,
)
from service.parameters import (
    AFTER,
    DIGEST,
    ENCODING,
    EXPIRES,
    FORMAT,
    HEADERS,
    IF_NONE_MATCH,
    IF_RANGE,
    JOIN,
    KEY,
    LEVELS,
    LIMIT,
    LISTED_MODEL,
    MODEL,
    MODEL_VERSION,
    OF_STATUS,
    PARAMETERS,
    RANGE,
    SPLIT,
    STATUS,
    TEXT,
    WEBHOOK,
    headers,
    refer,
)
from service.schemas import (
    Applied,
    ForecastAnswer,
    Health,
    JobAnswer,
    JobBody,
    JobList,
    JobReference,
    ModelDetails,
    ModelList,
    ProblemAnswer,
    ProblemList,
    Readiness,
    Serving,
    ServingChanged,
)
from service.scrape import OPENMETRICS, PLAIN
from service.serving import ServingRequest
from worker.media_types import ARROW_FILE, ARROW_STREAM, CSV, JSON, NDJSON, PARQUET
from worker.requests import ForecastRequest, Series

TAGS = {
    "/v1/forecasts": ("Forecasts", "Quantiles of the next closes, at once"),
    "/v1/jobs": ("Jobs", "The same of very many series, in the background"),
    "/v1/models": ("Models", "What there is to forecast with"),
    PROTOCOL: ("Open Inference Protocol", "The models as inference servers offer them"),
    "": ("Service", "The service itself"),
}
"""Under which heading a path stands, by how it starts, and what that is."""
DESCRIPTION = (
    "Daily closes in, quantiles of the next close out. A path that is not here is answered with 404, a method that a "
    "path does not take with 405. A body is UTF-8, whether or not its Content-Type says so, and comes with its "
    f"Content-Length; under {PROTOCOL} its Content-Encoding may be gzip or deflate. X-Request-Id names a request and "
    "comes back."
)
COLUMNAR = (PARQUET, ARROW_FILE, ARROW_STREAM)
UPLOADS = {
    JSON: {"anyOf": [refer("schemas", "JobBody"), refer("schemas", "JobReference")]},
    NDJSON: {**TEXT, "minLength": 1, "description": "a `Series` a line, or an object with `id`, `date` and `close`"},
    CSV: {**TEXT, "minLength": 1, "description": "`id,date,close`, a date column and one a ticker, or `id,closes`"},
    **{each: {"description": "`id`, `date` and `close`, or `id` and a list `closes`"} for each in COLUMNAR},
}
RESULTS = {
    NDJSON: {**TEXT, "description": "a `Forecast` a line"},
    CSV: {**TEXT, "description": "`id,as_of,last_close,median` and a column for each level"},
    **{each: {"description": "the same columns"} for each in COLUMNAR},
}
ERRORS = {
    NDJSON: {**TEXT, "description": "a line for each: `row`, its place from 0; `id`; and `error`"},
    CSV: {**TEXT, "description": "`row,id,error`"},
    **{each: {"description": "the same columns"} for each in COLUMNAR},
}
SERIES = {"id": "yesterday and today", "closes": [101.5, 102.25]}
API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "nd_<id>_<secret>",
    "description": "An API key. A service that has none takes forecasts and jobs from its own machine without one.",
}
EXAMPLES: dict[tuple[str, Any], Any] = {
    (JSON, ForecastRequest): {"series": [SERIES]},
    (JSON, str): {"series": [SERIES, {"id": "KO", "closes": [62.38, 62.86, 63.24], "as_of": "2022-12-28"}]},
    (JSON, InferenceBody): {
        "inputs": [
            {"name": "closes", "shape": [1, 2], "datatype": "FP32", "data": [101.5, 102.25]},
            {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]},
        ]
    },
    (JSON, IndexRequest): {"ready": True},
    (JSON, LoadRequest): {},
    (JSON, ServingRequest): {"version": 1},
    (NDJSON, str): '{"id": "KO", "closes": [62.38, 62.86, 63.24]}\n{"id": "AAPL", "closes": [126.4, 125.7]}\n',
    (CSV, str): "id,date,close\nKO,2022-12-27,62.86\nKO,2022-12-28,63.24\n",
}
"""By media type and type, that of text for a schema."""
TENSORS = {JSON: InferenceAnswer, OCTETS: {"description": "the same as JSON, and the raw tensors behind it"}}
UNCHANGED = ("ETag", "Accept-Ranges")
"""Headers of what one has already."""
OF_DOWNLOADS: dict[str, Any] = {
    "problems": (406, 409, 410, 416, 422, 507),
    "parameters": (FORMAT, RANGE, IF_RANGE, IF_NONE_MATCH),
    "also": (206,),
    "bare": (304,),
    "headers": (*UNCHANGED, "Content-Disposition", "Content-Range", "Content-Digest", "Repr-Digest"),
}
INDEX = {"type": "array", "items": refer("schemas", "IndexEntry")}
PACKED = ("Vary", "Content-Encoding", LENGTH_HEADER)
OF_BODIES = (400, 408, 411, 413, 415, 507)
"""What a request may be answered for its body, whatever the operation."""


class Operation(NamedTuple):
    """
    One method of one path.

    Attributes:
        method: In lower case.
        path: With its parameters in braces.
        name: Its operationId.
        summary: What it does, in a line.
        status: Of its answer where all goes well.
        answers: By media type, a type or a schema.
        problems: The statuses of its own that it may answer besides, as problem+json, or under /v2 as that protocol
            has it; those that follow from its path and body are not among them.
        takes: By media type, what its body is.
        parameters: In query and header.
        also: Other statuses with an answer of the same shape.
        bare: Statuses that have no body, where all goes well, too.
        optional: Whether the body may be left out.
        headers: Names of headers of its answer where all goes well, besides those of every answer.
        links: Operations on the job that it answers.
    """

    method: str
    path: str
    name: str
    summary: str
    status: int
    answers: dict[str, Any]
    problems: tuple[int, ...] = ()
    takes: Mapping[str, Any] = MappingProxyType({})
    parameters: tuple[dict[str, Any], ...] = ()
    also: tuple[int, ...] = ()
    bare: tuple[int, ...] = ()
    optional: bool = False
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @property
    def scope(self) -> str:
        """What one needs to ask for it."""
        return needed(self.method.upper(), self.path)

    @property
    def statuses(self) -> set[int]:
        """All that it may answer but where all goes well. 405 is the path's, and has no other place in a document."""
        found = {*self.problems, 405, 500}
        found |= {404} if "{" in self.path else set()
        found |= set(OF_BODIES) if self.takes else set()
        found |= set() if self.path in HEALTH else {503}
        found |= set() if self.scope == OPEN else {401, 403, 429}
        return found - self.good

    @property
    def good(self) -> set[int]:
        """Those where all goes well, or is told in the same shape."""
        return {self.status, *self.also, *self.bare}


def _of_model(
    method: str, rest: str, name: str, summary: str, answers: dict[str, Any], **more: Any
) -> Iterator[Operation]:
    """An operation of the protocol on a model: on the version that serves, and on one that the path names."""
    model = f"{PROTOCOL}/models/{{name}}"
    problems = (409, *more.pop("problems", ()))
    yield Operation(method, model + rest, name, summary, 200, answers, problems, **more)
    path, name = f"{model}/versions/{{version}}{rest}", f"{name}OfVersion"
    yield Operation(method, path, name, f"{summary}, of one version", 200, answers, problems, **more)


OPERATIONS = (
    Operation(
        "post", "/v1/forecasts", "forecast", "Quantiles of the next close of each series",
        200, {JSON: ForecastAnswer}, (409, 422), {JSON: ForecastRequest},
    ),
    Operation("get", "/v1/models", "listModels", "The models there are", 200, {JSON: ModelList}),
    Operation("get", "/v1/models/{name}", "getModel", "A model's card", 200, {JSON: ModelDetails}),
    Operation(
        "get", "/v1/models/{name}/serving", "getServing", "Which version of a model serves, and why no other",
        200, {JSON: Serving},
    ),
    Operation(
        "put", "/v1/models/{name}/serving", "serveVersion", "Let a version serve, or with null the newest again",
        200, {JSON: ServingChanged}, (422,), {JSON: ServingRequest},
    ),
    Operation(
        "post", "/v1/jobs", "submitJob", "Forecast many series in the background",
        202, {JSON: JobAnswer}, (422, 429), UPLOADS,
        (MODEL, MODEL_VERSION, LEVELS, JOIN, WEBHOOK, EXPIRES, KEY, ENCODING, DIGEST),
        headers=("Location",), links=("getJob", "cancelJob", "getResults", "getErrors"),
    ),
    Operation(
        "get", "/v1/jobs", "listJobs", "Your jobs, newest first, a page at a time",
        200, {JSON: JobList}, (422,), parameters=(LIMIT, AFTER, STATUS, LISTED_MODEL), headers=("Link",),
    ),
    Operation("get", "/v1/jobs/{job_id}", "getJob", "How far a job is", 200, {JSON: JobAnswer}),
    Operation(
        "delete", "/v1/jobs/{job_id}", "deleteJob", "Delete an ended job with its files", 204, {}, (409,),
    ),
    Operation(
        "post", "/v1/jobs/{job_id}/cancel", "cancelJob", "Cancel a job; what is done is kept", 200, {JSON: JobAnswer},
        links=("getJob", "getResults", "getErrors", "resumeJob", "deleteJob"),
    ),
    Operation(
        "post", "/v1/jobs/{job_id}/resume", "resumeJob", "Let a failed or cancelled job go on with what is missing",
        200, {JSON: JobAnswer}, (409, 429), links=("getJob", "cancelJob"),
    ),
    Operation(
        "get", "/v1/jobs/{job_id}/results", "getResults", "An ended job's forecasts, in the order of its input",
        200, RESULTS, **OF_DOWNLOADS,
    ),
    Operation(
        "get", "/v1/jobs/{job_id}/errors", "getErrors", "An ended job's rows that could not be forecast, and why",
        200, ERRORS, **OF_DOWNLOADS,
    ),
    Operation("get", "/v2", "serverMetadata", "The service, as the protocol has it", 200, {JSON: ServerMetadata}),
    Operation("get", "/v2/health/live", "live", "The process is up, for the protocol", 200, {JSON: Live}),
    Operation("get", "/v2/health/ready", "ready", "It can forecast, for the protocol", 200, {JSON: Ready}, (503,)),
    *_of_model("get", "", "modelMetadata", "A model's tensors", {JSON: ModelMetadata}),
    *_of_model("get", "/ready", "modelReady", "A model can forecast", {JSON: ModelReady}),
    *_of_model("get", "/config", "modelConfig", "A model's configuration, in Triton's form", {JSON: ModelConfig}),
    *_of_model(
        "post", "/infer", "infer", "Quantiles of the next close of each row of a tensor", TENSORS,
        takes={JSON: InferenceBody, OCTETS: TENSORS[OCTETS]}, parameters=(SPLIT,), headers=PACKED,
    ),
    *_of_model("get", "/stats", "modelStatistics", "What a process has inferred by a model", {JSON: StatisticsAnswer}),
    Operation(
        "get", "/v2/models/stats", "statistics", "What a process has inferred by each model",
        200, {JSON: StatisticsAnswer},
    ),
    Operation(
        "post", "/v2/repository/index", "index", "The versions of every model and their state",
        200, {JSON: INDEX}, takes={JSON: IndexRequest}, optional=True,
    ),
    Operation(
        "post", "/v2/repository/models/{name}/load", "load", "Make a model ready, and look for a new version",
        200, {JSON: Applied}, takes={JSON: LoadRequest}, optional=True,
    ),
    Operation(
        "post", "/v2/repository/models/{name}/unload", "unload", "Let nothing of a model serve",
        200, {JSON: Applied}, takes={JSON: LoadRequest}, optional=True,
    ),
    Operation("get", "/healthz", "isUp", "The process is up", 200, {JSON: Health}),
    Operation("get", "/readyz", "isReady", "It can forecast", 200, {JSON: Readiness}, also=(503,)),
    Operation("get", "/metrics", "metrics", "Counts and times for Prometheus", 200, {PLAIN: TEXT, OPENMETRICS: TEXT}),
    Operation("get", "/problems", "listProblems", "The types of errors", 200, {JSON: ProblemList}),
    Operation("get", "/openapi.json", "describe", "This document", 200, {JSON: {"type": "object"}}),
)  # fmt: skip


@functools.cache
def document() -> dict[str, Any]:
    """The whole of it."""
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nextday",
            "version": version("nextday"),
            "summary": "Next-day quantiles of daily closes",
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": _schemas()[1],
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": _refusals(),
            "securitySchemes": {"key": API_KEY},
        },
    }


@functools.cache
def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type in the table, and those they refer to."""
    used = {kind for each in OPERATIONS for put in (each.answers, each.takes) for kind in put.values()
            if isinstance(kind, type)}  # fmt: skip
    named = {ProblemAnswer, InferenceError, IndexEntry, JobBody, JobReference, Series}
    types = [*sorted(used | named, key=lambda kind: kind.__name__)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, schemas, strict=True)), components


def _refusals() -> dict[str, Any]:
    """The answers where something is wrong, by the names that `_refusal` gives them."""
    return {
        _refusal(each, status): _answer(_told(each, status), content, OF_STATUS.get(status))
        for each in OPERATIONS
        for status in sorted(each.statuses)
        for content in [{JSON: InferenceError} if _of_protocol(each) else {PROBLEM_TYPE: ProblemAnswer}]
    }


def _refusal(each: Operation, status: int) -> str:
    return f"{'InferenceError' if _of_protocol(each) else 'Problem'}{status}"


def _of_protocol(each: Operation) -> bool:
    return each.path.startswith(PROTOCOL)


def _told(each: Operation, status: int) -> str:
    """A status in words, and the types of problems that have it."""
    kinds = ", ".join(f"`{slug}`" for slug, kind in KINDS.items() if kind.status == status)
    return HTTPStatus(status).phrase + ("" if _of_protocol(each) else f": {kinds}")


def _operation(each: Operation) -> dict[str, Any]:
    responses = {
        status: _answer(_outcome(status), {} if status in each.bare else each.answers, *_headers_of(each, status))
        for status in each.good
    }
    responses |= {status: refer("responses", _refusal(each, status)) for status in each.statuses}
    if each.links:
        responses[each.status]["links"] = {name: _link(name) for name in each.links}
    entry: dict[str, Any] = {
        "operationId": each.name,
        "tags": [next(tag for start, (tag, _) in TAGS.items() if each.path.startswith(start))],
        "summary": each.summary,
        "security": _security(each),
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }
    if parameters := [*_shared_parameters(each.path), *each.parameters]:
        entry["parameters"] = parameters
    if each.takes:
        entry["requestBody"] = {"required": not each.optional, "content": _content(each.takes, EXAMPLES)}
    return entry


def _headers_of(each: Operation, status: int) -> list[str]:
    return [name for name in each.headers if status not in each.bare or name in UNCHANGED]


def _security(each: Operation) -> list[dict[str, list[str]]]:
    if each.scope == OPEN:
        return []
    return [{"key": [] if each.scope == ANY_KEY else [each.scope]}]


def _outcome(status: int) -> str:
    return {206: "The part that was asked for", 304: "What you have is what there is"}.get(
        status, "All went well" if status < 400 else "It cannot"
    )


def _answer(text: str, media_types: Mapping[str, Any], *names: str | None) -> dict[str, Any]:
    return {"description": text, "headers": headers(*filter(None, names)), "content": _content(media_types)}


def _content(
    media_types: Mapping[str, Any], examples: Mapping[tuple[str, Any], Any] = MappingProxyType({})
) -> dict[str, Any]:
    content = {}
    for media_type, kind in media_types.items():
        content[media_type] = {"schema": _schemas()[0][kind] if isinstance(kind, type) else kind}
        key = (media_type, kind if isinstance(kind, type) else str)
        if key in examples:
            content[media_type]["example"] = examples[key]
    return content


def _link(name: str) -> dict[str, Any]:
    """From a job to an operation on it."""
    return {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}


def _shared_parameters(path: str) -> list[dict[str, Any]]:
    return [refer("parameters", part[1:-1]) for part in path.split("/") if part.startswith("{")]
