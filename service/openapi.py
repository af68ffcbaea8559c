"""``/openapi.json``: the API as OpenAPI 3.1, made from the types that decode requests and one table of routes."""

import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from service.admission import ANY_KEY, OPEN, needed
from service.errors import PROBLEM_TYPE, PROTOCOL
from service.jobs import MAX_KEY_LENGTH, MAX_LISTED
from service.oip import OCTETS
from service.oip.requests import LENGTH_HEADER, IndexRequest, InferenceRequest, LoadRequest
from service.schemas import (
    Applied,
    ForecastAnswer,
    Health,
    IndexEntry,
    InferenceAnswer,
    InferenceError,
    JobAnswer,
    JobList,
    Live,
    ModelConfig,
    ModelDetails,
    ModelList,
    ModelMetadata,
    ModelReady,
    ProblemAnswer,
    ProblemList,
    Readiness,
    Ready,
    ServerMetadata,
    Serving,
    ServingChanged,
    StatisticsAnswer,
)
from service.scrape import OPENMETRICS, PLAIN
from service.serving import ServingRequest
from worker.requests import ForecastRequest
from worker.tables import CSV, JSON, NDJSON

TAGS = {"/v1/forecasts": "Forecasts", "/v1/jobs": "Jobs", "/v1/models": "Models", PROTOCOL: "Open Inference Protocol"}
"""Under which heading a path stands, by how it starts."""
TEXT = {"type": "string"}
LINES = {NDJSON: TEXT, CSV: TEXT}
EXAMPLE = {"series": [{"id": "yesterday and today", "closes": [101.5, 102.25]}]}
INFERENCE_EXAMPLE = {
    "inputs": [
        {"name": "closes", "shape": [1, 2], "datatype": "FP32", "data": [101.5, 102.25]},
        {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]},
    ]
}
API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "nd_<id>_<secret>",
    "description": "An API key. A service that has none takes forecasts and jobs from its own machine without one.",
}
EXAMPLES: dict[Any, Any] = {
    ForecastRequest: EXAMPLE,
    InferenceRequest: INFERENCE_EXAMPLE,
    ServingRequest: {"version": 1},
}
TENSORS = {JSON: InferenceAnswer, OCTETS: {"description": "the same as JSON, and the raw tensors behind it"}}
INDEX = {"type": "array", "items": {"$ref": "#/components/schemas/IndexEntry"}}


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
        problems: The statuses that it may answer besides, as problem+json, or under /v2 as that protocol has it.
        takes: By media type, what its body is.
        parameters: In query and header.
        also: Another status with an answer of the same shape.
        optional: Whether the body may be left out.
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
    also: int | None = None
    optional: bool = False


def _query(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": text}


MODEL = _query("model", TEXT, "name of the model; `lstm` if left out")
VERSION = _query("version", {"type": "integer", "minimum": 1}, "version of the model; the newest if left out")
LEVELS = _query("levels", TEXT, "quantile levels with commas between, as in `0.05,0.5,0.95`; all if left out")
LIMIT = _query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 100}, "most jobs to list")
FORMAT = _query("format", {"enum": ["ndjson", "csv"]}, "goes before Accept; NDJSON if neither is there")
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
    "description": "the same key with the same body gives the same job",
}
BODY = (400, 411, 413, 415, 422)
SPLIT = {
    "name": LENGTH_HEADER,
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "length of the JSON in bytes, where raw tensors lie behind it",
}


def _of_model(
    method: str,
    rest: str,
    name: str,
    summary: str,
    answers: dict[str, Any],
    problems: tuple[int, ...] = (),
    *more: Any,
) -> Iterator[Operation]:
    """An operation of the protocol on a model: on the version that serves, and on one that the path names."""
    problems = (*problems, 404, 503, *((501,) if method == "post" else ()))
    model = f"{PROTOCOL}/models/{{name}}"
    yield Operation(method, model + rest, name, summary, 200, answers, problems, *more)
    path, name = f"{model}/versions/{{version}}{rest}", f"{name}OfVersion"
    yield Operation(method, path, name, f"{summary}, of one version", 200, answers, problems, *more)


OPERATIONS = (
    Operation(
        "post", "/v1/forecasts", "forecast", "Quantiles of the next close of each series",
        200, {JSON: ForecastAnswer}, (*BODY, 503), {JSON: ForecastRequest},
    ),
    Operation("get", "/v1/models", "listModels", "The models there are", 200, {JSON: ModelList}),
    Operation("get", "/v1/models/{name}", "getModel", "A model's card", 200, {JSON: ModelDetails}, (404, 503)),
    Operation(
        "get", "/v1/models/{name}/serving", "getServing", "Which version of a model serves, and why no other",
        200, {JSON: Serving}, (404,),
    ),
    Operation(
        "put", "/v1/models/{name}/serving", "serveVersion", "Let a version serve, or with null the newest again",
        200, {JSON: ServingChanged}, (*BODY, 404, 507), {JSON: ServingRequest},
    ),
    Operation(
        "post", "/v1/jobs", "submitJob", "Forecast many series in the background",
        202, {JSON: JobAnswer}, (*BODY, 429, 503, 507), {JSON: ForecastRequest} | LINES, (MODEL, VERSION, LEVELS, KEY),
    ),
    Operation("get", "/v1/jobs", "listJobs", "The newest jobs", 200, {JSON: JobList}, (422, 503), {}, (LIMIT,)),
    Operation("get", "/v1/jobs/{job_id}", "getJob", "How far a job is", 200, {JSON: JobAnswer}, (404, 503)),
    Operation(
        "delete", "/v1/jobs/{job_id}", "cancelJob", "Cancel a job; what is done is kept",
        200, {JSON: JobAnswer}, (404, 503),
    ),
    Operation(
        "get", "/v1/jobs/{job_id}/results", "getResults", "An ended job's forecasts, in the order of its input",
        200, LINES, (404, 406, 409, 422, 500, 503, 507), {}, (FORMAT,),
    ),
    Operation(
        "get", "/v1/jobs/{job_id}/errors", "getErrors", "An ended job's rows that could not be forecast, and why",
        200, LINES, (404, 406, 409, 422, 500, 503, 507), {}, (FORMAT,),
    ),
    Operation("get", "/v2", "serverMetadata", "The service, as the protocol has it", 200, {JSON: ServerMetadata}),
    Operation("get", "/v2/health/live", "live", "The process is up, for the protocol", 200, {JSON: Live}),
    Operation("get", "/v2/health/ready", "ready", "It can forecast, for the protocol", 200, {JSON: Ready}, (503,)),
    *_of_model("get", "", "modelMetadata", "A model's tensors", {JSON: ModelMetadata}),
    *_of_model("get", "/ready", "modelReady", "A model can forecast", {JSON: ModelReady}),
    *_of_model("get", "/config", "modelConfig", "A model's configuration, in Triton's form", {JSON: ModelConfig}),
    *_of_model(
        "post", "/infer", "infer", "Quantiles of the next close of each row of a tensor", TENSORS,
        (400, 411, 413, 415), {JSON: InferenceRequest, OCTETS: TENSORS[OCTETS]}, (SPLIT,),
    ),
    *_of_model("get", "/stats", "modelStatistics", "What a process has inferred by a model", {JSON: StatisticsAnswer}),
    Operation(
        "get", "/v2/models/stats", "statistics", "What a process has inferred by each model",
        200, {JSON: StatisticsAnswer},
    ),
    Operation(
        "post", "/v2/repository/index", "index", "The versions of every model and their state",
        200, {JSON: INDEX}, (400, 411, 413, 415), {JSON: IndexRequest}, optional=True,
    ),
    Operation(
        "post", "/v2/repository/models/{name}/load", "load", "Make a model ready, and look for a new version",
        200, {JSON: Applied}, (400, 404, 411, 413, 415, 501, 507), {JSON: LoadRequest}, optional=True,
    ),
    Operation(
        "post", "/v2/repository/models/{name}/unload", "unload", "Let nothing of a model serve",
        200, {JSON: Applied}, (400, 404, 411, 413, 415, 507), {JSON: LoadRequest}, optional=True,
    ),
    Operation("get", "/healthz", "isUp", "The process is up", 200, {JSON: Health}),
    Operation("get", "/readyz", "isReady", "It can forecast", 200, {JSON: Readiness}, also=503),
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
        "info": {"title": "Nextday", "version": version("nextday"), "summary": "Next-day quantiles of daily closes"},
        "paths": paths,
        "components": {"schemas": _components()[1], "securitySchemes": {"key": API_KEY}},
    }


@functools.cache
def _components() -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type in the table, and those they refer to."""
    used = {kind for each in OPERATIONS for put in (each.answers, each.takes) for kind in put.values()
            if isinstance(kind, type)}  # fmt: skip
    types = [*sorted(used | {ProblemAnswer, InferenceError, IndexEntry}, key=lambda kind: kind.__name__)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, schemas, strict=True)), components


def _operation(each: Operation) -> dict[str, Any]:
    answers = {each.status: each.answers} | ({each.also: each.answers} if each.also else {})
    problem = {JSON: InferenceError} if each.path.startswith(PROTOCOL) else {PROBLEM_TYPE: ProblemAnswer}
    problems = dict.fromkeys((*each.problems, *refusals(each), 500), problem)
    entry: dict[str, Any] = {
        "operationId": each.name,
        "tags": [next((tag for start, tag in TAGS.items() if each.path.startswith(start)), "Service")],
        "summary": each.summary,
        "security": _security(each),
        "responses": {str(status): _answer(status, put) for status, put in sorted((problems | answers).items())},
    }
    if parameters := [*_path_parameters(each.path), *each.parameters]:
        entry["parameters"] = parameters
    if each.takes:
        entry["requestBody"] = {"required": not each.optional, "content": _content(each.takes)}
    return entry


def refusals(each: Operation) -> tuple[int, ...]:
    """The statuses by which an operation may be refused before its body is looked at."""
    return () if needed(each.method.upper(), each.path) == OPEN else (401, 403, 429)


def _security(each: Operation) -> list[dict[str, list[str]]]:
    scope = needed(each.method.upper(), each.path)
    if scope == OPEN:
        return []
    return [{"key": [] if scope == ANY_KEY else [scope]}]


def _answer(status: int, media_types: dict[str, Any]) -> dict[str, Any]:
    text = "All went well" if status < 400 else "What went wrong"
    return {"description": text, "content": _content(media_types)}


def _content(media_types: Mapping[str, Any]) -> dict[str, Any]:
    content = {}
    for media_type, kind in media_types.items():
        content[media_type] = {"schema": _components()[0][kind] if isinstance(kind, type) else kind}
        if isinstance(kind, type) and kind in EXAMPLES:
            content[media_type]["example"] = EXAMPLES[kind]
    return content


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
