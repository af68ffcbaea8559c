"""The load generator: what it charges a server for, and what it makes of connections that break."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from socketserver import BaseRequestHandler, ThreadingTCPServer

import numpy as np
import pytest

from bench.overload import summary
from bench.sending import NO_ANSWER, NOT_SENT, Clients, Request, http

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
ASK = Request("ask", http("POST", "/", b"body"))
STALL_S = 0.4


@contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that answers whole requests with a function."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            while (came := self._request()) is not None:
                if answer(self.request) == "close" or not came:
                    return

        def _request(self) -> bytes | None:
            came = b""
            try:
                while not came.endswith(b"body"):
                    if not (part := self.request.recv(65536)):
                        return None
                    came += part
            except OSError:
                return None
            return came

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


@pytest.fixture
def stalling() -> Iterator[int]:
    """A server that answers at once, but for one stall, in which all wait."""
    began, once, turn = time.monotonic(), threading.Event(), threading.Lock()

    def answer(connection: socket.socket) -> None:
        with turn:
            if time.monotonic() - began > 0.2 and not once.is_set():
                once.set()
                time.sleep(STALL_S)
        connection.sendall(ANSWER)

    with server(answer) as port:
        yield port


def every(gap_s: float, seconds: float) -> list[tuple[float, Request]]:
    return [(due_s, ASK) for due_s in np.arange(0, seconds, gap_s).tolist()]


def test_a_stall_is_charged_to_all_who_would_have_asked_meanwhile(stalling: int) -> None:
    with Clients(stalling, 4) as clients:
        record = clients.on_time(every(0.01, 1.0), seconds=5.0)

    assert {each.status for each in record} == {200}
    assert len(record) == 100
    slow = [each for each in record if each.latency_s > STALL_S / 4]
    assert len(slow) >= 20
    assert sum(each.held for each in slow) >= 16  # four connections took the first four


def test_a_closed_loop_asks_nobody_meanwhile(stalling: int) -> None:
    with Clients(stalling, 1) as clients:
        record = clients.closed_loop(repeat(ASK), seconds=1.0)

    assert sum(each.service_s > STALL_S / 4 for each in record) == 1


def test_what_is_due_is_sent_on_time() -> None:
    with server(lambda connection: connection.sendall(ANSWER)) as port, Clients(port, 8) as clients:
        record = clients.on_time(every(0.005, 0.5), seconds=5.0)

    late = sorted(each.late_s for each in record)
    assert late[0] >= 0
    assert late[len(late) // 2] < 0.005


def test_what_no_connection_is_free_for_is_not_sent_and_counted() -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(0.1)
        connection.sendall(ANSWER)

    with server(slow) as port, Clients(port, 2) as clients:
        record = clients.on_time(every(0.01, 0.5), seconds=0.5)

    statuses = [each.status for each in record]
    assert len(statuses) == 50
    assert statuses.count(NOT_SENT) >= 30
    assert statuses.count(200) >= 6
    assert summary(record, 0.5)["held"] > 0.5


def test_a_connection_that_ends_between_two_requests_costs_none_of_them() -> None:
    def answer_and_end(connection: socket.socket) -> str:
        connection.sendall(ANSWER)
        return "close"

    with server(answer_and_end) as port, Clients(port, 2) as clients:
        record = clients.on_time(every(0.002, 0.2), seconds=5.0)

    assert [each.status for each in record] == [200] * 100


@pytest.mark.parametrize("half", [b"", ANSWER[:-1]], ids=["nothing", "half an answer"])
def test_a_connection_that_breaks_gives_no_answer(half: bytes) -> None:
    def break_off(connection: socket.socket) -> str:
        connection.sendall(half)
        return "close"

    with server(break_off) as port, Clients(port, 2) as clients:
        record = clients.on_time(every(0.01, 0.05), seconds=5.0)

    assert [each.status for each in record] == [NO_ANSWER] * 5


def test_another_body_than_the_wanted_one_is_seen() -> None:
    right, wrong = Request("right", ASK.raw, b"hi"), Request("wrong", ASK.raw, b"ho")
    with server(lambda connection: connection.sendall(ANSWER)) as port, Clients(port, 1) as clients:
        record = clients.on_time([(0.0, right), (0.0, wrong)], seconds=5.0)

    assert {each.name: each.as_wanted for each in record} == {"right": True, "wrong": False}


@pytest.mark.slow
def test_a_large_body_goes_out_in_parts() -> None:
    large = Request("large", http("POST", "/", b"." * 30_000_000 + b"body"))
    with server(lambda connection: connection.sendall(ANSWER)) as port, Clients(port, 1) as clients:
        record = clients.on_time([(0.0, large), (0.0, ASK)], seconds=5)

    assert [each.status for each in record] == [200, 200]


def test_a_request_tells_its_length_unless_told_otherwise() -> None:
    assert b"\r\nContent-Length: 4\r\n" in http("POST", "/", b"body")
    assert b"\r\nContent-Length: 9\r\n" in http("POST", "/", b"body", Content_Length="9")
    assert not re.search(b"Content-Length", http("POST", "/", b"body", Transfer_Encoding="chunked"))
