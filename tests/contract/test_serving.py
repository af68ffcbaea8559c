"""Which version of a model serves: the routes of an operator, and what callers see of their changes."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from models.repository import Repository
from models.settings import from_env
from service.app import create_app
from service.oip.schemas import IndexEntry
from service.openapi import document
from service.schemas import ForecastAnswer, ModelDetails, ModelList, ProblemAnswer, Readiness, Serving, ServingChanged
from service.settings import ServiceSettings
from tests.contract.test_http import read
from tests.operator_key import AUTHORIZED, key_file
from tests.versions import other_weights, put, store_of

SERIES = {"id": "AAPL", "closes": [101.5, 102.25]}
PATH = "/v1/models/lstm/serving"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store", "lstm", "mlp")


@pytest.fixture
def client(store: Path, tmp_path: Path) -> FlaskClient:
    """A service of two versions, of which the second serves."""
    put(store, other_weights(2))
    env = {"STORE": store, "STATE": tmp_path / "state", "JOBS_URL": tmp_path, "REDIS_URL": "redis://127.0.0.1:1/0"}
    settings = {f"NEXTDAY_{name}": str(value) for name, value in env.items()} | key_file(tmp_path)
    models = Repository(store)
    assert models.load_newest() == {}
    client = create_app(from_env(ServiceSettings, settings), models=models).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = AUTHORIZED["Authorization"]
    return client


def used(client: FlaskClient, **options: Any) -> int:
    answer = read(client.post("/v1/forecasts", json={"series": [SERIES], **options}), ForecastAnswer)
    return int(answer.model.version)


def test_it_tells_what_serves_and_what_else_there_is(client: FlaskClient) -> None:
    state = read(client.get(PATH), Serving)

    assert (state.serving, state.pinned, state.unloaded) == (2, None, False)
    assert [(each.version, each.state) for each in state.states] == [(1, "UNAVAILABLE"), (2, "READY")]
    assert state.states[0].reason == "not loaded yet; it is on first use"


def test_the_previous_version_comes_back_in_one_call_and_the_newest_in_another(client: FlaskClient) -> None:
    before = used(client)
    pinned = read(client.put(PATH, json={"version": 1}), ServingChanged)
    back = used(client)
    newest = read(client.put(PATH, json={"version": None}), ServingChanged)

    assert (before, back, used(client)) == (2, 1, 2)
    assert (pinned.serving, pinned.pinned, newest.serving, newest.pinned) == (1, 1, 2, None)
    assert (pinned.applied.generation, pinned.applied.processes, newest.applied.generation) == (1, 1, 2)


def test_the_page_shows_what_comes_back(client: FlaskClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (shown,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    client.put(PATH, json={"version": 1})

    assert client.get(PATH).json == json.loads(shown)


def test_a_version_that_does_not_serve_is_answered_by_name(client: FlaskClient) -> None:
    read(client.put(PATH, json={"version": 1}), ServingChanged)

    assert (used(client), used(client, version=2)) == (1, 2)


def test_an_unloaded_model_answers_that_it_is_and_readiness_does_not_miss_it(client: FlaskClient) -> None:
    assert client.post("/v2/repository/models/lstm/unload").status_code == 200

    for options in ({}, {"version": 1}):
        problem = read(client.post("/v1/forecasts", json={"series": [SERIES], **options}), ProblemAnswer, 409)
        assert problem.type == "/problems/model-unloaded"
        assert "'lstm' is unloaded" in problem.detail
    inference = client.post("/v2/models/lstm/infer", json={"inputs": []})
    assert (inference.status_code, "unloaded" in inference.json["error"]) == (409, True)
    state = read(client.get("/readyz"), Readiness)
    assert (state.models, state.missing) == (["mlp"], {})
    assert client.get("/v2/health/ready").status_code == 200
    details = read(client.get("/v1/models/lstm"), ModelDetails)
    assert (details.ready, details.provider, details.version) == (False, None, 2)
    assert {each.reason for each in details.states} == {"unloaded"}
    index = msgspec.convert(client.post("/v2/repository/index").json, list[IndexEntry])
    assert [(each.state, each.reason) for each in index if each.name == "lstm"] == [("UNAVAILABLE", "unloaded")] * 2
    assert used(client, model="mlp", series=[{"id": "a", "closes": [1.0] * 60}]) == 1


def test_pinning_a_version_of_an_unloaded_model_loads_it(client: FlaskClient) -> None:
    client.post("/v2/repository/models/lstm/unload")

    state = read(client.put(PATH, json={"version": 1}), ServingChanged)

    assert (state.serving, state.unloaded, used(client)) == (1, False, 1)


def test_a_refused_version_is_told_everywhere_and_the_service_stays_ready(client: FlaskClient, store: Path) -> None:
    bundle = other_weights(3)
    (put(store, bundle) / "model.onnx").write_bytes(bundle.model[:-1])

    pin = read(client.put(PATH, json={"version": 3}), ProblemAnswer, 422)
    load = client.post("/v2/repository/models/lstm/load", json={})

    assert pin.type == "/problems/version-refused"
    assert (load.status_code, "version 2 goes on" in load.json["error"]) == (400, True)
    assert used(client) == 2
    assert read(client.get("/readyz"), Readiness).ready
    reasons = [each.reason for each in read(client.get("/v1/models/lstm"), ModelDetails).states]
    reasons += [each.reason for each in read(client.get("/v1/models"), ModelList).models[0].states]
    reasons += [each["reason"] for each in client.post("/v2/repository/index").json if each["version"] == "3"]
    assert len([reason for reason in reasons if reason.startswith("refused: model.onnx has sha256")]) == 3
    assert not [reason for reason in reasons if str(store) in reason]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "missing required field `version`"),
        (b'{"version": "1"}', "Expected `int | null`"),
        (b'{"version": 1, "name": "lstm"}', "unknown field `name`"),
        (b"[]", "Expected `object`"),
        (b'{"version": 9}', "there is no model 'lstm version 9'"),
        (b'{"version": 0}', "there is no model"),
    ],
)
def test_what_cannot_be_served_is_refused(client: FlaskClient, body: bytes, words: str) -> None:
    problem = read(client.put(PATH, data=body, content_type="application/json"), ProblemAnswer, 422)

    assert words in problem.detail
    assert problem.errors[0].pointer == "/version"
    assert used(client) == 2


def test_what_is_no_json_no_model_or_too_large_is_refused(client: FlaskClient) -> None:
    read(client.put(PATH, data=b"{", content_type="application/json"), ProblemAnswer, 400)
    read(client.put(PATH, data=b"{}", content_type="text/plain"), ProblemAnswer, 415)
    read(client.put(PATH, data=b" " * 2000, content_type="application/json"), ProblemAnswer, 413)
    read(client.put("/v1/models/gpt/serving", json={"version": None}), ProblemAnswer, 404)
    read(client.get("/v1/models/gpt/serving"), ProblemAnswer, 404)
    for call in ("load", "unload"):
        assert client.post(f"/v2/repository/models/gpt/{call}").status_code == 404


def test_a_state_that_cannot_be_written_is_told_and_nothing_changes(client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")

    problem = read(client.put(PATH, json={"version": 1}), ProblemAnswer, 507)

    assert problem.type == "/problems/state-unavailable"
    assert str(tmp_path) not in problem.detail
    assert used(client) == 2


def test_the_document_has_an_example_of_a_switch() -> None:
    operation = document()["paths"]["/v1/models/{name}/serving"]["put"]

    assert operation["requestBody"]["content"]["application/json"]["example"] == {"version": 1}
