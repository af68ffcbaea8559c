"""
Bodies of requests, let in only if they are whole.

WSGI servers hand on a body that was cut off as if it were complete, so each is held against its Content-Length.
"""

import functools
import io
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

from flask import Request
from werkzeug.http import parse_options_header

from service.errors import BodyTooLarge, BodyTruncated, LengthRequired, UnsupportedMediaType
from service.spool import Spooled

READ_BYTES = 64 * 1024
UTF_8 = ("utf-8", "utf8", "us-ascii")


def check_type(content_type: str, encoding: str, media_types: Sequence[str], encodings: Sequence[str] = ()) -> None:
    """
    Refuse a body by its headers Content-Type and Content-Encoding, "" where there is none.

    Args:
        content_type: That header.
        encoding: That header.
        media_types: What is taken.
        encodings: How it may be packed, in lower case.

    Raises:
        UnsupportedMediaType: One of them is not taken.
    """
    media_type, charset = _parsed(content_type)
    if media_type not in media_types or charset not in UTF_8:
        raise UnsupportedMediaType(header="Content-Type", given=content_type, known=media_types)
    if encoding and encoding.lower() not in encodings:
        known = [*encodings, "none, an unpacked body"]
        raise UnsupportedMediaType(header="Content-Encoding", given=encoding, known=known)


def announced_bytes(length: str, *, chunked: bool, most: int, hint: str = "") -> int:
    """
    A body's length, as its header Content-Length announces it.

    Args:
        length: The header, "" where there is none.
        chunked: Whether there is a Transfer-Encoding.
        most: Bytes that are taken.
        hint: What a message about too large a body says besides.

    Raises:
        LengthRequired: The length is not told.
        BodyTooLarge: It is more than is taken.
    """
    if chunked or not (length.isascii() and length.isdecimal()):
        raise LengthRequired
    announced = int(length) if len(length) < 20 else 10**20
    if announced > most:
        raise BodyTooLarge(given=announced, most=most, hint=hint)
    return announced


def read_body(request: Request, *, most: int) -> bytes:
    """The whole body of a request, whatever its type; raises as `open_body` does."""
    return read_announced(request.environ["wsgi.input"], _announced(request, most))


def read_announced(stream: Any, announced: int) -> bytes:
    """
    As many bytes of a raw stream as were announced.

    Raises:
        BodyTruncated: It ends early.
    """
    body = stream.read(announced)
    while len(body) < announced and (part := stream.read(announced - len(body))):
        body += part
    if len(body) < announced:
        raise BodyTruncated(received=len(body), announced=announced)
    return bytes(body)


def open_body(request: Request, *, most: int, media_types: Sequence[str], encodings: Sequence[str] = ()) -> BinaryIO:
    """
    The body of a request as a file that fails at a premature end; one that lies on the disk, as that file.

    Raises:
        LengthRequired: Its length is not told.
        BodyTooLarge: It announces more than is taken; nothing of it is read.
        BodyTruncated: It ends early; where it is a file, the read at its end raises this.
        UnsupportedMediaType: Its Content-Type or Content-Encoding is not taken.
    """
    headers = request.headers
    check_type(headers.get("Content-Type", ""), headers.get("Content-Encoding", ""), media_types, encodings)
    announced, stream = _announced(request, most), request.environ["wsgi.input"]
    if not isinstance(stream, Spooled):
        return io.BufferedReader(_WholeBody(stream, announced), READ_BYTES)
    if (received := os.fstat(stream.fileno()).st_size) != announced:
        raise BodyTruncated(received=received, announced=announced)
    return stream


@functools.lru_cache(maxsize=256)
def _parsed(content_type: str) -> tuple[str, str]:
    """Media type and charset of a Content-Type."""
    media_type, options = parse_options_header(content_type)
    return media_type.lower(), options.get("charset", "utf-8").lower()


def _announced(request: Request, most: int) -> int:
    chunked = "Transfer-Encoding" in request.headers
    return announced_bytes(request.headers.get("Content-Length", ""), chunked=chunked, most=most)


class _WholeBody(io.RawIOBase):
    """A raw stream that is as long as was announced, or raises."""

    def __init__(self, stream: Any, announced: int) -> None:
        self._stream = stream
        self._announced = announced
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._announced - self._received)
        part = self._stream.read(wanted) if wanted else b""
        if wanted and not part:
            raise BodyTruncated(received=self._received, announced=self._announced)
        buffer[: len(part)] = part
        self._received += len(part)
        return len(part)
