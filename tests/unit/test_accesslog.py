"""The access log: every line whole, whatever callers write and whoever reads."""

import json
import os
import select
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import accesslog
from service.accesslog import MAX_LOGGED_CHARS, MOST_LINES, PIPE_BUF, AccessLog
from service.logs import as_line

DEADLINE_S = 10.0
HOSTILE = st.text(st.characters(codec=None), max_size=400) | st.sampled_from(
    ["\n", "\r\n", "\x85", "\u2028", "\u2029", "\ud800", "\udcff", '"}\n{"level":"error"', "\\", "\x00"]
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def hang_up(descriptor: int) -> None:
    """Close an end of a pipe, and keep its number: a thread may be given it meanwhile, and the fixture closes it."""
    with Path(os.devnull).open("r+b") as nothing:
        os.dup2(nothing.fileno(), descriptor)


def lines(pipe: tuple[int, int], *, until: bytes = b"", count: int = 1) -> list[dict[str, Any]]:
    """What comes out, until this came, or so many lines."""
    content, deadline = b"", time.monotonic() + DEADLINE_S
    while content.count(b"\n") < count or not content.endswith(b"\n") or until not in content:
        assert select.select([pipe[0]], [], [], deadline - time.monotonic())[0], content[-1000:]
        content += os.read(pipe[0], 65536)
    return [json.loads(line) for line in content.decode().splitlines()]


def test_a_line_holds_the_facts_and_when(pipe: tuple[int, int]) -> None:
    log = AccessLog(pipe[1])

    log.write(method="GET", path="/healthz", status=200, rows=3)
    log.close()

    (line,) = lines(pipe)
    assert abs(datetime.fromisoformat(line.pop("time")).timestamp() - time.time()) < DEADLINE_S
    assert line == {
        "level": "info", "logger": "service.access", "message": "request",
        "method": "GET", "path": "/healthz", "status": 200, "rows": 3,
    }  # fmt: skip


def test_a_line_comes_by_itself_soon(pipe: tuple[int, int]) -> None:
    log = AccessLog(pipe[1])
    for number in range(2):
        log.write(number=number)

        assert json.loads(os.read(pipe[0], 65536))["number"] == number
    log.close()


def test_a_log_that_is_off_says_nothing(pipe: tuple[int, int]) -> None:
    log = AccessLog(pipe[1], on=False)

    log.write(path="/")
    log.close()

    hang_up(pipe[1])
    assert os.read(pipe[0], 100) == b""


@given(HOSTILE, HOSTILE)
def test_text_of_callers_stays_within_its_line(path: str, method: str) -> None:
    line = as_line({"method": method, "path": path, "status": 404})

    text = line.decode("utf-8")
    assert len(text.splitlines()) == 1
    assert text.endswith("\n")
    read = json.loads(text)
    assert read["status"] == 404
    assert read["path"] == path.encode("utf-8", "backslashreplace").decode()


@given(st.text(st.characters(codec=None), min_size=MAX_LOGGED_CHARS, max_size=MAX_LOGGED_CHARS))
def test_the_longest_line_is_one_that_a_pipe_takes_whole(path: str) -> None:
    line = as_line({
        "time": "2026-01-01T00:00:00.000+00:00", "level": "info", "logger": "service.access", "message": "request",
        "method": "DELETE", "path": path, "status": 404, "received_bytes": 2**63, "sent_bytes": 2**63,
        "took_ms": 123456.789, "request_id": "a" * 64, "key": "k" * 64, "model": "m" * 64, "rows": 10_000,
    })  # fmt: skip

    assert len(line) <= PIPE_BUF


@pytest.mark.parametrize("value", [2**64, -(2**70), object(), {1, 2}, b"\xff", float("nan"), None, True])
def test_a_fact_that_json_cannot_say_costs_no_line(value: object) -> None:
    assert json.loads(as_line({"path": "\ud800", "fact": value}))["path"] == "\\ud800"


def test_several_threads_tear_no_line_and_lose_none(pipe: tuple[int, int]) -> None:
    logs = [AccessLog(pipe[1]) for _ in range(2)]  # as two processes write into one pipe

    def write(name: int) -> None:
        for number in range(1000):
            logs[name % 2].write(name=name, number=number, path="/" + "é" * (number % 200))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + DEADLINE_S
    while any(len(log._lines) == 2000 for log in logs):  # until the pipe is full, and both wait for room in it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    written = lines(pipe, count=4000)
    for log in logs:
        log.close()

    for name in range(4):
        assert [each["number"] for each in written if each["name"] == name] == list(range(1000))


def test_a_reader_who_does_not_read_holds_up_nobody_and_what_is_lost_is_told(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "CLOSE_S", 0.2)
    log = AccessLog(pipe[1])
    began = time.monotonic()
    for number in range(MOST_LINES + 2000):
        log.write(number=number, path="/" + "x" * 100)
    log.close()
    took_s = time.monotonic() - began

    *written, told = lines(pipe, until=b"are lost")

    lost = int(told["message"].split()[0])
    assert took_s < DEADLINE_S / 2
    assert told["level"] == "warning"
    assert lost > 0
    assert [each["number"] for each in written] == list(range(MOST_LINES + 2000 - lost))


def test_a_pipe_that_someone_has_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    log = AccessLog(pipe[1])
    for number in range(2000):
        log.write(number=number, path="/" + "x" * 100)

    written = lines(pipe, count=2000)
    log.close()

    assert [line["number"] for line in written] == list(range(2000))


def test_a_reader_who_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    log = AccessLog(pipe[1])
    hang_up(pipe[0])

    log.write(path="/")
    log.close()

    assert not log._lines
