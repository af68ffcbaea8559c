"""What a client makes of answers that are not those of the service."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.client import Client, ServiceAway, look_again_s


class SomethingElse(BaseHTTPRequestHandler):
    """A server that answers everything with a problem."""

    def do_GET(self) -> None:
        body = b'{"title":"Something went wrong here","status":500}'
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), SomethingElse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_answers_otherwise_than_the_service_is_not_it(url: str) -> None:
    with Client(url) as client, pytest.raises(ServiceAway, match="Something went wrong here"):
        client.readiness()


@pytest.mark.parametrize(
    ("left_s", "last_s", "next_s"),
    [(2.0, 0.02, 0.5), (0.01, 0.5, 0.02), (None, 0.1, 0.15), (None, 0.9, 1.0), (3600.0, 0.02, 1.0), (0.0, 1.0, 0.02)],
)
def test_a_job_is_looked_at_after_a_quarter_of_what_it_says_is_left(
    left_s: float | None, last_s: float, next_s: float
) -> None:
    assert look_again_s({"seconds_left": left_s}, last_s) == pytest.approx(next_s)
