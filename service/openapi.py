"""``/openapi.json``: the API as OpenAPI 3.1, made from the types that decode requests and one table of routes."""

import functools
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from service.errors import PROBLEM_TYPE
from service.jobs import MAX_KEY_LENGTH, MAX_LISTED
from service.schemas import (
    ForecastAnswer,
    Health,
    JobAnswer,
    JobList,
    ModelDetails,
    ModelList,
    ProblemAnswer,
    ProblemList,
    Readiness,
)
from worker.requests import ForecastRequest
from worker.tables import CSV, JSON, NDJSON

TAGS = {"/v1/forecasts": "Forecasts", "/v1/jobs": "Jobs", "/v1/models": "Models"}
"""Under which heading a path stands, by how it starts."""
TEXT = {"type": "string"}
LINES = {NDJSON: TEXT, CSV: TEXT}
EXAMPLE = {"series": [{"id": "yesterday and today", "closes": [101.5, 102.25]}]}


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
        problems: The statuses that it may answer besides, as problem+json.
        takes: By media type, what its body is.
        parameters: In query and header.
        also: Another status with an answer of the same shape.
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

OPERATIONS = (
    Operation(
        "post", "/v1/forecasts", "forecast", "Quantiles of the next close of each series",
        200, {JSON: ForecastAnswer}, (*BODY, 503), {JSON: ForecastRequest},
    ),
    Operation("get", "/v1/models", "listModels", "The models there are", 200, {JSON: ModelList}),
    Operation("get", "/v1/models/{name}", "getModel", "A model's card", 200, {JSON: ModelDetails}, (404, 503)),
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
    Operation("get", "/healthz", "isUp", "The process is up", 200, {JSON: Health}),
    Operation("get", "/readyz", "isReady", "It can forecast", 200, {JSON: Readiness}, also=503),
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
        "components": {"schemas": _components()[1]},
    }


@functools.cache
def _components() -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type in the table, and those they refer to."""
    used = {kind for each in OPERATIONS for put in (each.answers, each.takes) for kind in put.values()
            if isinstance(kind, type)}  # fmt: skip
    types = [*sorted(used, key=lambda kind: kind.__name__), ProblemAnswer]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, schemas, strict=True)), components


def _operation(each: Operation) -> dict[str, Any]:
    answers = {each.status: each.answers} | ({each.also: each.answers} if each.also else {})
    problems = {status: {PROBLEM_TYPE: ProblemAnswer} for status in (*each.problems, 500)}
    entry: dict[str, Any] = {
        "operationId": each.name,
        "tags": [next((tag for start, tag in TAGS.items() if each.path.startswith(start)), "Service")],
        "summary": each.summary,
        "responses": {str(status): _answer(status, put) for status, put in sorted((problems | answers).items())},
    }
    if parameters := [*_path_parameters(each.path), *each.parameters]:
        entry["parameters"] = parameters
    if each.takes:
        entry["requestBody"] = {"required": True, "content": _content(each.takes)}
    return entry


def _answer(status: int, media_types: dict[str, Any]) -> dict[str, Any]:
    text = "All went well" if status < 400 else "What went wrong"
    return {"description": text, "content": _content(media_types)}


def _content(media_types: Mapping[str, Any]) -> dict[str, Any]:
    content = {}
    for media_type, kind in media_types.items():
        content[media_type] = {"schema": _components()[0][kind] if isinstance(kind, type) else kind}
        if kind is ForecastRequest:
            content[media_type]["example"] = EXAMPLE
    return content


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
