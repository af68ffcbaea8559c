"""What a WSGI application's answer becomes on its way back to the event loop."""

import tempfile
from collections.abc import Iterable
from typing import IO, Any

import pytest

from service.bridge import SHORT_BYTES, File, call


def answered(file: IO[bytes], size_bytes: int | None) -> bytes | File:
    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return File(file, size_bytes=size_bytes)

    return call(app, {}).body


@pytest.mark.parametrize(
    ("length", "size_bytes"),
    [(SHORT_BYTES + 3, SHORT_BYTES), (SHORT_BYTES + 3, None), (3, 0), (3, None)],
    ids=["a part", "all that follows", "nothing", "little"],
)
def test_of_a_file_what_is_short_is_read_and_closed(length: int, size_bytes: int | None) -> None:
    content = bytes(index % 251 for index in range(length))
    with tempfile.TemporaryFile() as file:
        file.write(content)
        begin = file.seek(min(3, length - 1))

        body = answered(file, size_bytes)

        assert body == (content[begin:] if size_bytes is None else content[begin : begin + size_bytes])
        assert file.closed


@pytest.mark.parametrize("size_bytes", [SHORT_BYTES + 1, None])
def test_of_a_file_what_is_long_is_left_to_the_server(size_bytes: int | None) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(SHORT_BYTES + 3))
        file.seek(2)

        body = answered(file, size_bytes)

        assert isinstance(body, File)
        assert (body.begin, body.size_bytes, file.closed) == (2, size_bytes, False)
