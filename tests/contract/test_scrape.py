"""``GET /metrics`` as a scraper meets it."""

import socket
import threading
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from models.repository import Repository
from service.app import create_app
from service.scrape import QUEUE_WAIT_S
from service.settings import ServiceSettings

SERIES = {"id": "AAPL", "closes": [101.5, 102.25]}


@pytest.fixture
def client(models: Repository, valkey_url: str, tmp_path: Path) -> FlaskClient:
    return create_app(ServiceSettings(redis_url=valkey_url, jobs_url=str(tmp_path)), models=models).test_client()


@pytest.fixture
def without_queue(models: Repository, tmp_path: Path) -> FlaskClient:
    settings = ServiceSettings(redis_url="redis://127.0.0.1:1/0", jobs_url=str(tmp_path))
    return create_app(settings, models=models).test_client()


def values(client: FlaskClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by the sample's name and its labels' values, in the order of the labels' names."""
    samples = [each for family in parse(client.get("/metrics").text) for each in family.samples]
    return {(each.name, tuple(each.labels[name] for name in sorted(each.labels))): each.value for each in samples}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain", "text/plain"),
        ("application/openmetrics-text; version=1.0.0, text/plain;q=0.5", "application/openmetrics-text"),
        ("application/openmetrics-text;version=nonsense", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0.1, text/plain", "text/plain"),
        ("application/openmetrics-text;q=0", "text/plain"),
        ("application/pdf", "text/plain"),
        ("\xff;;;q=x", "text/plain"),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(client: FlaskClient, accept: str | None, media_type: str) -> None:
    client.get("/healthz")

    answer = client.get("/metrics", headers={"Accept": accept} if accept else {})

    assert (answer.status_code, answer.mimetype) == (200, media_type)
    read = parse if media_type == "text/plain" else parse_openmetrics
    assert "nextday_requests" in [each.name for each in read(answer.text)]


def test_a_route_is_counted_by_its_pattern_and_a_path_that_is_none_as_other(client: FlaskClient) -> None:
    client.get("/v1/jobs/some-secret-id")
    client.get("/nothing/../at%0aall")
    client.put("/v1/forecasts")
    client.get("/docs/swagger-ui.css").close()
    client.open("/healthz", method="BREW")

    found = {labels for name, labels in values(client) if name == "nextday_requests_total"}

    assert found == {
        ("GET", "/v1/jobs/{job_id}", "404"),
        ("GET", "other", "404"),
        ("PUT", "other", "405"),
        ("GET", "/docs/{path}", "200"),
        ("other", "other", "405"),
    }
    assert "secret" not in client.get("/metrics").text


def test_a_refused_request_counts_by_the_slug_of_its_problem(client: FlaskClient) -> None:
    client.post("/v1/forecasts", json={"series": [{"id": "a", "closes": [1, -1]}]})
    client.post("/v2/models/lstm/infer", json={"inputs": []})
    client.get("/v1/jobs?limit=0")

    found = {labels[0]: value for (name, labels), value in values(client).items() if name == "nextday_rejections_total"}

    assert found == {"invalid-series": 1, "invalid-inference": 1, "invalid-parameter": 1}


def test_jobs_and_chunks_of_the_queue_are_told(client: FlaskClient) -> None:
    before = values(client)
    made = [client.post("/v1/jobs", json={"series": [SERIES, SERIES]}).json["id"] for _ in range(3)]
    client.post(f"/v1/jobs/{made[0]}/cancel")

    after = values(client)

    def grown(name: str, *labels: str) -> float:
        return after[name, labels] - before[name, labels]

    assert after["nextday_queue_up", ()] == 1
    assert grown("nextday_jobs", "queued") == 2
    assert grown("nextday_jobs", "ended") == 1
    assert after["nextday_jobs", ("in_progress",)] == 0
    assert grown("nextday_queue_chunks") >= 2
    assert after["nextday_queue_oldest_seconds", ()] >= 0
    assert after["nextday_job_rows_total", ("completed",)] == before["nextday_job_rows_total", ("completed",)]
    assert after["nextday_queue_memory_bytes", ()] > 100_000
    assert ("nextday_queue_memory_limit_bytes", ()) not in after  # nothing limits it here
    assert after["nextday_queue_workers", ()] == 0


def test_a_queue_that_is_away_is_told_and_nothing_else_is_missing(without_queue: FlaskClient) -> None:
    without_queue.get("/healthz")

    found = values(without_queue)

    assert found["nextday_queue_up", ()] == 0
    assert ("nextday_requests_total", ("GET", "/healthz", "200")) in found
    assert not [name for name, _ in found if name in ("nextday_jobs", "nextday_queue_chunks", "nextday_queue_workers")]


def test_a_queue_that_takes_connections_and_says_nothing_holds_nobody_up(models: Repository, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        client = create_app(ServiceSettings(redis_url=url, jobs_url=str(tmp_path)), models=models).test_client()
        began = time.monotonic()

        found = [values(client) for _ in range(2)]

        assert time.monotonic() - began < 2 * QUEUE_WAIT_S + 0.5  # the second look finds the first under way
        assert [each["nextday_queue_up", ()] for each in found] == [0, 0]
        deadline = time.monotonic() + 10
        while threading.active_count() > 1 and any("look" in each.name for each in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_server_timing_tells_the_stages_of_a_request_that_has_some(client: FlaskClient) -> None:
    body = {
        "inputs": [
            {"name": "closes", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]},
            {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]},
        ]
    }

    timing = client.post("/v2/models/lstm/infer", json=body).headers["Server-Timing"]

    assert [each.split(";")[0] for each in timing.split(", ")] == ["decode", "wait", "run", "encode"]
    assert "Server-Timing" not in client.get("/healthz").headers
