"""Two doors to one route: the front door of the server and Flask's dispatch answer every request alike."""

import json
import re
from typing import Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from models.repository import Repository
from service.app import create_app
from service.settings import ServiceSettings
from tests.contract.protocol import INFER, LENGTH, request
from tests.integration.server_process import DEADLINE_S
from tests.integration.test_http_server import BAD_BODIES, SERIES, body

GOOD = [
    ("one series", body()),
    ("two lengths", body(series=[SERIES, {"id": "b", "closes": [1.5] * 300, "as_of": "2024-02-29"}])),
    ("levels", body(levels=[0.5, 0.05])),
    ("a horizon", body(horizon=3)),
    ("explained", body(series=[SERIES, {"id": "b", "closes": [1.5] * 300}], explain=True)),
    ("explained, and a horizon", body(model="rnn", horizon=3, explain=True)),
    ("another model", body(model="rnn", version=1)),
    ("an id beyond ASCII", body(series=[{"id": "Zürich", "closes": [1, 2]}])),
    ("a body beyond what the loop reads", body(series=[{"id": "a", "closes": [1.5] * 90}] * 300)),
]
CASES = [*((name, content) for name, content, *_ in BAD_BODIES), *GOOD]
OWN = ("date", "server", "content-length", "connection", "server-timing")
"""Headers that belong to a server or to its clock."""


@pytest.fixture(scope="module")
def flask(models: Repository) -> FlaskClient:
    return create_app(ServiceSettings(device="cpu"), models=models).test_client()


def seen(status: int, headers: Any, content: bytes) -> tuple[int, dict[str, str], bytes]:
    return status, {name.lower(): text for name, text in headers.items() if name.lower() not in OWN}, content


def front(url: str, path: str, content: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    answer = httpx.post(f"{url}{path}", content=content, headers=headers, timeout=DEADLINE_S)
    return seen(answer.status_code, answer.headers, answer.content)


def behind(flask: FlaskClient, path: str, content: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    answer = flask.post(path, data=content, headers=headers, content_length=len(content))
    return seen(answer.status_code, answer.headers, answer.data)


@pytest.mark.parametrize("content", [content for _, content in CASES], ids=[name for name, _ in CASES])
def test_both_doors_answer_alike(content: bytes, service_url: str, flask: FlaskClient) -> None:
    headers = {"Content-Type": "application/json", "X-Request-Id": "the-same-one"}

    assert front(service_url, "/v1/forecasts", content, headers) == behind(flask, "/v1/forecasts", content, headers)


TENSORS = [
    ("right", request(), {}, INFER),
    ("a version", request(id="seven"), {}, "/v2/models/lstm/versions/1/infer"),
    ("no such version", request(), {}, "/v2/models/lstm/versions/01/infer"),
    ("no such model", request(), {}, "/v2/models/gpt/infer"),
    ("no row", request(closes={"shape": [0, 2], "data": []}, lengths={"shape": [0], "data": []}), {}, INFER),
    ("a negative close", request(closes={"data": [1, -1]}), {}, INFER),
    ("a length outside", request(lengths={"data": [3]}), {}, INFER),
    ("another type", request(closes={"datatype": "FP64"}), {}, INFER),
    ("a sequence", request(parameters={"sequence_id": 5}), {}, INFER),
    ("a length of the JSON that is none", request(), {LENGTH: "x"}, INFER),
    ("an encoding that is not taken", request(), {"Content-Encoding": "br"}, INFER),
    ("an encoding that it has not", request(), {"Content-Encoding": "gzip"}, INFER),
    ("an answer to be compressed", request(), {"Accept-Encoding": "gzip"}, INFER),
    ("a name in percents", request(), {}, "/v2/models/l%73tm/infer"),
    ("a path that goes on", request(), {}, "/v2/models/lstm/infer/"),
]


@pytest.mark.parametrize(("content", "headers", "path"), [row[1:] for row in TENSORS], ids=[row[0] for row in TENSORS])
def test_both_doors_infer_alike(
    content: dict[str, Any], headers: dict[str, str], path: str, service_url: str, flask: FlaskClient
) -> None:
    headers = {"Accept-Encoding": "identity", **headers, "X-Request-Id": "the-same-one"}
    sent = json.dumps(content).encode()
    with httpx.stream("POST", f"{service_url}{path}", content=sent, headers=headers, timeout=DEADLINE_S) as answer:
        raw = b"".join(answer.iter_raw())
        one = seen(answer.status_code, answer.headers, raw)

    assert one == behind(flask, path, sent, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=UTF-8"},
        {"Content-Type": "Application/JSON"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Encoding": "gzip"},
        {"X-Request-Id": "not one"},
        {"X-Request-Id": "a" * 65},
    ],
    ids=str,
)
def test_both_doors_treat_headers_alike(headers: dict[str, str], service_url: str, flask: FlaskClient) -> None:
    headers = {"Content-Type": "application/json", **headers}

    answers = [front(service_url, "/v1/forecasts", body(), headers), behind(flask, "/v1/forecasts", body(), headers)]

    fresh = re.compile(r"[0-9a-f]{32}")
    for _, told, _ in answers:
        told["x-request-id"] = fresh.sub("a new one", told["x-request-id"])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["/v1/forecasts", INFER])
@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "9" * 30},
        {"CONTENT_LENGTH": "7000"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ],
    ids=str,
)
def test_flask_refuses_a_body_whose_length_is_not_right_also_behind_another_server(
    models: Repository, path: str, environ: dict[str, str]
) -> None:
    app: Flask = create_app(ServiceSettings(device="cpu"), models=models)
    builder = EnvironBuilder(path, method="POST", data=body(), content_type="application/json")

    parts, status, _ = run_wsgi_app(app, builder.get_environ() | environ)

    assert int(status[:3]) in (400, 411, 413)
    assert b"forecasts" not in b"".join(parts)
