"""Downloads as HTTP gives them out, whatever server is beneath."""

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request

from service.downloads import send
from service.errors import RangeNotSatisfiable
from worker.blobs import Blobs
from worker.downloads import Download
from worker.media_types import CSV

CONTENT = b"id,median\na,1.5\n"
DIGEST = hashlib.sha256(CONTENT)
ETAG = f'"{DIGEST.hexdigest()}"'


def download(folder: Path, content: bytes = CONTENT) -> Download:
    blobs = Blobs.of(str(folder))
    with blobs.create("0/rendered.csv") as file:
        file.write(content)
    return Download(len(content), hashlib.sha256(content).hexdigest(), CSV, "0/rendered.csv", blobs)


def sent(found: Download, *, method: str = "GET", **headers: str) -> tuple[Response, bytes]:
    named: Any = {name.replace("_", "-"): value for name, value in headers.items()}
    with Flask(__name__).test_request_context(method=method, headers=named):
        answer = send(request, found, "0-results.csv")
    content = b"".join(answer.iter_encoded())
    answer.close()
    return answer, content


def test_a_download_tells_its_length_and_digest_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answer, content = sent(download(tmp_path))

    digest = f"sha-256=:{b64encode(DIGEST.digest()).decode()}:"
    assert (answer.status_code, answer.content_length, content) == (200, 16, CONTENT)
    assert (answer.headers["Content-Digest"], answer.headers["Repr-Digest"]) == (digest, digest)
    assert (answer.headers["ETag"], answer.headers["Accept-Ranges"]) == (ETAG, "bytes")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["rendered.csv"]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=3-", 3, 15), ("bytes=3-5", 3, 5), ("bytes=-4", 12, 15), ("bytes=2-999", 2, 15),
     ("bytes=-999", 0, 15)],
)  # fmt: skip
def test_a_part_is_sent_with_its_place_and_the_digest_of_the_whole(
    tmp_path: Path, asked: str, first: int, last: int
) -> None:
    answer, content = sent(download(tmp_path), Range=asked)

    assert (answer.status_code, content) == (206, CONTENT[first : last + 1])
    assert answer.content_length == len(content)
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/16"
    assert "Repr-Digest" in answer.headers
    assert "Content-Digest" not in answer.headers  # it would be the part's


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=5-3", "bytes=x", "lines=0-1", "bytes", "", "bytes=0-1,"])
def test_of_several_parts_or_of_nonsense_the_whole_is_sent(tmp_path: Path, asked: str) -> None:
    answer, content = sent(download(tmp_path), Range=asked)

    assert (answer.status_code, content) == (200, CONTENT) or (asked, content) == ("bytes=0-1,", CONTENT[:2])


@pytest.mark.parametrize(
    ("held", "status"), [(ETAG, 206), ('"0"', 200), (f"W/{ETAG}", 200), ("Wed, 25 Nov 2026 19:00:00 GMT", 200)]
)
def test_a_part_is_of_what_the_caller_has_the_rest_of_or_there_is_none(tmp_path: Path, held: str, status: int) -> None:
    answer, _ = sent(download(tmp_path), Range="bytes=4-", If_Range=held)

    assert answer.status_code == status


@pytest.mark.parametrize(("content", "asked"), [(CONTENT, "bytes=16-"), (b"", "bytes=0-"), (b"", "bytes=-1")])
def test_a_part_behind_the_end_is_refused(tmp_path: Path, content: bytes, asked: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        sent(download(tmp_path, content), Range=asked)

    assert refused.value.headers["Content-Range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize("held", [ETAG, f"W/{ETAG}", f'"0", {ETAG}', "*"])
def test_what_the_caller_has_is_not_sent_again(tmp_path: Path, held: str) -> None:
    answer, content = sent(download(tmp_path), If_None_Match=held, Range="bytes=0-1")

    assert (answer.status_code, content, answer.headers["ETag"]) == (304, b"", ETAG)


def test_what_the_caller_has_no_more_is_sent(tmp_path: Path) -> None:
    assert sent(download(tmp_path), If_None_Match='"0"')[0].status_code == 200


def test_a_look_opens_no_file(tmp_path: Path) -> None:
    found = download(tmp_path)
    (tmp_path / "0" / "rendered.csv").unlink()

    answer, content = sent(found, method="HEAD", Range="bytes=0-1")

    assert (answer.status_code, answer.content_length, content) == (200, 16, b"")


def test_an_empty_file_is_sent(tmp_path: Path) -> None:
    answer, content = sent(download(tmp_path, b""))

    assert (answer.status_code, answer.content_length, content) == (200, 0, b"")
