"""Results over the real server: parts, digests and looks, by a client that goes on where it broke off."""

import hashlib
import io
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import orjson
import pytest

from service.client import Client, ServiceFailed
from tests.bucket_server import CREDENTIALS, bucket_server, jobs_url
from tests.integration.job_steps import eventually, ndjson, walks
from tests.integration.server_process import DEADLINE_S, Server, serving, working

pytestmark = pytest.mark.slow
ROWS = 3000


@pytest.fixture(scope="module", params=["a folder", "a bucket"])
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey_url: str
) -> Iterator[tuple[Server, str]]:
    """A server, and the path of the results of a job that has ended there."""
    folder = tmp_path_factory.mktemp("downloads")
    where = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(folder / "jobs"), "NEXTDAY_DEVICE": "cpu"}
    if request.param == "a folder":
        yield from ended(folder, where)
        return
    with bucket_server() as address:
        yield from ended(folder, where | CREDENTIALS | {"NEXTDAY_JOBS_URL": jobs_url(address)})


def ended(folder: Path, where: dict[str, str]) -> Iterator[tuple[Server, str]]:
    with serving(folder, **where) as server, working(folder, **where):
        headers = {"Content-Type": "application/x-ndjson"}
        body = ndjson(walks(ROWS, days=5))
        job = httpx.post(f"{server.url}/v1/jobs", content=body, headers=headers, timeout=DEADLINE_S).json()
        path = f"{server.url}{job['links']['self']}"
        eventually(lambda: httpx.get(path, timeout=DEADLINE_S).json()["status"] == "completed")
        yield server, f"{path}/results"


def get(url: str, method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, url, headers={"Accept-Encoding": "identity", **named}, timeout=DEADLINE_S)


def test_parts_make_the_whole(results: tuple[Server, str]) -> None:
    _, url = results
    whole = get(url)

    places = [0, 1, 1000, 300_000, len(whole.content)]
    spans = list(pairwise(places))
    parts = [get(url, Range=f"bytes={first}-{end - 1}", If_Range=whole.headers["ETag"]) for first, end in spans]

    assert whole.status_code == 200
    assert len(whole.content.splitlines()) == ROWS
    assert [part.status_code for part in parts] == [206] * 4
    assert [part.headers["Content-Range"] for part in parts] == [
        f"bytes {first}-{end - 1}/{len(whole.content)}" for first, end in spans
    ]
    assert b"".join(part.content for part in parts) == whole.content
    digest = f"sha-256=:{b64encode(hashlib.sha256(whole.content).digest()).decode()}:"
    assert {each.headers["Repr-Digest"] for each in (whole, *parts)} == {digest}
    assert whole.headers["Content-Digest"] == digest


def test_a_look_and_what_has_not_changed_send_no_body(results: tuple[Server, str]) -> None:
    _, url = results
    whole = get(url)

    look, same = get(url, "HEAD"), get(url, If_None_Match=whole.headers["ETag"])
    beyond = get(url, Range=f"bytes={len(whole.content)}-")

    assert (look.status_code, look.content) == (200, b"")
    assert look.headers["Content-Length"] == str(len(whole.content))
    assert look.headers["ETag"] == same.headers["ETag"] == whole.headers["ETag"]
    assert (same.status_code, same.content) == (304, b"")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.content)}")


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "parquet", "arrow", "arrows"])
def test_every_format_comes_whole_and_no_errors_are_an_empty_file(results: tuple[Server, str], suffix: str) -> None:
    server, url = results
    path = f"{url}?format={suffix}"

    first, again = get(path), get(path)
    errors = get(f"{url.removesuffix('results')}errors?format={suffix}")

    assert hashlib.sha256(first.content).hexdigest() == first.headers["ETag"].strip('"')
    assert first.content == again.content
    assert (errors.status_code, len(errors.content)) == (200, int(errors.headers["Content-Length"]))
    with Client(server.url) as client:
        sink = io.BytesIO()
        client.download(url.split("/")[-2], "results", suffix, sink)
    assert sink.getvalue() == first.content


class BreaksOff(BaseHTTPRequestHandler):
    """A service that cuts its download off, then goes on; what it has may change meanwhile, or be damaged."""

    contents: ClassVar[list[bytes]] = []
    etags: ClassVar[list[str]] = []
    asked: ClassVar[list[tuple[str | None, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.headers["Range"], self.headers["If-Range"]))
        at = min(len(self.asked), len(self.contents)) - 1
        content, etag = self.contents[at], self.etags[at]
        wanted = self.headers["Range"]
        first = (
            int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.headers["If-Range"] == etag else 0
        )
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : 400 if len(self.asked) == 1 else None])

    def log_message(self, *_: object) -> None:
        pass


def of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def downloaded(
    monkeypatch: pytest.MonkeyPatch,
    contents: list[bytes],
    etags: list[str],
    on_bytes: Callable[[int, int | None], None] = lambda _got, _of: None,
) -> tuple[bytes, list[Any]]:
    monkeypatch.setattr(BreaksOff, "contents", contents)
    monkeypatch.setattr(BreaksOff, "etags", etags)
    monkeypatch.setattr(BreaksOff, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            sink = io.BytesIO()
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                client.download("0" * 32, "results", "csv", sink, on_bytes)
            return sink.getvalue(), BreaksOff.asked
        finally:
            server.shutdown()


CONTENT, OTHER = orjson.dumps(list(range(1000))), orjson.dumps(list(range(2000)))


def test_a_download_that_breaks_off_goes_on_where_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    content, asked = downloaded(monkeypatch, [CONTENT], [of(CONTENT)])

    assert content == CONTENT
    assert asked == [(None, None), ("bytes=400-", of(CONTENT))]


def test_a_download_of_what_has_changed_meanwhile_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    content, asked = downloaded(monkeypatch, [CONTENT, OTHER], [of(CONTENT), of(OTHER)])

    assert content == OTHER
    assert len(asked) == 2


def test_a_download_tells_how_much_of_the_whole_has_come_and_goes_on_counting_where_it_broke_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int | None]] = []

    downloaded(monkeypatch, [CONTENT], [of(CONTENT)], lambda *at: told.append(at))

    assert {whole for _, whole in told} == {len(CONTENT)}
    assert (told[0][0], told[-1][0]) == (400, len(CONTENT))
    assert told == sorted(told)


def test_a_download_that_is_not_what_its_digest_says_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceFailed, match="damaged on its way"):
        downloaded(monkeypatch, [CONTENT], [of(OTHER)])
