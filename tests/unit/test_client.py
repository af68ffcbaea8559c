"""What a client makes of answers that are not those of the service."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.client import Client, ServiceAway


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
