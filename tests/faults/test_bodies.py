"""Bodies that are too large, have no length, come in a million pieces, or stop midway."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import JOB_BYTES
from tests.faults.processes import disk_bytes, eventually, memory_mib, open_files
from tests.faults.wire import SERIES, Talk, connect, forecast, hear, infer, request, talk, vanish
from tests.integration.server_process import Server

FORECAST_BYTES = 16 * 1024 * 1024
PIECES = b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n"
OTHER = b'{"series":[{"id":"KO","closes":[62.855,63.24,62.609]}]}'
LEFT_MIB = 10.0
SOON_S = 5.0
WARM_UP = 20
"""Requests until each process has met its kind more than once, and keeps the memory that it will use again."""

FORECASTS = ("/v1/forecasts", "application/json", FORECAST_BYTES)
INFER = ("/v2/models/lstm/infer", "application/json", FORECAST_BYTES)
JOBS = ("/v1/jobs", "text/csv", JOB_BYTES)


def head(path: str, media_type: str, **headers: str) -> bytes:
    return request("POST", path, None, Content_Type=media_type, **headers)


def jobs(url: str) -> Any:
    return talk(url, request("GET", "/v1/jobs", Connection="close")).last.json()


def traces(server: Server) -> tuple[list[Path], int]:
    """What lies in the folder of the jobs, and how many bytes the server holds there without a name."""
    folder = server.log.parent / "jobs"
    return sorted(folder.rglob("*")), disk_bytes(server, folder)


@pytest.mark.parametrize(("path", "media_type", "most"), [FORECASTS, INFER, JOBS])
def test_a_body_that_announces_too_much_is_refused_before_a_byte_of_it(
    url: str, path: str, media_type: str, most: int
) -> None:
    with connect(url) as connection:
        connection.sendall(head(path, media_type, Content_Length=str(most + 1)))
        found = hear(connection)

    assert (found.statuses, found.ended) == ([413], True)


@pytest.mark.parametrize(("path", "media_type", "_"), [FORECASTS, INFER, JOBS])
def test_a_body_without_a_length_is_refused_before_a_byte_of_it(url: str, path: str, media_type: str, _: int) -> None:
    with connect(url) as connection:
        connection.sendall(head(path, media_type, Transfer_Encoding="chunked"))
        found = hear(connection)

    assert (found.statuses, found.ended) == ([411], True)


@pytest.mark.parametrize(("path", "media_type", "_"), [FORECASTS, INFER, JOBS])
def test_a_million_pieces_leave_nothing_in_memory(url: str, server: Server, path: str, media_type: str, _: int) -> None:
    sent = head(path, media_type, Transfer_Encoding="chunked") + PIECES
    for _again in range(WARM_UP):
        talk(url, sent)
    before = memory_mib(server)

    found = [talk(url, sent) for _again in range(20)]

    assert {tuple(each.statuses) for each in found} == {(411,)}
    eventually(lambda: memory_mib(server) - before < LEFT_MIB, SOON_S)


def test_bodies_that_are_too_large_leave_nothing_in_memory_or_on_disk(url: str, server: Server) -> None:
    sent = head(*JOBS[:2], Content_Length=str(JOB_BYTES + 1)) + b"x" * (JOB_BYTES + 1)
    for _again in range(WARM_UP):
        talk(url, sent)
    before, lying = memory_mib(server), traces(server)

    for _again in range(20):
        talk(url, sent)

    eventually(lambda: memory_mib(server) - before < LEFT_MIB, SOON_S)
    assert traces(server) == lying


def test_a_packed_body_of_64_mib_is_unpacked_to_what_is_taken_and_no_further(url: str, server: Server) -> None:
    bomb = gzip.compress(b" " * (1 << 26))
    sent = infer(bomb, Content_Encoding="gzip", Connection="close")
    for _again in range(WARM_UP):
        talk(url, sent)
    before = memory_mib(server)

    found = [talk(url, sent) for _again in range(20)]

    assert {tuple(each.statuses) for each in found} == {(413,)}
    eventually(lambda: memory_mib(server) - before < LEFT_MIB, SOON_S)


@pytest.mark.parametrize(("path", "media_type", "_"), [FORECASTS, JOBS])
def test_nginx_takes_a_body_without_a_length_and_passes_it_on_with_one(
    url: str, nginx_url: str, path: str, media_type: str, _: int
) -> None:
    body = SERIES if path == "/v1/forecasts" else b"id,closes\na,1 2 3\n"
    sent = head(path, media_type, Transfer_Encoding="chunked", Connection="close")

    found = talk(nginx_url, sent + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    assert found.statuses in ([200], [202])


@pytest.mark.parametrize("sent", [{"Content_Length": str(FORECAST_BYTES + 1)}, {"Transfer_Encoding": "chunked"}])
def test_nginx_refuses_what_is_too_large_and_the_service_sees_none_of_it(
    url: str, nginx_url: str, server: Server, sent: dict[str, str]
) -> None:
    piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"

    found = talk(nginx_url, head(*FORECASTS[:2], X_Request_Id="too-large", **sent) + piece * 17)

    assert (found.statuses, found.ended) == ([413], True)
    assert found.last.json()["type"] == "/problems/body-too-large"
    assert found.last.headers["x-request-id"] == "too-large"
    assert b'"too-large"' not in server.log.read_bytes()


def gone(url: str, sent: bytes, how: str) -> Talk | None:
    """A caller that stops midway: it says that it sends no more, or is gone with or without a word."""
    if how == "half-closed":
        return talk(url, sent, end=True)
    connection = connect(url)
    connection.sendall(sent)
    vanish(connection) if how == "reset" else connection.close()
    return None


@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
@pytest.mark.parametrize("announced", [1000, 200_000], ids=["in memory", "on disk"])
@pytest.mark.parametrize(("path", "media_type", "_"), [FORECASTS, INFER, JOBS])
def test_a_body_that_stops_midway_is_never_worked_on(
    url: str, server: Server, path: str, media_type: str, _: int, announced: int, how: str
) -> None:
    body = b"id,closes\na,1 2 3\n" if path == "/v1/jobs" else SERIES
    before, lying, asked_as = jobs(url), traces(server), f"midway{path.replace('/', '-')}-{announced}-{how}"

    found = gone(url, head(path, media_type, Content_Length=str(announced), X_Request_Id=asked_as) + body, how)

    eventually(lambda: logged(server, asked_as) == [400])
    assert found is None or found.statuses == [400]
    assert jobs(url) == before
    eventually(lambda: traces(server) == lying)


@pytest.mark.parametrize(("path", "media_type", "_"), [FORECASTS, INFER, JOBS])
def test_a_body_in_pieces_that_stops_midway_is_never_worked_on(
    url: str, server: Server, path: str, media_type: str, _: int
) -> None:
    before, asked_as = jobs(url), f"pieces{path.replace('/', '-')}"

    gone(url, head(path, media_type, Transfer_Encoding="chunked", X_Request_Id=asked_as) + PIECES[:600], "reset")

    eventually(lambda: logged(server, asked_as) == [411])
    assert jobs(url) == before


def logged(server: Server, request_id: str) -> list[int]:
    """The statuses of a request's lines in the log."""
    lines = [json.loads(line) for line in server.log.read_bytes().splitlines() if request_id.encode() in line]
    return [line["status"] for line in lines if line.get("request_id") == request_id]


@pytest.mark.parametrize(("path", "media_type", "_"), [FORECASTS, JOBS])
def test_nginx_keeps_a_body_that_stops_midway_from_the_service(
    url: str, nginx_url: str, server: Server, path: str, media_type: str, _: int
) -> None:
    asked_as = f"nginx{path.replace('/', '-')}"

    gone(nginx_url, head(path, media_type, Content_Length="1000", X_Request_Id=asked_as) + SERIES, "closed")
    talk(nginx_url, forecast(Connection="close", X_Request_Id=f"after-{asked_as}"))

    eventually(lambda: logged(server, f"after-{asked_as}") == [200])
    assert logged(server, asked_as) == []


def test_a_thousand_callers_that_vanish_leave_no_file_open(url: str, server: Server) -> None:
    heads = [
        head(path, media_type, Content_Length=str(length))
        for path, media_type, _ in (FORECASTS, INFER, JOBS)
        for length in (1000, 200_000)
    ]
    before, lying = open_files(server), traces(server)

    for turn in range(1000):
        gone(url, heads[turn % len(heads)] + SERIES, ("closed", "reset")[turn % 2])

    eventually(lambda: open_files(server) <= before)
    eventually(lambda: traces(server) == lying)


def test_callers_that_vanish_before_their_answer_take_nothing_from_those_who_share_their_run(url: str) -> None:
    wanted = talk(url, forecast(Connection="close")).last.json()

    for _again in range(20):
        others = [connect(url) for _ in range(10)]
        with connect(url) as staying:
            for each in others[:5]:
                each.sendall(forecast(OTHER))
            staying.sendall(forecast(Connection="close"))
            for each in others[5:]:
                each.sendall(forecast(OTHER))
            for each in others:
                vanish(each)

            assert hear(staying).last.json() == wanted
