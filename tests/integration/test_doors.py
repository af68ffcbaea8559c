"""Two doors to one route: the hot path and Flask's dispatch answer every request alike."""

import io
import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from models.repository import Repository
from service import create_app
from service.hotpath import HotPath
from service.settings import ServiceSettings
from tests.integration.test_http_server import BAD_BODIES, SERIES, body

GOOD = [
    ("one series", body()),
    ("two lengths", body(series=[SERIES, {"id": "b", "closes": [1.5] * 300, "as_of": "2024-02-29"}])),
    ("levels", body(levels=[0.5, 0.05])),
    ("a horizon", body(horizon=3)),
    ("another model", body(model="rnn", version=1)),
    ("an id beyond ASCII", body(series=[{"id": "Zürich", "closes": [1, 2]}])),
]
CASES = [*((name, content) for name, content, *_ in BAD_BODIES), *GOOD]


@pytest.fixture(scope="module")
def app(models: Repository) -> Flask:
    return create_app(ServiceSettings(device="cpu"), models=models)


def ask(door: Any, content: bytes, **environ: Any) -> tuple[str, list[tuple[str, str]], bytes]:
    builder = EnvironBuilder("/v1/forecasts", method="POST", data=content, content_type="application/json")
    builder.headers["X-Request-Id"] = "the-same-one"
    parts, status, headers = run_wsgi_app(door, builder.get_environ() | environ)
    return status, sorted(headers.to_wsgi_list()), b"".join(parts)


@pytest.mark.parametrize("content", [content for _, content in CASES], ids=[name for name, _ in CASES])
def test_both_doors_answer_alike(content: bytes, app: Flask) -> None:
    hot = app.wsgi_app
    assert isinstance(hot, HotPath)

    assert ask(hot, content) == ask(hot._behind, content)


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": "application/json; charset=UTF-8"},
        {"CONTENT_TYPE": "application/json; charset=utf-16"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "9" * 30},
        {"CONTENT_LENGTH": "7000"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_X_REQUEST_ID": "two\nlines"},
        {"REQUEST_METHOD": "GET"},
        {"PATH_INFO": "/v1/forecasts/"},
    ],
    ids=str,
)
def test_both_doors_treat_headers_alike(environ: dict[str, str], app: Flask) -> None:
    hot = app.wsgi_app

    one, other = (ask(door, body(), **environ) for door in (hot, hot._behind))

    fresh = re.compile(rb"[0-9a-f]{32}")
    assert one[0] == other[0]
    assert fresh.sub(b"", str(one[1]).encode() + one[2]) == fresh.sub(b"", str(other[1]).encode() + other[2])


def test_the_hot_path_answers_what_is_plain_and_nothing_else(app: Flask) -> None:
    passed_on: list[bytes] = []

    def behind(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        passed_on.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    hot = HotPath(behind, app.wsgi_app._models, ServiceSettings())

    assert b'"forecasts"' in ask(hot, body())[2]
    assert passed_on == []
    ask(hot, b"hello")
    assert passed_on == [b"hello"]


def test_a_body_that_is_cut_off_is_told_by_either_door(app: Flask) -> None:
    cut = {"CONTENT_LENGTH": str(len(body()) + 9)}

    answers = [
        ask(door, b"", **cut, **{"wsgi.input": io.BytesIO(body())}) for door in (app.wsgi_app, app.wsgi_app._behind)
    ]

    assert answers[0] == answers[1]
    assert answers[0][0].startswith("400")
