"""
Requests whose beginning and end two readers may see in two places, to the server and through nginx.

Never a 5xx of ours, never an answer to what hid in a body, and after a refusal the connection ends, so that nothing
behind it is ever taken for a request.
"""

from typing import NamedTuple

import pytest

from tests.faults.wire import SERIES, Talk, request, talk

POST = b"POST /v1/forecasts HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SERIES)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HIDDEN = request("GET", "/v1/models", X_Request_Id="hidden")
SECOND = request("GET", "/healthz", X_Request_Id="second", Connection="close")


class Case(NamedTuple):
    """
    What is sent before the second request.

    Attributes:
        sent: The bytes.
        direct: The status of the server; 200 stands for two of them, its own and the second request's.
        by_nginx: The status of nginx, or the server's through it.
    """

    sent: bytes
    direct: int
    by_nginx: int


MALFORMED = {
    "a length and chunks": Case(POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN, 411, 400),
    "chunks and a length": Case(POST + CHUNKED + b"Content-Length: 500\r\n\r\n0\r\n\r\n" + HIDDEN, 411, 400),
    "two lengths": Case(POST + b"Content-Length: 0\r\n" + b"Content-Length: 5\r\n\r\n" + HIDDEN, 400, 400),
    "a list of lengths": Case(POST + b"Content-Length: 5, 5\r\n\r\nhello" + HIDDEN, 400, 400),
    "a blank before the colon": Case(POST + LENGTH + b"Transfer-Encoding : chunked\r\n\r\n" + SERIES, 400, 400),
    "a plus": Case(POST + b"Content-Length: +5\r\n\r\nhello" + HIDDEN, 400, 400),
    "a minus": Case(POST + b"Content-Length: -5\r\n\r\nhello" + HIDDEN, 400, 400),
    "a length in hex": Case(POST + b"Content-Length: 0x5\r\n\r\nhello" + HIDDEN, 400, 400),
    "a length of 20 digits": Case(POST + b"Content-Length: 18446744073709551616\r\n\r\n" + SERIES, 400, 400),
    "a chunk's length with 0x": Case(POST + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n" + HIDDEN, 411, 400),
    "a chunk that ends elsewhere": Case(POST + CHUNKED + b"\r\n1\r\nhello\r\n0\r\n\r\n" + HIDDEN, 411, 400),
    "a newline in a chunk's extension": Case(POST + CHUNKED + b"\r\n5;\n\r\nhello\r\n0\r\n\r\n" + HIDDEN, 411, 400),
    # nginx knows no other coding than chunked and says so with the 501 that RFC 9112, section 6.1, has for it.
    "chunks of another name": Case(POST + LENGTH + b"Transfer-Encoding: xchunked\r\n\r\n" + SERIES, 400, 501),
    "identity": Case(POST + LENGTH + b"Transfer-Encoding: identity\r\n\r\n" + SERIES, 400, 501),
    "two codings": Case(POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN, 400, 400),
    "a header over two lines": Case(POST + LENGTH + b"X-A: a\r\n b\r\n\r\n" + SERIES, 400, 400),
    "a coding over two lines": Case(POST + LENGTH + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + SERIES, 400, 400),
    "CR alone": Case(POST + LENGTH + b"X-A: a\rTransfer-Encoding: chunked\r\n\r\n" + SERIES, 400, 400),
    "NUL in a header": Case(POST + LENGTH + b"X-A: a\0b\r\n\r\n" + SERIES, 400, 400),
    "NUL in the path": Case(b"GET /v1/mod\0els HTTP/1.1\r\nHost: test\r\n\r\n", 400, 400),
    "a header of 600 KB": Case(POST + LENGTH + b"X-A: " + b"a" * 600_000 + b"\r\n\r\n" + SERIES, 431, 431),
    "2,000 headers": Case(POST + LENGTH + b"X-A: a\r\n" * 2000 + b"\r\n" + SERIES, 431, 431),
    # RFC 9112, section 2.2: a single LF may be taken for a line's end. Both do, and agree on where the request ends.
    "LF alone": Case((POST + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + SERIES, 200, 200),
    # Section 6.3: the same length twice may be taken as one.
    "one length twice": Case(POST + LENGTH + LENGTH + b"\r\n" + SERIES, 200, 400),
    # Section 3.2 wants a 400; the service looks at no Host, so here there is nothing to confuse.
    "no host": Case(b"GET /healthz HTTP/1.1\r\n\r\n", 200, 400),
    "two hosts": Case(b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 200, 400),
    # An underscore is no hyphen, neither here nor in what Flask is told.
    "underscores": Case(POST + LENGTH + b"Content_Length: 3\r\nTransfer_Encoding: chunked\r\n\r\n" + SERIES, 200, 200),
    # A body that nobody asked for is read and thrown away, or the connection ends.
    "a body of a GET": Case(request("GET", "/healthz", HIDDEN), 200, 200),
    "a body where none is taken": Case(request("POST", "/healthz", HIDDEN), 405, 405),
}


def check(found: Talk, status: int) -> None:
    assert found.statuses[0] == status, found.raw[:500]
    assert not [answer for answer in found.answers if answer.headers.get("x-request-id") == "hidden"]
    assert found.ended
    if found.statuses[0] in (200, 405):
        assert [answer.headers["x-request-id"] for answer in found.answers[1:]] == ["second"]
        assert found.last.json() == {"status": "ok"}
    else:
        assert len(found.answers) == 1


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_request_without_a_plain_end_is_refused_with_all_that_follows(url: str, case: Case) -> None:
    check(talk(url, case.sent + SECOND), case.direct)


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
def test_nginx_refuses_it_too_or_sees_its_end_where_the_service_does(url: str, nginx_url: str, case: Case) -> None:
    check(talk(nginx_url, case.sent + SECOND), case.by_nginx)


def test_requests_that_come_at_once_are_answered_in_their_order(url: str) -> None:
    one = POST + LENGTH + b"X-Request-Id: r%d\r\n\r\n" + SERIES

    found = talk(url, b"".join(one % place for place in range(50)) + SECOND)

    assert [answer.headers["x-request-id"] for answer in found.answers] == [*(f"r{n}" for n in range(50)), "second"]
    assert set(found.statuses) == {200}


@pytest.mark.parametrize("length", [10**9, 10**18])
def test_who_asks_first_whether_to_send_a_body_is_told_no(url: str, length: int) -> None:
    found = talk(url, POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)

    assert (found.statuses, found.ended) == ([413], True)


def test_who_asks_first_whether_to_send_a_body_is_told_to(url: str) -> None:
    found = talk(url, POST + LENGTH + b"Expect: 100-continue\r\n\r\n" + SERIES + SECOND)

    assert found.statuses == [100, 200, 200]
