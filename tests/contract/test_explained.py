"""`"explain": true` in `POST /v1/forecasts`: what is answered, and what is refused."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from flask.testing import FlaskClient

from models.errors import NothingToExplain
from models.repository import Repository
from service.app import create_app
from service.forecasts import prepare
from service.schemas import ForecastAnswer
from service.settings import ServiceSettings
from service.work import Work

SERIES = {"id": "AAPL", "closes": [101.5, 102.25]}


@pytest.fixture(scope="module")
def client(models: Repository) -> FlaskClient:
    return create_app(ServiceSettings(device="cpu"), models=models).test_client()


def forecast(client: FlaskClient, request: dict[str, Any]) -> ForecastAnswer:
    return msgspec.json.decode(client.post("/v1/forecasts", json=request).data, type=ForecastAnswer)


@pytest.mark.parametrize("model", ["lstm", "rnn"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_what_is_explained_is_what_the_network_did_and_leaves_the_forecast_as_it_was(
    model: str, horizon: int, client: FlaskClient, models: Repository
) -> None:
    series = [SERIES, {"id": "KO", "closes": [60 + day % 7 / 10 for day in range(210)]}]
    request = {"series": series, "model": model, "horizon": horizon}
    plain = forecast(client, request)

    answer = forecast(client, {**request, "explain": True})

    for each, one, asked in zip(answer.forecasts, plain.forecasts, series, strict=True):
        explained, each.explain = each.explain, msgspec.UNSET
        assert each == one
        closes = np.array(asked["closes"], np.float64)
        told = models.get(model).gates()(closes)
        assert (explained.days, explained.units) == (len(closes) - 1, 48)
        for name, numbers in told.items():
            assert np.array_equal(np.array(getattr(explained, name), np.float32), numbers)
            np.testing.assert_allclose(getattr(explained.mean, name), numbers.mean(1), atol=1e-6)
    assert answer.model == plain.model


def test_an_explanation_has_only_what_the_network_has(client: FlaskClient) -> None:
    request = {"series": [SERIES], "explain": True}

    lstm, rnn = (client.post("/v1/forecasts", json={**request, "model": model}).json for model in ("lstm", "rnn"))

    gates = ["forget_gate", "input_gate", "candidate", "output_gate", "cell", "hidden"]
    assert list(lstm["forecasts"][0]["explain"]) == ["days", "units", *gates, "mean"]
    assert list(lstm["forecasts"][0]["explain"]["mean"]) == gates
    assert list(rnn["forecasts"][0]["explain"]) == ["days", "units", "hidden", "mean"]


@pytest.mark.parametrize(
    ("more", "closes", "slug", "words"),
    [
        ({"model": "mlp"}, 90, "nothing-to-explain", "is an MLP"),
        ({"version": 1}, 90, "nothing-to-explain", "was exported without explain.onnx"),
        ({}, 2501, "too-much-to-explain", "got 2501 closes to explain, over all series; at most 2500"),
    ],
)
def test_what_cannot_be_explained_is_refused_and_forecast_without(
    more: dict[str, Any], closes: int, slug: str, words: str, client: FlaskClient
) -> None:
    request = {"series": [{"id": "a", "closes": [100 + day % 5 for day in range(closes)]}], **more}

    refused = client.post("/v1/forecasts", json={**request, "explain": True})

    assert (refused.status_code, refused.json["type"]) == (422, f"/problems/{slug}")
    assert refused.json["errors"][0]["pointer"] == "/explain"
    assert words in refused.json["detail"]
    assert client.post("/v1/forecasts", json={**request, "explain": False}).status_code == 200


def test_as_many_closes_as_are_explained_are_explained(client: FlaskClient) -> None:
    series = [{"id": "a", "closes": [100 + day % 5 for day in range(1250)]}] * 2

    answer = client.post("/v1/forecasts", json={"series": series, "explain": True})

    assert [each["explain"]["days"] for each in answer.json["forecasts"]] == [1249, 1249]


def work(models: Repository, **more: Any) -> Work:
    return prepare(json.dumps({"series": [SERIES], **more}).encode(), models, ServiceSettings(device="cpu"))


def test_explaining_is_work_for_a_thread(models: Repository) -> None:
    assert work(models, explain=True).heavy
    assert not work(models).heavy


def test_what_cannot_be_explained_is_refused_before_anything_runs(models: Repository) -> None:
    with pytest.raises(NothingToExplain):
        work(models, model="mlp", explain=True)
