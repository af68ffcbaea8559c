"""An S3 server of the tests' own, a real process that speaks real HTTP, and one in front of it that fails at will."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import httpx

from tests.integration.server_process import DEADLINE_S, free_port

BUCKET = "jobs-of-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see"}
Answer = tuple[int, bytes]


class Request(NamedTuple):
    """What a request asks for: its method, and its path with the query."""

    method: str
    path: str


@contextmanager
def bucket_server() -> Iterator[str]:
    """The address of a server with one empty bucket."""
    port = free_port()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=said, stderr=said
        )
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE_S
        while not _answers(url):
            assert time.monotonic() < end, "moto did not start"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def jobs_url(address: str, *, bucket: str = BUCKET, prefix: str = "nextday/jobs") -> str:
    """The setting that names a bucket of a server."""
    return f"s3://{bucket}/{prefix}?endpoint_override={address}&region=us-east-1"


@contextmanager
def in_front_of(address: str, fails: Callable[[Request], Answer | None]) -> Iterator[str]:
    """The address of a server that passes requests on, but for those to which it has an answer of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            own = fails(Request(self.command, self.path))
            if own:
                status, content, headers = *own, {}
            else:
                passed = httpx.request(
                    self.command, address + self.path, headers=dict(self.headers), content=body, timeout=DEADLINE_S
                )
                status, content, headers = passed.status_code, passed.content, passed.headers
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - so the library names them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _answers(url: str) -> bool:
    try:
        return httpx.put(f"{url}/{BUCKET}").status_code == 200
    except httpx.TransportError:
        return False
