"""Downloads that are whole, or not begun."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from service.jobs import _download
from worker.errors import ResultsDamaged


def test_a_download_whose_source_fails_midway_is_an_error_and_no_short_file(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"id,median\n"
        raise ResultsDamaged(job_id="0", chunk=1)

    with pytest.raises(ResultsDamaged):
        _download(parts(), "0-results.csv", str(tmp_path))

    assert not list(tmp_path.iterdir())


def test_a_download_tells_its_length_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Flask(__name__).test_request_context():
        answer = _download(iter([b"id,median\n", b"a,1.5\n"]), "0-results.csv", str(tmp_path))

    assert answer.content_length == 16
    assert b"".join(answer.iter_encoded()) == b"id,median\na,1.5\n"
    answer.close()
    assert not list(tmp_path.iterdir())
