"""Downloads as HTTP gives them out."""

from pathlib import Path

from flask import Flask

from service.jobs import _download
from worker.blobs import Blobs
from worker.downloads import Download
from worker.media_types import CSV


def test_a_download_tells_its_length_and_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = Blobs.of(str(tmp_path))
    with blobs.create("0/rendered.csv") as file:
        file.write(b"id,median\na,1.5\n")

    with Flask(__name__).test_request_context():
        answer = _download(Download(16, "", CSV, "0/rendered.csv", blobs), "0-results.csv")

    assert answer.content_length == 16
    assert b"".join(answer.iter_encoded()) == b"id,median\na,1.5\n"
    answer.close()
    assert [path.name for path in tmp_path.rglob("*.*")] == ["rendered.csv"]
