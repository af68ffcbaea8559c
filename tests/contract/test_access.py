"""Keys, limits and origins at the routes themselves, through Flask's client and through the hot path in front of it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.repository import Repository
from service.admission import Admission, needed
from service.app import create_app
from service.keys import make
from service.oip.schemas import InferenceError
from service.openapi import OPERATIONS
from service.schemas import ProblemAnswer
from service.settings import ServiceSettings

FORECAST, FORECAST_KEY = make("desk", ["forecast"])
JOBS, JOBS_KEY = make("batch", ["jobs"])
ADMIN, ADMIN_KEY = make("ops", ["admin"])
SLOW, SLOW_KEY = make("slow", ["forecast", "jobs", "admin"], 0.1)
BODY = {"series": [{"id": "AAPL", "closes": [101.5, 102.25]}]}
ORIGIN = "https://app.example.org"
LOAD = "/v2/repository/models/lstm/load"


@pytest.fixture
def app(models: Repository, tmp_path: Path) -> Flask:
    path = tmp_path / "api-keys"
    path.write_text("".join(f"{key.line}\n" for key in (FORECAST_KEY, JOBS_KEY, ADMIN_KEY, SLOW_KEY)))
    settings = ServiceSettings(
        redis_url="redis://127.0.0.1:1/0",
        jobs_url=str(tmp_path),
        state=tmp_path,
        api_keys_file=path,
        cors_origins=ORIGIN,
    )
    return create_app(settings, models=models)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def forecast(client: FlaskClient, **headers: str) -> TestResponse:
    return client.post("/v1/forecasts", json=BODY, headers=headers)


def problem(answer: TestResponse, status: int) -> ProblemAnswer:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    return msgspec.json.decode(answer.data, type=ProblemAnswer)


def routes(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"<(\w+:)?\w+>", "lstm", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def test_without_a_key_every_route_that_is_not_open_is_refused(app: Flask, client: FlaskClient) -> None:
    closed = [(method, path) for method, path in routes(app) if needed(method, path) != "nothing"]

    answers = {f"{method} {path}": client.open(path, method=method).status_code for method, path in closed}

    assert len(closed) > 30
    assert {asked: status for asked, status in answers.items() if status != 401} == {}


@pytest.mark.parametrize(
    "path",
    ["/v1/forecasts/", "//v1/forecasts", "/v1//forecasts", "/v1/./forecasts", "/docs/../v1/forecasts",
     "/v1/forecasts%00", "/v2/health/../../v1/forecasts", "/%76%31/forecasts", "/v1/forecasts;x", "/V1/forecasts"],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_around(path: str, client: FlaskClient) -> None:
    answer = client.post(path, json=BODY)

    assert answer.status_code in (401, 404, 405, 308), answer.text
    assert b"quantiles" not in answer.data


def test_a_key_opens_its_routes(client: FlaskClient) -> None:
    assert forecast(client, **bearer(FORECAST)).status_code == 200


def test_the_other_scopes_are_refused_by_name(client: FlaskClient) -> None:
    told = problem(forecast(client, **bearer(JOBS)), 403)

    assert told.type == "/problems/forbidden"
    assert told.detail == "this needs an API key with the scope `forecast`; yours has jobs"
    assert problem(client.get("/v1/jobs", headers=bearer(FORECAST)), 403).type == "/problems/forbidden"
    assert client.get("/v1/jobs", headers=bearer(JOBS)).status_code == 503  # let in; there is no queue
    assert client.post(LOAD, headers=bearer(ADMIN)).status_code == 200


def test_without_a_key_the_answer_says_which_header_is_missing(client: FlaskClient) -> None:
    answer = forecast(client)

    assert problem(answer, 401).type == "/problems/unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in problem(answer, 401).detail


def test_a_key_in_the_url_is_none(client: FlaskClient) -> None:
    for name in ("key", "api_key", "access_token"):
        problem(client.post(f"/v1/forecasts?{name}={FORECAST}", json=BODY), 401)


def test_under_v2_a_refusal_is_as_the_protocol_has_it(client: FlaskClient) -> None:
    answers = [client.post(LOAD), client.post(LOAD, headers=bearer(FORECAST))]

    assert [answer.status_code for answer in answers] == [401, 403]
    for answer in answers:
        assert "API key" in msgspec.json.decode(answer.data, type=InferenceError).error


def test_a_path_that_is_not_there_tells_a_stranger_nothing(client: FlaskClient) -> None:
    assert client.get("/nothing").data == client.get("/v1/models").data
    problem(client.get("/nothing", headers=bearer(JOBS)), 404)


def test_who_asks_too_often_waits(client: FlaskClient) -> None:
    assert forecast(client, **bearer(SLOW)).status_code == 200

    answer = forecast(client, **bearer(SLOW))

    assert problem(answer, 429).type == "/problems/rate-limited"
    assert answer.headers["Retry-After"] == "10"
    assert client.get("/healthz", headers=bearer(SLOW)).status_code == 200


def test_a_request_that_passes_both_doors_counts_once(client: FlaskClient) -> None:
    answer = client.post("/v1/forecasts", data=b"{", content_type="application/json", headers=bearer(SLOW))

    assert problem(answer, 400).type == "/problems/invalid-json"


def test_without_keys_a_caller_from_elsewhere_is_refused_by_either_door(models: Repository, tmp_path: Path) -> None:
    app = create_app(ServiceSettings(jobs_url=str(tmp_path), state=tmp_path), models=models)

    answers = {
        address: app.test_client().post("/v1/forecasts", json=BODY, environ_base={"REMOTE_ADDR": address}).status_code
        for address in ("127.0.0.1", "10.0.0.9")
    }

    assert answers == {"127.0.0.1": 200, "10.0.0.9": 401}


def test_doors_share_one_admission(app: Flask) -> None:
    assert isinstance(app.extensions["admission"], Admission)


# Pages of other origins


def cors(answer: TestResponse) -> dict[str, str]:
    return {
        name: value for name, value in answer.headers.items() if name.startswith("Access-Control-") or name == "Vary"
    }


@pytest.mark.parametrize("headers", [{}, bearer(FORECAST)], ids=["refused", "let in"])
def test_an_origin_that_is_named_may_read_every_answer(headers: dict[str, str], client: FlaskClient) -> None:
    answer = forecast(client, Origin=ORIGIN, **headers)

    assert answer.status_code == (200 if headers else 401)
    assert cors(answer)["Access-Control-Allow-Origin"] == ORIGIN
    assert cors(answer)["Vary"] == "Origin"


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}], ids=str)
def test_no_other_answer_has_a_cors_header(headers: dict[str, str], client: FlaskClient) -> None:
    assert cors(forecast(client, **headers, **bearer(FORECAST))) == {}
    assert cors(client.get("/healthz", headers=headers)) == {}


def test_a_preflight_needs_no_key(client: FlaskClient) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    answer = client.options("/v1/forecasts", headers=asked)

    assert (answer.status_code, answer.data) == (204, b"")
    assert cors(answer)["Access-Control-Allow-Origin"] == ORIGIN
    assert "Authorization" in cors(answer)["Access-Control-Allow-Headers"]
    problem(client.options("/v1/forecasts", headers={**asked, "Origin": "https://evil.example"}), 401)


# The document


def test_the_document_says_which_scope_each_operation_needs(client: FlaskClient) -> None:
    document: Any = client.get("/openapi.json").json

    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for each in OPERATIONS:
        entry = document["paths"][each.path][each.method]
        scope = needed(each.method.upper(), each.path)
        assert entry["security"] == ([] if scope == "nothing" else [{"key": [scope]}])
        assert ({"401", "403", "429"} <= set(entry["responses"])) == (scope != "nothing")
