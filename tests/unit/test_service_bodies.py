"""Bodies that are whole, and those that are not."""

import io
import itertools
from pathlib import Path

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from service.bodies import announced_bytes, check_type, open_body, read_announced, read_body
from service.errors import BodyTooLarge, BodyTruncated, LengthRequired, UnsupportedMediaType
from service.spool import Spool

JSON = ("application/json",)


def request(body: bytes = b"{}", *, announced: str | None = None, **headers: str) -> Request:
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    environ = EnvironBuilder(method="POST", headers=given).get_environ()
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = announced or str(len(body))
    return Request(environ)


def without_length() -> Request:
    asked = request()
    del asked.environ["CONTENT_LENGTH"]
    return asked


def test_a_whole_body_comes_through_either_way() -> None:
    body = bytes(range(256)) * 1000

    assert read_body(request(body), most=10**6) == body
    assert open_body(request(body), most=10**6, media_types=JSON).read() == body


def test_a_body_that_comes_in_pieces_is_put_together() -> None:
    class Dribble(io.BytesIO):
        sizes = itertools.cycle((1, 7, 3))

        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, next(self.sizes)))

    asked = request(b"x" * 100)
    asked.environ["wsgi.input"] = Dribble(b"x" * 100)

    assert read_body(asked, most=100) == b"x" * 100


def test_a_body_that_was_cut_off_is_not_taken_for_a_shorter_one() -> None:
    with pytest.raises(BodyTruncated, match="ended after 2 bytes; its Content-Length says 1000"):
        read_body(request(announced="1000"), most=1000)
    with pytest.raises(BodyTruncated, match="ended after 3 bytes"):
        read_announced(io.BytesIO(b"abc"), 4)
    with pytest.raises(BodyTruncated, match="ended after 2 bytes"):
        open_body(request(announced="1000"), most=1000, media_types=JSON).read()


def test_nothing_after_the_announced_length_is_read() -> None:
    assert open_body(request(b"{}GET /", announced="2"), most=1000, media_types=JSON).read() == b"{}"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (without_length(), LengthRequired),
        (request(Transfer_Encoding="chunked"), LengthRequired),
        (request(announced="101"), BodyTooLarge),
        (request(Content_Type="text/plain"), UnsupportedMediaType),
        (request(Content_Type=""), UnsupportedMediaType),
        (request(Content_Type="application/json; charset=latin-1"), UnsupportedMediaType),
        (request(Content_Encoding="gzip"), UnsupportedMediaType),
    ],
)
def test_a_body_that_is_not_taken_is_not_read(given: Request, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_body(given, most=100, media_types=JSON)

    assert given.environ["wsgi.input"].tell() == 0


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"'])
def test_a_content_type_may_say_that_it_is_utf_8(content_type: str) -> None:
    check_type(content_type, "", JSON)

    assert open_body(request(Content_Type=content_type), most=100, media_types=JSON).read() == b"{}"


@pytest.mark.parametrize(
    ("length", "chunked", "error"),
    [
        ("", False, LengthRequired),
        ("5", True, LengthRequired),
        ("-5", False, LengthRequired),
        ("5.0", False, LengthRequired),
        ("\u0665", False, LengthRequired),
        ("6", False, BodyTooLarge),
        ("9" * 5000, False, BodyTooLarge),
    ],
)
def test_a_length_that_is_none_or_too_much_is_refused(length: str, chunked: bool, error: type[Exception]) -> None:
    with pytest.raises(error):
        announced_bytes(length, chunked=chunked, most=5)

    assert announced_bytes("5", chunked=False, most=5) == 5


def test_a_body_that_lies_on_the_disk_is_handed_on_as_that_file_if_it_is_whole(tmp_path: Path) -> None:
    with Spool(tmp_path, most_bytes=100).open() as body:
        body.write(b"x" * 10)
        body.seek(0)
        asked = request(announced="10")
        asked.environ["wsgi.input"] = body

        assert open_body(asked, most=100, media_types=JSON) is body

        asked.environ["CONTENT_LENGTH"] = "11"
        with pytest.raises(BodyTruncated):
            open_body(Request(asked.environ), most=100, media_types=JSON)
