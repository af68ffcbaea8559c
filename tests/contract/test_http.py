"""What the service answers is what its own document says it answers."""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from werkzeug.test import TestResponse

from models import errors as model_errors
from models.errors import NextdayError
from models.repository import Repository
from service import errors
from service.app import create_app
from service.errors import PROBLEMS
from service.openapi import OPERATIONS, Operation, document
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
from service.settings import ServiceSettings
from tests.operator_key import AUTHORIZED, key_file
from worker import errors as worker_errors
from worker import requests
from worker.reading import formats
from worker.reading.limits import Limits
from worker.reading.sources import Source

SERIES = {"id": "AAPL", "closes": [101.5, 102.25]}


@pytest.fixture(scope="module")
def client(models: Repository, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder = tmp_path_factory.mktemp("service")
    keys = Path(key_file(folder)["NEXTDAY_API_KEYS_FILE"])
    settings = ServiceSettings(
        redis_url=valkey_url, jobs_url=str(folder / "jobs"), state=folder / "state", api_keys_file=keys
    )
    operator = create_app(settings, models=Repository(models.root)).test_client()
    operator.environ_base["HTTP_AUTHORIZATION"] = AUTHORIZED["Authorization"]
    return operator


@pytest.fixture
def without_queue(models: Repository, tmp_path: Path) -> FlaskClient:
    settings = ServiceSettings(redis_url="redis://127.0.0.1:1/0", jobs_url=str(tmp_path))
    return create_app(settings, models=models).test_client()


def read(answer: TestResponse, kind: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    assert status in documented_statuses(answer)
    return msgspec.json.decode(answer.data, type=kind)


def documented_statuses(answer: TestResponse) -> set[int]:
    """What the document says that the answer's route may answer; 404 and 405 where there is no such route."""
    for each in OPERATIONS:
        path = re.sub(r"{\w+}", "[^/]+", each.path)
        if each.method == answer.request.method.lower() and re.fullmatch(path, answer.request.path):
            return {*each.good, *each.statuses}
    return {404, 405, 500}


def submit(client: FlaskClient, **headers: str) -> JobAnswer:
    answer = client.post("/v1/jobs", json={"series": [SERIES]}, headers=headers)
    job: JobAnswer = read(answer, JobAnswer, 202)
    assert answer.headers["Location"] == job.links.self_ == f"/v1/jobs/{job.id}"
    return job


def test_the_document_is_openapi(client: FlaskClient) -> None:
    validate(client.get("/openapi.json").json)


def test_every_route_is_documented_and_every_documented_route_is_there(client: FlaskClient) -> None:
    documented = {(method, path) for path, methods in document()["paths"].items() for method in methods}

    routes = set(_routes(client))

    assert routes == documented


def _routes(client: FlaskClient) -> Iterator[tuple[str, str]]:
    for rule in client.application.url_map.iter_rules():
        if rule.rule != "/" and not rule.rule.startswith(("/docs/", "/pages/")):  # pages are for people
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method.lower(), re.sub(r"<(\w+)>", r"{\1}", rule.rule)


def test_every_error_of_ours_that_reaches_the_edge_has_its_status() -> None:
    internal = {errors.HttpError, worker_errors.JobError, worker_errors.ResultsDamaged}
    internal |= {
        model_errors.DataError,
        model_errors.SettingError,
        worker_errors.ScheduleError,
    }  # at home in the command line
    internal |= {model_errors.BundleError, model_errors.ProviderUnavailable}  # answered as ModelError
    kinds = {
        kind
        for module in (model_errors, errors, worker_errors, requests)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, NextdayError) and kind is not NextdayError
    }

    assert kinds - internal <= set(PROBLEMS)


def test_a_horizon_answers_each_day_and_leaves_the_next_one_as_it_was(client: FlaskClient, models: Repository) -> None:
    request = {
        "series": [SERIES, {"id": "KO", "closes": [60 + day % 7 / 10 for day in range(90)]}],
        "levels": [0.05, 0.95],
    }
    plain = read(client.post("/v1/forecasts", json=request), ForecastAnswer)

    answer = read(client.post("/v1/forecasts", json={**request, "horizon": 5}), ForecastAnswer)

    for each, one in zip(answer.forecasts, plain.forecasts, strict=True):
        assert one.days is msgspec.UNSET
        assert (each.quantiles, each.median) == (one.quantiles, one.median)
        assert [day.day for day in each.days] == [1, 2, 3, 4, 5]
        assert (each.days[0].quantiles, each.days[0].median) == (one.quantiles, one.median)
        widths = [day.quantiles["0.95"] - day.quantiles["0.05"] for day in each.days]
        assert widths == sorted(widths)
    assert answer.model == plain.model


@pytest.mark.parametrize("model", ["rnn", "mlp"])
def test_every_model_answers_a_horizon_and_a_series_of_it_alone_the_same(model: str, client: FlaskClient) -> None:
    series = [{"id": str(row), "closes": [50 + (row + day) % 5 for day in range(80 + row)]} for row in range(3)]
    request = {"model": model, "horizon": 3, "series": series}

    together = read(client.post("/v1/forecasts", json=request), ForecastAnswer)

    for each, wanted in zip(series, together.forecasts, strict=True):
        (alone,) = read(client.post("/v1/forecasts", json={**request, "series": [each]}), ForecastAnswer).forecasts
        for day, other in zip(alone.days, wanted.days, strict=True):
            assert day.quantiles == pytest.approx(other.quantiles, rel=1e-5)


@pytest.mark.parametrize(
    ("more", "pointer", "words"),
    [
        ({"horizon": 2}, "/horizon", "a job forecasts the next day"),
        ({"explain": True}, "/explain", "a job tells forecasts alone"),
    ],
)
def test_a_job_of_more_than_the_next_day_is_refused(
    more: dict[str, Any], pointer: str, words: str, client: FlaskClient
) -> None:
    answer = client.post("/v1/jobs", json={"series": [SERIES], **more})

    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == pointer
    assert words in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/models", ModelList),
        ("/v1/models/lstm", ModelDetails),
        ("/v1/jobs", JobList),
        ("/healthz", Health),
        ("/readyz", Readiness),
        ("/problems", ProblemList),
    ],
)
def test_what_can_be_looked_at_has_the_documented_shape(client: FlaskClient, path: str, kind: Any) -> None:
    read(client.get(path), kind)


def test_a_forecast_has_the_documented_shape(client: FlaskClient) -> None:
    answer = read(client.post("/v1/forecasts", json={"series": [SERIES]}), ForecastAnswer)

    assert answer.forecasts[0].id == "AAPL"
    assert len(answer.forecasts[0].quantiles) == 9


EXAMPLES = [
    (each, media_type, content["example"])
    for each in OPERATIONS
    for media_type, content in document()["paths"][each.path][each.method]
    .get("requestBody", {"content": {}})["content"]
    .items()
    if "example" in content
]


@pytest.mark.parametrize(
    ("operation", "media_type", "example"), EXAMPLES, ids=[f"{each.name} {kind}" for each, kind, _ in EXAMPLES]
)
def test_the_examples_of_the_document_work_as_they_stand(
    client: FlaskClient, operation: Operation, media_type: str, example: Any
) -> None:
    path = operation.path.format(name="lstm", version="1")
    body = example if isinstance(example, str) else json.dumps(example)

    answer = client.open(path, method=operation.method, data=body, content_type=media_type)
    client.post("/v2/repository/models/lstm/load")  # one of them unloads it

    assert answer.status_code == operation.status, answer.text


def test_a_job_of_an_example_has_no_faulty_series(models: Repository) -> None:
    for media_type in formats.TEXT_TYPES:
        (example,) = [example for each, kind, example in EXAMPLES if (each.name, kind) == ("submitJob", media_type)]
        body = example if isinstance(example, str) else json.dumps(example)
        batches, _ = formats.read(Source(BytesIO(body.encode()), "", Limits()), media_type)

        assert not [fault for batch in batches for fault in batch["fault"].to_pylist() if fault]


@pytest.mark.parametrize("path", [*document()["paths"]])
def test_another_method_is_refused_with_those_that_a_path_takes(client: FlaskClient, path: str) -> None:
    taken = {method.upper() for method in document()["paths"][path]}

    answer = client.patch(path.format(name="lstm", version="1", job_id="0" * 32))

    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"} == taken


def test_every_type_of_problem_that_is_answered_is_listed(client: FlaskClient) -> None:
    listed = read(client.get("/problems"), ProblemList).problems

    for answer in (client.get("/nothing"), client.put("/v1/forecasts"), client.post("/v1/forecasts")):
        problem = msgspec.json.decode(answer.data, type=ProblemAnswer)
        assert listed[problem.type.removeprefix("/problems/")].status == answer.status_code


def test_only_the_levels_asked_for_are_answered_in_their_order(client: FlaskClient) -> None:
    body = {"series": [SERIES], "levels": [0.95, 0.5, 0.05, 0.5]}

    answer = read(client.post("/v1/forecasts", json=body), ForecastAnswer)

    assert list(answer.forecasts[0].quantiles) == ["0.05", "0.5", "0.95"]


def test_all_faulty_series_are_named_together_with_their_places(client: FlaskClient) -> None:
    series = [
        SERIES,
        {"id": "b", "closes": [1, "x"]},
        {"id": "c", "closes": [1]},
        {"id": "d", "closes": [1, -2]},
        SERIES,
    ]

    problem = read(client.post("/v1/forecasts", json={"series": series}), ProblemAnswer, 422)

    assert problem.type == "/problems/invalid-series"
    assert [place.pointer for place in problem.errors] == ["/series/1/closes/1", "/series/2", "/series/3/closes/1"]
    assert problem.errors[2].detail == "series 3, close 1 is -2.0; a close is a positive, finite number"


def test_a_job_is_accepted_looked_at_and_cancelled(client: FlaskClient) -> None:
    job = submit(client)

    assert read(client.get(job.links.self_), JobAnswer).counts.total == 1
    assert read(client.get(job.links.results), ProblemAnswer, 409).type == "/problems/job-not-finished"
    assert read(client.post(f"{job.links.self_}/cancel"), JobAnswer).status == "cancelled"


def test_the_same_idempotency_key_and_body_give_the_same_job(client: FlaskClient) -> None:
    assert submit(client, **{"Idempotency-Key": "k1"}).id == submit(client, **{"Idempotency-Key": "k1"}).id

    other = client.post("/v1/jobs", json={"series": [SERIES, SERIES]}, headers={"Idempotency-Key": "k1"})

    assert read(other, ProblemAnswer, 422).type == "/problems/idempotency-conflict"


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", None, "application/x-ndjson"),
        ("", "*/*", "application/x-ndjson"),
        ("", "text/csv, */*;q=0.1", "text/csv"),
        ("?format=csv", "application/x-ndjson", "text/csv"),
    ],
)
def test_a_download_has_the_format_asked_for(
    client: FlaskClient, query: str, accept: str | None, media_type: str
) -> None:
    job = submit(client)
    client.post(f"{job.links.self_}/cancel")

    with client.get(job.links.results + query, headers={"Accept": accept} if accept else {}) as answer:
        assert (answer.status_code, answer.mimetype) == (200, media_type)
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="{job.id}-results.')
        assert answer.content_length == len(answer.data)


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/v1/models/gpt", 404, "model-not-found"),
        ("GET", "/v1/jobs/0", 404, "job-not-found"),
        ("GET", "/v1/jobs/..%2f..%2fetc", 404, "not-found"),
        ("POST", "/v1/jobs/0/cancel", 404, "job-not-found"),
        ("DELETE", "/v1/jobs/0", 404, "job-not-found"),
        ("GET", "/v1/jobs/0/results", 404, "job-not-found"),
        ("GET", "/v1/jobs/0/results?format=xlsx", 422, "invalid-parameter"),
        ("GET", "/v1/jobs/0/results?format=", 422, "invalid-parameter"),
        ("GET", "/v1/jobs/0/errors?form=csv", 422, "invalid-parameter"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid-parameter"),
        ("GET", "/v1/jobs?limit=1001", 422, "invalid-parameter"),
        ("GET", "/v1/jobs?limit=ten", 422, "invalid-parameter"),
        ("GET", "/v1/jobs?limit=1&limit=2", 422, "invalid-parameter"),
        ("POST", "/v1/jobs?model=gpt", 422, "invalid-parameter"),
        ("POST", "/v1/jobs?version=99", 422, "invalid-parameter"),
        ("POST", "/v1/jobs?version=1.5", 422, "invalid-parameter"),
        ("POST", "/v1/jobs?levels=0.5,x", 422, "invalid-parameter"),
        ("POST", "/v1/jobs?levels=0.51", 422, "invalid-parameter"),
        ("POST", "/v1/jobs?modle=lstm", 422, "invalid-parameter"),
        ("PUT", "/v1/forecasts", 405, "method-not-allowed"),
    ],
)
def test_what_is_not_there_or_not_so_is_a_problem(
    client: FlaskClient, method: str, path: str, status: int, slug: str
) -> None:
    answer = client.open(
        path, method=method, data=b"id,closes\n" if method == "POST" else None, content_type="text/csv"
    )

    assert read(answer, ProblemAnswer, status).type == f"/problems/{slug}"
    assert answer.mimetype == "application/problem+json"


def test_a_method_that_is_not_taken_is_told_which_are(client: FlaskClient) -> None:
    assert client.put("/v1/forecasts").headers["Allow"] == "OPTIONS, POST"


def test_a_download_of_another_type_is_refused(client: FlaskClient) -> None:
    answer = client.get("/v1/jobs/0/results", headers={"Accept": "application/pdf"})

    assert read(answer, ProblemAnswer, 406).type == "/problems/not-acceptable"


def test_options_of_a_json_job_belong_into_its_body(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs?model=rnn", json={"series": [SERIES]})

    assert "belongs in the JSON body" in read(answer, ProblemAnswer, 422).detail


def test_forecasts_do_not_need_the_queue(without_queue: FlaskClient) -> None:
    read(without_queue.post("/v1/forecasts", json={"series": [SERIES]}), ForecastAnswer)

    state = read(without_queue.get("/readyz"), Readiness)
    job = without_queue.post("/v1/jobs", json={"series": [SERIES]})

    assert (state.ready, state.queue.ok) == (True, False)
    assert read(job, ProblemAnswer, 503).type == "/problems/queue-unavailable"
    assert int(job.headers["Retry-After"]) > 0


def test_a_service_without_models_is_not_ready_and_says_what_is_missing(valkey_url: str, tmp_path: Path) -> None:
    client = create_app(ServiceSettings(store=tmp_path, redis_url=valkey_url, jobs_url=str(tmp_path))).test_client()

    state = read(client.get("/readyz"), Readiness, 503)

    assert (state.ready, list(state.missing)) == (False, ["lstm"])
    assert read(client.get("/healthz"), Health).status == "ok"


def test_a_damaged_model_is_not_ready_and_tells_callers_nothing_of_the_machine(
    models: Repository, valkey_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "lstm" / "1"
    folder.mkdir(parents=True)
    (folder / "card.json").write_bytes(msgspec.json.encode(models.card("lstm")))
    (folder / "model.onnx").write_bytes(b"damaged")
    client = create_app(ServiceSettings(store=tmp_path, redis_url=valkey_url, jobs_url=str(tmp_path))).test_client()

    answer = client.post("/v1/forecasts", json={"series": [SERIES]})

    assert read(answer, ProblemAnswer, 503).type == "/problems/model-not-ready"
    assert str(tmp_path) not in answer.text
    assert read(client.get("/v1/models"), ModelList).models[0].ready is False
    assert "sha256" in read(client.get("/readyz"), Readiness, 503).missing["lstm"]


def test_a_bug_is_answered_without_a_trace_and_logged_with_the_request_id(
    models: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(ServiceSettings(), models=models)
    app.add_url_rule("/bug", "bug", lambda: 1 / 0)

    answer = app.test_client().get("/bug")

    problem = read(answer, ProblemAnswer, 500)
    assert problem.type == "/problems/internal-error"
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("given", ["order-17", "A.b_c-9"])
def test_a_plain_request_id_comes_back(client: FlaskClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "é", '"}{'])
def test_any_other_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"])


def test_answers_carry_the_headers_that_protect(client: FlaskClient) -> None:
    headers = client.get("/nothing").headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_docs_are_served_from_here_alone(client: FlaskClient) -> None:
    page = client.get("/docs/")

    assert page.status_code == 200
    assert "https://" not in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        with client.get(path) as file:
            assert file.status_code == 200
