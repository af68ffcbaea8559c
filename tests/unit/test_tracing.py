"""Traces wait for nobody and hold nobody up."""

import importlib.util
import logging
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from models.errors import SettingError
from service import tracing
from service.tracing import MOST_WAITING, Trace, Traces, TracingMissing, check

DEADLINE_S = 10.0
TRACE = Trace("GET", "/healthz", 200, "r", "", "", 2_000, 1_000, (), 0, None)


class Told:
    """A sender that keeps what it is given, or fails as told."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self.traces: list[Trace] = []
        self.closed = False

    def send(self, traces: list[Trace]) -> str | None:
        if self.reason == "raise":
            raise RuntimeError("gone")
        self.traces += traces
        return self.reason

    def close(self) -> None:
        self.closed = True


class Stuck(Told):
    """A sender whose collector never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = threading.Event(), threading.Event()

    def send(self, traces: list[Trace]) -> str | None:
        self.asked.set()
        self.let_go.wait(DEADLINE_S)
        return super().send(traces)


def test_what_waits_at_the_end_is_sent() -> None:
    sender = Told()
    traces = Traces(sender, send_s=DEADLINE_S)
    for number in range(1234):
        traces.add(TRACE._replace(request_id=str(number)))

    traces.close()

    assert [each.request_id for each in sender.traces] == [str(number) for number in range(1234)]
    assert sender.closed


def test_a_collector_that_does_not_answer_costs_requests_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "CLOSE_S", 0.1)
    sender = Stuck()
    traces = Traces(sender, send_s=0.01)
    traces.add(TRACE)
    assert sender.asked.wait(DEADLINE_S)

    began = time.monotonic()
    for number in range(MOST_WAITING + 10):
        traces.add(TRACE._replace(request_id=str(number)))
    traces.close()
    took_s = time.monotonic() - began
    sender.let_go.set()
    traces._thread.join()

    assert took_s < DEADLINE_S / 2
    assert [each.request_id for each in sender.traces[1:]] == [str(number) for number in range(10, MOST_WAITING + 10)]


@pytest.mark.parametrize("reason", ["refused", "raise"])
def test_a_dead_collector_is_one_line_a_minute(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    traces = Traces(Told(reason), send_s=0.001)
    deadline = time.monotonic() + DEADLINE_S
    for _ in range(3):
        traces.add(TRACE)
        while traces._waiting:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    traces.close()

    (line,) = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert line.startswith("traces of 1 requests could not be sent: ")


def test_after_a_minute_the_next_line_counts_all_since(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = Traces(Told("refused"), send_s=DEADLINE_S)

    traces._tell("refused", 2)
    traces._tell("refused", 3)
    monkeypatch.setattr(tracing, "QUIET_S", 0.0)
    traces._tell("refused", 4)
    traces.close()

    assert [each.getMessage().split(":")[0] for each in caplog.records] == [
        "traces of 2 requests could not be sent",
        "traces of 7 requests could not be sent",
    ]


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/otlp/traces", "https://collector.example/otlp/traces"),
    ],
)
def test_an_address_without_a_path_gets_the_one_of_otlp(url: str, endpoint: str) -> None:
    assert check(url) == endpoint


@pytest.mark.parametrize(
    "url", ["localhost:4318", "grpc://127.0.0.1:4317", "http://", "http://a:port", "http://[x", "on"]
)
def test_what_is_no_address_is_refused_with_the_variable(url: str) -> None:
    with pytest.raises(SettingError, match="NEXTDAY_TRACES="):
        check(url)


@pytest.mark.parametrize("missing", [None, ModuleNotFoundError])
def test_a_missing_extra_is_named(missing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_name: str) -> None:
        if missing:
            raise missing

    monkeypatch.setattr(importlib.util, "find_spec", find)

    with pytest.raises(TracingMissing, match=r"pip install -e '\.\[tracing\]'"):
        check("http://127.0.0.1:4318")


def test_without_traces_nothing_that_makes_them_is_imported() -> None:
    # redis imports the metrics of OpenTelemetry by itself, where they are installed.
    code = (
        "import sys; from service.app import create_app; from service.settings import ServiceSettings\n"
        "create_app(ServiceSettings()).test_client().get('/healthz')\n"
        "assert not {'service.spans', 'opentelemetry.sdk.trace', 'opentelemetry.exporter.otlp'} & {*sys.modules}"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
