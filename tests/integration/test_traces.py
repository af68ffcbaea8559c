"""Traces of a real server at a real collector."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from models.repository import Repository
from service.app import create_app
from service.observers import Observers
from service.settings import ServiceSettings
from tests.integration.collector import attributes, collecting
from tests.integration.server_process import DEADLINE_S, free_port, serving, stop

INFERENCE = {"id": "secret-id", "inputs": [
    {"name": "closes", "shape": [1, 2], "datatype": "FP32", "data": [101.5, 102.25]},
    {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]},
]}  # fmt: skip
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def wanted(flags: str) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-{flags}", "X-Request-Id": "order-17"}


def servers(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]


def test_a_server_of_two_processes_sends_its_traces(tmp_path: Path) -> None:
    with collecting() as collector, serving(tmp_path, NEXTDAY_TRACES=collector.url) as running:
        for _ in range(20):
            answer = httpx.post(f"{running.url}/v2/models/lstm/infer", json=INFERENCE, headers=wanted("01"))
            assert answer.status_code == 200
        assert stop(running) == 0  # what waits at the end is sent

        spans = collector.wait(100)
        pids = {attributes(each.resource)["process.pid"] for sent in collector.requests for each in sent.resource_spans}

    inferences = [span for span in servers(spans) if span.name == "POST /v2/models/{name}/infer"]
    assert len(inferences) == 20
    assert len({span.span_id for span in spans}) == len(spans)
    assert len(pids) == 2
    assert set(collector.paths) == {"/v1/traces"}


def test_a_span_tells_model_rows_and_stages_under_the_callers_trace(models: Repository) -> None:
    with collecting() as collector:
        settings = ServiceSettings(traces=collector.url)
        observers = Observers.of(settings)
        client = create_app(settings, models=models, observers=observers).test_client()
        client.post("/v2/models/lstm/infer", json=INFERENCE, headers=wanted("01"))
        assert observers.traces
        observers.traces.close()
        spans = collector.wait(5)

    (server,) = servers(spans)
    card = models.card("lstm")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert attributes(server) == {
        "http.request.method": "POST", "http.route": "/v2/models/{name}/infer", "http.response.status_code": 200,
        "nextday.request_id": "order-17", "nextday.rows": 1, "nextday.model.name": "lstm",
        "nextday.model.version": card.version, "nextday.model.digest": card.digest,
        "nextday.model.provider": models.get("lstm").provider,
    }  # fmt: skip
    stages = sorted((span for span in spans if span is not server), key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in stages] == ["decode", "wait", "run", "encode"]
    for span in stages:
        assert (span.trace_id, span.parent_span_id) == (server.trace_id, server.span_id)
        assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= server.end_time_unix_nano
    assert abs(server.end_time_unix_nano / 1e9 - time.time()) < DEADLINE_S
    assert "secret-id" not in str(spans)


def traced(models: Repository, *requests: tuple[str, dict[str, str]]) -> list[Span]:
    """The spans of requests by path and headers, in one process."""
    with collecting() as collector:
        settings = ServiceSettings(traces=collector.url)
        observers = Observers.of(settings)
        app = create_app(settings, models=models, observers=observers)
        app.add_url_rule("/bug", "bug", lambda: 1 / 0)
        for path, headers in requests:
            app.test_client().get(path, headers=headers)
        assert observers.traces
        observers.traces.close()
        return collector.spans


def test_a_caller_who_wants_no_trace_gets_none(models: Repository) -> None:
    assert traced(models, ("/healthz", wanted("00"))) == []


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{TRACE_ID}-0000000000000000-01", "00-\xff-1-01"])
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(models: Repository, given: str) -> None:
    (span,) = traced(models, ("/healthz", {"traceparent": given}))

    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE_ID


def test_a_bug_is_an_error_a_callers_fault_is_none_and_no_path_is_told(models: Repository) -> None:
    bug, fault = traced(models, ("/bug", {}), ("/v1/models/secret", {}))

    assert bug.status.code == bug.status.STATUS_CODE_ERROR
    assert fault.status.code == fault.status.STATUS_CODE_UNSET
    assert fault.name == "GET /v1/models/{name}"
    assert "secret" not in str(fault)


def test_a_dead_collector_delays_no_answer_and_no_end_and_is_one_line_a_process(tmp_path: Path) -> None:
    with serving(tmp_path, NEXTDAY_TRACES=f"http://127.0.0.1:{free_port()}") as running:
        with httpx.Client(base_url=running.url, timeout=DEADLINE_S) as client:
            for _ in range(50):
                assert client.get("/healthz").status_code == 200
        deadline = time.monotonic() + DEADLINE_S
        while "traces of" not in running.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stop(running) == 0

        lines = [json.loads(line) for line in running.log.read_text().splitlines()]

    told = [line for line in lines if "traces of" in line["message"]]
    assert 1 <= len(told) <= 2
    assert not [line for line in lines if line["logger"].startswith(("opentelemetry", "urllib3"))]


@pytest.mark.parametrize(
    ("value", "said"), [("ftp://x", "NEXTDAY_TRACES='ftp://x'"), ("http://127.0.0.1:1", "[tracing]")]
)
def test_a_start_that_cannot_trace_says_why(value: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("")  # hides the package, as if it were not installed
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import nextday; nextday.main(['serve'])"

    end = subprocess.run(
        [sys.executable, "-c", code], env={"NEXTDAY_TRACES": value, "PYTHONPATH": ".", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip

    assert end.returncode == 2
    assert said in end.stderr
    assert "Traceback" not in end.stderr
