"""
Bodies of requests, let in only if they are whole.

WSGI servers hand on a body that was cut off as if it were complete, so each is held against its Content-Length.
"""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

from flask import Request

from service.errors import BodyTooLarge, BodyTruncated, LengthRequired, UnsupportedMediaType

READ_BYTES = 64 * 1024


def read_body(request: Request, *, most: int, media_types: Sequence[str], hint: str = "") -> bytes:
    """
    The whole body of a request; raises as `open_body` does.

    Args:
        request: The request, its body unread.
        most: Bytes that are taken.
        media_types: Content-Types that are taken.
        hint: What a message about too large a body says besides.
    """
    stream, announced = _admit(request, most, media_types, hint)
    body = read_announced(stream, announced)
    if len(body) < announced:
        raise BodyTruncated(received=len(body), announced=announced)
    return body


def read_announced(stream: Any, announced: int) -> bytes:
    """As many bytes of a raw stream as were announced, fewer where it ends early."""
    body = stream.read(announced)
    while len(body) < announced and (part := stream.read(announced - len(body))):
        body += part
    return bytes(body)


def open_body(request: Request, *, most: int, media_types: Sequence[str]) -> BinaryIO:
    """
    The body of a request as a file that fails at a premature end.

    Raises:
        LengthRequired: Its length is not told.
        BodyTooLarge: It announces more than is taken; nothing of it is read.
        BodyTruncated: It ends early; where it is a file, the read at its end raises this.
        UnsupportedMediaType: Its Content-Type or Content-Encoding is not taken.
    """
    stream, announced = _admit(request, most, media_types, "")
    return io.BufferedReader(_WholeBody(stream, announced), READ_BYTES)


def _admit(request: Request, most: int, media_types: Sequence[str], hint: str) -> tuple[Any, int]:
    """The raw stream of a body, and its length as announced."""
    _check_type(request, media_types)
    if request.content_length is None or "Transfer-Encoding" in request.headers:
        raise LengthRequired
    if request.content_length > most:
        raise BodyTooLarge(given=request.content_length, most=most, hint=hint)
    return request.environ["wsgi.input"], request.content_length


def _check_type(request: Request, media_types: Sequence[str]) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in media_types or charset not in ("utf-8", "utf8", "us-ascii"):
        given = request.headers.get("Content-Type", "")
        raise UnsupportedMediaType(header="Content-Type", given=given, known=media_types)
    if encoding := request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType(header="Content-Encoding", given=encoding, known=["none, an unpacked body"])


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
