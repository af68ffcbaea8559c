"""Metrics over real processes and a real server: nothing is lost or doubled, whatever dies."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from models.bundle import versions
from models.settings import ModelSettings
from service.metrics import Metrics
from tests.integration.counting_process import counting
from tests.integration.server_process import DEADLINE_S, Server, serving, stop
from tests.integration.test_server_life import answering

SHIPS = str(versions(ModelSettings().store / "lstm")[-1])
OTHER_BODY = {"inputs": [{"name": "closes", "shape": [1, 2], "datatype": "FP32", "data": [101.5, 102.25]},
                         {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]}]}  # fmt: skip


def values(text: str, sample: str, **labels: str) -> list[float]:
    """Values of a sample, of those with these labels."""
    found = (each for family in parse(text) for each in family.samples if each.name == sample)
    return [each.value for each in found if labels.items() <= each.labels.items()]


def test_processes_that_count_at_once_add_up(tmp_path: Path) -> None:
    with counting(tmp_path, processes=3, requests=5000):
        text = generate_latest(Metrics(tmp_path)).decode()

    assert values(text, "nextday_requests_total") == [7500, 7500]
    assert values(text, "nextday_request_seconds_count") == [15_000]
    assert values(text, "nextday_requests_in_flight") == [3]


def test_a_killed_process_keeps_its_counts_and_loses_its_gauges(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    with counting(tmp_path, processes=3, requests=1000) as processes:
        killed = processes[0]
        assert killed.pid
        os.kill(killed.pid, signal.SIGKILL)
        # Not waited for by its parent: it is a zombie, whose number is still taken.
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)

        texts = [generate_latest(metrics).decode() for _ in range(2)]

    for text in texts:
        assert sum(values(text, "nextday_requests_total")) == 3000
        assert values(text, "nextday_request_seconds_count") == [3000]
        assert values(text, "nextday_requests_in_flight") == [2]
    assert not list(tmp_path.glob(f"*{killed.pid}.alive"))


def test_a_scrape_while_processes_begin_and_end_never_fails(tmp_path: Path) -> None:
    metrics, over, errors = Metrics(tmp_path), threading.Event(), []

    def scrape() -> None:
        while not over.is_set():
            try:
                generate_latest(metrics)
            except Exception as error:
                errors.append(error)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    for _ in range(2):
        with counting(tmp_path, processes=2, requests=10):
            pass
    over.set()
    scraper.join()

    assert errors == []
    assert sum(values(generate_latest(metrics).decode(), "nextday_requests_total")) == 40


def scrapes(url: str, wanted: int) -> list[str]:
    """Metrics, each time over a connection of its own, so that either process is asked in turn."""
    return [httpx.get(f"{url}/metrics", timeout=DEADLINE_S).text for _ in range(wanted)]


def test_a_server_of_two_processes_counts_each_request_once_whoever_is_asked(own_server: Server) -> None:
    url = own_server.url
    before = scrapes(url, 1)[0]

    def ask() -> None:
        for _ in range(10):
            with httpx.Client(base_url=url, timeout=DEADLINE_S) as client:
                assert client.get("/healthz").status_code == 200
                assert client.post("/v2/models/lstm/infer", json=OTHER_BODY).status_code == 200
                assert client.get("/v1/models/gpt").status_code == 404

    callers = [threading.Thread(target=ask) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    for text in scrapes(url, 12):
        assert sum(values(text, "nextday_requests_total", route="/healthz")) == 60
        assert sum(values(text, "nextday_requests_total", route="/v2/models/{name}/infer", status="200")) == 60
        assert sum(values(text, "nextday_rejections_total", reason="model-not-found")) == 60
        assert values(text, "nextday_request_seconds_count", route="/v1/models/{name}") == [60]
        assert values(text, "nextday_rows_total", model="lstm", version=SHIPS) == [60]
        assert values(text, "nextday_requests_in_flight") == [1]  # the one that asks
        assert values(text, "nextday_model_ready", model="lstm") == [1]
        assert len(values(text, "nextday_model_info", model="lstm", version=SHIPS)) == 1
    assert values(before, "nextday_rows_total") == []


def test_counts_outlive_a_process_of_the_server(own_server: Server) -> None:
    url = own_server.url
    for _ in range(40):
        httpx.get(f"{url}/v1/models", timeout=DEADLINE_S)
    dead = answering(own_server)

    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            text = scrapes(url, 1)[0]
            break
        except httpx.TransportError:
            time.sleep(0.05)

    assert sum(values(text, "nextday_requests_total", route="/v1/models")) == 40
    assert values(text, "nextday_requests_in_flight") == [1]
    assert values(text, "nextday_model_ready", model="lstm") == [1]


def test_the_folder_of_the_counts_goes_with_the_server(tmp_path: Path, valkey_url: str) -> None:
    (tmp_path / "tmp").mkdir()
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url, TMPDIR=str(tmp_path / "tmp")) as running:
        assert list((tmp_path / "tmp").glob("nextday-metrics-*/*.db"))

        stop(running)

    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_folder_of_the_counts_goes_with_a_server_that_is_killed(tmp_path: Path, valkey_url: str) -> None:
    (tmp_path / "tmp").mkdir()
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url, TMPDIR=str(tmp_path / "tmp")) as running:
        running.process.kill()
        running.process.wait(DEADLINE_S)

        deadline = time.monotonic() + DEADLINE_S
        while list((tmp_path / "tmp").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
