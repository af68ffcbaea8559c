"""
Two hundred callers who take their time: an honest one is answered within a second throughout, and none is waited for
for ever.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.conftest import BODY_S
from tests.faults.processes import eventually, memory_mib, open_files
from tests.faults.wire import connect, forecast, hear, probe_s, request
from tests.integration.server_process import Server

CALLERS = 200
LATEST_S = 1.0
PROBES = 10
PATIENCE_S = BODY_S + 2.0
"""Seconds within which a body that does not come is given up: a look now and then, and a machine that is busy."""
SILENT = 50

CSV = b"id,closes\n"
UNFINISHED = {
    "nothing": b"",
    "half a line": b"POST /v1/forecasts HT",
    "half a head": b"POST /v1/forecasts HTTP/1.1\r\nHost: test\r\n",
    "a forecast's body": request("POST", "/v1/forecasts", None, Content_Type="application/json", Content_Length="1000"),
    "a large forecast's body": request(
        "POST", "/v1/forecasts", None, Content_Type="application/json", Content_Length="16000000"
    ),
    "an inference's body": request("POST", "/v2/models/lstm/infer", None, Content_Length="1000"),
    "an upload": request("POST", "/v1/jobs", None, Content_Type="text/csv", Content_Length="1000"),
    "a large upload": request("POST", "/v1/jobs", None, Content_Type="text/csv", Content_Length="4000000"),
    "the body of a GET": request("GET", "/v1/models", None, Content_Length="1000"),
}
BODIES = {name: sent for name, sent in UNFINISHED.items() if b"Content-Length" in sent}


@contextmanager
def callers(url: str, sent: bytes) -> Iterator[list[socket.socket]]:
    """Many who have sent something and say no more."""
    with ExitStack() as opened:
        found = [opened.enter_context(connect(url)) for _ in range(CALLERS)]
        for each in found:
            each.sendall(sent)
        yield found


def slowest_probe_s(url: str, probes: int = PROBES) -> float:
    return max(probe_s(url) for _ in range(probes))


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_those_who_do_not_finish_keep_nobody_waiting(url: str, server: Server, sent: bytes) -> None:
    files = open_files(server)

    with callers(url, sent):
        slowest_s = slowest_probe_s(url)

    assert slowest_s < LATEST_S
    eventually(lambda: open_files(server) <= files)


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES.keys())
def test_bodies_that_do_not_come_are_given_up(url: str, sent: bytes) -> None:
    began = time.monotonic()

    with callers(url, sent + b"x") as waiting:
        found = [hear(waiting[0], wait_s=PATIENCE_S), *map(hear, waiting[1:])]

    assert {(tuple(each.statuses), each.ended) for each in found} == {((408,), True)}
    assert time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize("sent", [BODIES["a forecast's body"], BODIES["a large upload"]], ids=["small", "large"])
def test_bodies_that_come_by_the_byte_keep_nobody_waiting_and_are_given_up(url: str, sent: bytes) -> None:
    with callers(url, sent) as slow:
        began = time.monotonic()
        dripping = threading.Thread(target=drip, args=(slow, began + PATIENCE_S))
        dripping.start()
        slowest_s = slowest_probe_s(url)
        found = [hear(slow[0], wait_s=2 * PATIENCE_S), *map(hear, slow[1:])]
        took_s = time.monotonic() - began
        dripping.join()

    assert slowest_s < LATEST_S
    assert {tuple(each.statuses) for each in found} == {(408,)}
    assert took_s < PATIENCE_S + 1


def drip(connections: list[socket.socket], until: float) -> None:
    """A byte from each, time and again."""
    while time.monotonic() < until:
        for each in connections:
            try:
                each.send(b"x")
            except OSError:  # it was given up
                return
        time.sleep(0.5)


def test_a_body_that_is_slow_but_comes_is_waited_for(url: str) -> None:
    body = b'{"series":[{"id":"A","closes":[101.5,102.25' + b" " * 160_000 + b"]}]}"
    sent = forecast(body, Connection="close")
    part = len(sent) // 8

    with connect(url) as connection:
        for place in range(0, len(sent), part):  # 40 KiB a second, longer than a body may stall
            connection.sendall(sent[place : place + part])
            time.sleep(BODY_S * 1.5 / 8)
        found = hear(connection)

    assert found.statuses == [200]


def test_those_who_read_no_answer_keep_nobody_waiting_and_hold_no_more_than_it(url: str, server: Server) -> None:
    series = b",".join([b'{"id":"a","closes":[1,2]}'] * 2500)
    with connect(url) as connection:
        connection.sendall(forecast(b'{"series":[%b]}' % series, Connection="close"))
        answer_mib = len(hear(connection).raw) / 2**20
    before = memory_mib(server)

    with callers(url, b"") as silent:
        for each in silent:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for each in silent[:SILENT]:
            each.sendall(forecast(b'{"series":[%b]}' % series))
        slowest_s = slowest_probe_s(url)
        held_mib = memory_mib(server) - before

    assert slowest_s < LATEST_S
    assert held_mib < 2 * SILENT * answer_mib
