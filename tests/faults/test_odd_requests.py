"""Methods, paths and headers that nobody needs: each has an answer, none of them a 5xx, and no long ones."""

import pytest

from tests.faults.wire import forecast, request, talk

LONG = "x" * 60_000
LONGEST_ANSWER = 2000

ODD = {
    "HEAD": ("HEAD", "/healthz", 200),
    "HEAD where only POST is": ("HEAD", "/v1/forecasts", 405),
    "OPTIONS": ("OPTIONS", "/v1/forecasts", 200),
    "OPTIONS of all": ("OPTIONS", "*", 404),
    "TRACE": ("TRACE", "/healthz", 405),
    "CONNECT": ("CONNECT", "example.com:443", 404),
    "a method of one's own": ("BREW", "/healthz", 405),
    "POST where only GET is": ("POST", "/readyz", 405),
    "DELETE where only GET is": ("DELETE", "/readyz", 405),
    "NUL": ("GET", "/v1/models/%00", 404),
    "a newline": ("GET", "/v1/models/%0d%0aSet-Cookie:%20a", 404),
    "no UTF-8": ("GET", "/v1/models/%ff%fe", 404),
    "a broken escape": ("GET", "/v1/models/%zz%", 404),
    "two slashes": ("GET", "//v1//models", 404),
    "two slashes and a host": ("GET", "//example.com/%2e%2e", 404),
    "up": ("GET", "/v1/../../../etc/passwd", 404),
    "up, in escapes": ("GET", "/docs/..%2f..%2f..%2f..%2fetc/passwd", 404),
    "another scheme": ("GET", "http://example.com/healthz", 200),
    "a long path": ("GET", f"/{LONG}", 404),
    "a long model": ("GET", f"/v1/models/{LONG}", 404),
    "a long job": ("GET", f"/v1/jobs/{LONG}", 404),
    "a long job to cancel": ("POST", f"/v1/jobs/{LONG}/cancel", 404),
    "a long model to ask": ("POST", f"/v2/models/{LONG}/infer", 404),
    "a long version to ask": ("POST", f"/v2/models/lstm/versions/{LONG}/infer", 404),
    "a long model to load": ("POST", f"/v2/repository/models/{LONG}/load", 403),
    "many parameters": ("GET", f"/v1/jobs?{'a=1&' * 15_000}", 422),
    "a long parameter": ("GET", f"/v1/jobs?limit={'9' * 60_000}", 422),
    "a long name of a parameter": ("GET", f"/v1/jobs?{LONG}=1", 422),
    "a long format": ("GET", f"/v1/jobs/a/results?format={LONG}", 422),
}


@pytest.mark.parametrize(("method", "path", "status"), ODD.values(), ids=ODD.keys())
def test_an_odd_request_has_a_short_answer(url: str, method: str, path: str, status: int) -> None:
    body = b"{}" if method == "POST" else None

    found = talk(url, request(method, path, body, Connection="close"))

    assert found.statuses == [status], found.raw[:500]
    assert len(found.raw) < LONGEST_ANSWER
    assert "location" not in found.last.headers
    assert "set-cookie" not in found.last.headers


@pytest.mark.parametrize(
    "header", ["X-Request-Id", "Host", "Content-Type", "Content-Encoding", "Accept", "Expect", "X-Other"]
)
@pytest.mark.parametrize("value", ["\xff\xfe", "\t", "a" * 8000])
def test_an_odd_header_is_passed_over_or_refused(url: str, header: str, value: str) -> None:
    found = talk(url, forecast(**{header: value, "Connection": "close"}))

    assert found.statuses[0] in (200, 415)
    assert len(found.raw) < 3 * 8000


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0"])
def test_nobody_is_let_change_to_another_protocol(url: str, upgrade: str) -> None:
    sent = request("GET", "/healthz", Connection="Upgrade, HTTP2-Settings, close", Upgrade=upgrade)

    found = talk(url, sent)

    assert found.statuses[0] in (200, 400)
