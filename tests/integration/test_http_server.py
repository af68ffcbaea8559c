"""The real server, told everything that callers get wrong, and some that they mean."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from models.ragged import Ragged
from models.repository import Repository
from tests.integration.server_process import DEADLINE_S, Server

SERIES = {"id": "AAPL", "closes": [101.5, 102.25]}


@pytest.fixture(scope="module")
def http(service_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service_url, timeout=DEADLINE_S) as client:
        yield client


def body(**fields: Any) -> bytes:
    return json.dumps({"series": [SERIES], **fields}).encode()


def closes(*values: Any) -> bytes:
    return body(series=[SERIES, {"id": "b", "closes": values}])


def post(http: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return http.post("/v1/forecasts", content=content, headers={"Content-Type": "application/json", **headers})


def walk(days: int, seed: int = 7) -> list[float]:
    steps = np.random.default_rng(seed).normal(0, 0.01, days)
    return [round(float(close), 2) for close in 100 * np.exp(np.cumsum(steps))]


def forecasts(http: httpx.Client, series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = post(http, body(series=series))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["forecasts"]
    return found


BAD_BODIES = [
    ("not JSON", b"hello", 400, "line 1, column 1"),
    ("empty", b"", 400, "line 1, column 1"),
    ("cut off inside", b'{"series":[{"id":', 400, "column 18"),
    ("a byte order mark", b"\xef\xbb\xbf" + body(), 400, "byte order mark"),
    ("UTF-16", body().decode().encode("utf-16"), 400, "byte 0 is not UTF-8"),
    ("a control character", b'{"series":[{"id":"a\x01"}]}', 400, "column 20"),
    ("a key twice", b'{"series":[],"series":[]}', 400, '"series"'),
    ("deep nesting", b"[" * 100_000, 400, "nested too deeply"),
    ("deep nesting below", b'{"series":' + b"[" * 100_000, 400, "nested too deeply"),
    ("a list", b"[]", 422, ""),
    ("no series", b"{}", 422, "/series"),
    ("an empty list of series", body(series=[]), 422, "/series"),
    ("an unknown field", body(horizons=5), 422, "/horizons"),
    ("no day ahead", body(horizon=0), 422, "/horizon"),
    ("too many days ahead", body(horizon=21), 422, "/horizon"),
    ("days ahead as text", body(horizon="5"), 422, "/horizon"),
    ("days ahead of many series", body(series=[SERIES] * 30, horizon=20), 413, "/horizon"),
    ("an unknown field of a series", body(series=[{**SERIES, "open": 1}]), 422, "/series/0"),
    ("an unknown model", body(model="gpt"), 422, "/model"),
    ("an unknown version", body(version=99), 422, "/version"),
    ("an unknown level", body(levels=[0.5, 0.51]), 422, "/levels"),
    ("a level that is no number", b'{"series":[{"id":"a","closes":[1,2]}],"levels":[NaN]}', 422, "/levels"),
    ("explain as text", body(explain="yes"), 422, "/explain"),
    ("explain an MLP", body(series=[{"id": "a", "closes": [1.5] * 90}], model="mlp", explain=True), 422, "/explain"),
    ("explain a version that cannot", body(version=1, explain=True), 422, "/explain"),
    ("explain too many closes", body(series=[{"id": "a", "closes": [1.5] * 60}] * 42, explain=True), 422, "/explain"),
    ("text for a close", closes(1, "abc"), 422, "/series/1/closes/1"),
    ("null for a close", closes(1, None), 422, "/series/1/closes/1"),
    ("NaN", closes(1, float("nan")), 422, "/series/1/closes/1"),
    ("Infinity", closes(1, float("inf"), 2), 422, "/series/1/closes/1"),
    ("zero", closes(1, 0), 422, "/series/1/closes/1"),
    ("a negative close", closes(1, -1), 422, "/series/1/closes/1"),
    ("1e308", closes(1, 1e308), 422, "/series/1/closes/1"),
    ("1e-308", closes(1, 1e-308), 422, "/series/1/closes/1"),
    ("1e309", b'{"series":[{"id":"a","closes":[1,1e309]}]}', 422, "/series/0/closes/1"),
    ("5,000 digits", b'{"series":[{"id":"a","closes":[1,' + b"9" * 5000 + b"]}]}", 422, "/series/0/closes/1"),
    ("no closes", closes(), 422, "/series/1"),
    ("one close", closes(1), 422, "/series/1"),
    ("10,001 closes", closes(*[1.5] * 10_001), 422, "at most 10000"),
    ("a million closes", closes(*[1.5] * 1_000_000), 422, "has 1000000 closes"),
    ("100,000 series", body(series=[SERIES] * 100_000), 413, "/v1/jobs"),
    ("8 million closes", b'{"series":[{"id":"A","closes":[1' + b",1" * 8_000_000 + b"]}]}", 413, "/v1/jobs"),
    ("too few for the MLP", body(model="mlp"), 422, "/series/0"),
    ("a control character in an id", body(series=[{"id": "a\nb", "closes": [1, 2]}]), 422, "/series/0"),
    ("half a surrogate pair in an id", b'{"series":[{"id":"\\ud800","closes":[1,2]}]}', 422, "/series/0"),
    ("half a surrogate pair in a model", b'{"series":[{"id":"a","closes":[1,2]}],"model":"\\ud800"}', 422, "/model"),
    ("no day", body(series=[{**SERIES, "as_of": "2023-02-29"}]), 422, "/series/0"),
]


@pytest.mark.parametrize(
    ("content", "status", "place"), [row[1:] for row in BAD_BODIES], ids=[row[0] for row in BAD_BODIES]
)
def test_a_bad_body_is_a_problem_with_its_place(http: httpx.Client, content: bytes, status: int, place: str) -> None:
    answer = post(http, content)

    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert problem["status"] == status
    assert place in [each["pointer"] for each in problem.get("errors", [])] or place in problem["detail"]
    assert len(answer.content) < 2000
    assert forecasts(http, [SERIES])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
    ],
)
def test_a_content_type_is_taken_or_refused(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    answer = post(http, body(), Connection="close", **headers)

    assert answer.status_code == status
    assert (
        status == 200 or "application/json" in answer.json()["detail"] or "Content-Encoding" in answer.json()["detail"]
    )


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    answer = post(http, b" " * (16 * 1024 * 1024 + 1), Connection="close")  # the server ends it: the body is unread

    assert answer.status_code == 413
    assert "at most 16777216 are taken" in answer.json()["detail"]
    assert "/v1/jobs" in answer.json()["detail"]


def test_an_upload_over_the_limit_is_refused(http: httpx.Client) -> None:
    answer = http.post(
        "/v1/jobs", content=b"1" * 1_000_001, headers={"Content-Type": "text/csv", "Connection": "close"}
    )

    assert answer.status_code == 413


HEAD = b"POST /v1/forecasts HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n"
CUT_OFF = b"Content-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"411"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", b"411"),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"411"),
        (HEAD + b"\r\n", b"411"),
        (HEAD + b"Content-Length: -2\r\n\r\n{}", b"400"),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n{}", b"413"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", b"4"),
        (b"GET /v1/models/%00%ff%0a HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    ],
)
def test_a_request_that_breaks_http_ends_and_takes_nothing_along(
    service_url: str, http: httpx.Client, sent: bytes, status: bytes
) -> None:
    answer = exchange(service_url, sent)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"HTTP/1.1 5" not in answer
    assert forecasts(http, [SERIES])


def exchange(url: str, sent: bytes, *, cut_off: bool = False) -> bytes:
    """What comes back for raw bytes."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), DEADLINE_S) as connection:
        connection.sendall(sent)
        if cut_off:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_a_body_that_was_cut_off_is_not_taken_for_a_whole_one(service_url: str) -> None:
    answer = exchange(service_url, HEAD + CUT_OFF + body(), cut_off=True)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"its Content-Length says 1000" in answer


def test_the_job_of_an_upload_that_was_cut_off_is_not_there(service_url: str, http: httpx.Client) -> None:
    before = http.get("/v1/jobs").json()
    head = HEAD.replace(b"/v1/forecasts", b"/v1/jobs").replace(b"application/json", b"text/csv")

    answer = exchange(service_url, head + CUT_OFF + b"id,closes\na,1 2 3\n", cut_off=True)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the body ended after 18 bytes" in answer
    assert http.get("/v1/jobs").json() == before


@pytest.mark.parametrize(
    ("sent", "awaited"),
    [(b"", b""), (HEAD[:20], b""), (HEAD + b"Expect: 100-continue\r\n" + CUT_OFF, b"HTTP/1.1 100")],
    ids=["nothing", "half a head", "no body"],
)
def test_forty_callers_that_never_finish_keep_nobody_waiting(
    service_url: str, http: httpx.Client, sent: bytes, awaited: bytes
) -> None:
    where = (urlsplit(service_url).hostname, urlsplit(service_url).port)
    with ExitStack() as callers:
        for _ in range(40):
            caller = callers.enter_context(socket.create_connection(where, DEADLINE_S))
            caller.sendall(sent)
            assert caller.recv(len(awaited)) == awaited  # a thread waits for the body

        assert forecasts(http, [SERIES])


def test_yesterday_and_today_give_tomorrow_and_so_do_2500_days(http: httpx.Client) -> None:
    short, long = forecasts(http, [{"id": "two", "closes": [101.5, 102.25]}, {"id": "many", "closes": walk(2500)}])

    for forecast in (short, long):
        quantiles = list(forecast["quantiles"].values())
        assert len(quantiles) == 9
        assert quantiles == sorted(quantiles)
        assert quantiles[0] < forecast["last_close"] < quantiles[-1]


@pytest.mark.parametrize(("model", "tolerance"), [("lstm", 0), ("mlp", 0), ("rnn", 1e-6)])
def test_a_series_does_not_depend_on_who_shared_its_request(http: httpx.Client, model: str, tolerance: float) -> None:
    series = [{"id": str(days), "closes": walk(days, seed=days)} for days in (60, 250, 61, 1000, 99, 60)]

    together = post(http, body(series=series, model=model)).json()["forecasts"]
    alone = [post(http, body(series=[each], model=model)).json()["forecasts"][0] for each in series]

    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(list(one["quantiles"].values()), list(other["quantiles"].values()), rtol=tolerance)
    assert [each["id"] for each in together] == [each["id"] for each in series]


def test_a_faulty_request_does_not_touch_others_that_run_beside_it(http: httpx.Client) -> None:
    series = [{"id": "a", "closes": walk(250)}]
    wanted = forecasts(http, series)
    answers: list[Any] = []

    def ask(content: bytes) -> None:
        answers.extend(post(http, content).json().get("forecasts", []) for _ in range(20))

    contents = [body(series=series), closes(1, -1)] * 4
    threads = [threading.Thread(target=ask, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 160
    assert [each for each in answers if each] == [wanted] * 80


def test_numbers_read_back_to_the_bits_that_the_graph_gave(http: httpx.Client, models: Repository) -> None:
    history = walk(300)
    graph = models.get("lstm").predict(Ragged.of([history]))[0]

    forecast = forecasts(http, [{"id": "a", "closes": history}])[0]

    read = [np.float32(quantile) for quantile in forecast["quantiles"].values()]
    assert [struct.pack("f", each) for each in read] == [struct.pack("f", each) for each in graph]
    assert np.float32(forecast["last_close"]) == np.float32(history[-1])
    assert len(str(forecast["median"])) < 12


def test_every_answer_names_its_model_and_what_it_ran_on(http: httpx.Client, models: Repository) -> None:
    model = post(http, body(model="rnn")).json()["model"]

    card = models.card("rnn")
    assert (model["name"], model["version"], model["digest"]) == ("rnn", card.version, card.digest)
    assert model["provider"] == models.get("rnn").provider


def test_no_line_of_the_log_begins_with_a_callers_words(http: httpx.Client, server: Server) -> None:
    http.get("/v1/models/a%0a%7B%22level%22:%22error%22%7D%0d", headers={"X-Request-Id": "find-me"})

    deadline = time.monotonic() + DEADLINE_S
    while "find-me" not in server.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)  # lines of requests are written a moment later

    lines = [json.loads(line) for line in server.log.read_text().splitlines()]

    assert [line["path"] for line in lines if line.get("request_id") == "find-me"] == [
        '/v1/models/a\n{"level":"error"}\r'
    ]
    assert not [line for line in lines if line["level"] == "error"]
