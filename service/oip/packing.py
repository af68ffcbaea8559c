"""Bodies that are compressed on their way: gzip, and deflate, which is zlib's format; unpacked to a bounded size."""

import zlib

from flask import Request

from service.bodies import read_body
from service.errors import InvalidEncoding, UnpackedTooLarge, UnsupportedMediaType

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""How zlib is told which format it is."""
_UNREAD = ("CONTENT_TYPE", "HTTP_CONTENT_ENCODING")
LEVEL = 1
"""The fastest: numbers hardly shrink further for more work."""


def unpacked(request: Request, *, most: int, hint: str = "") -> bytes:
    """
    The whole body of a request, as it was before it was compressed; raises as `read_body` does.

    Its Content-Type is not looked at: Triton's client sends none, its asyncio client octets, curl a form.

    Args:
        request: The request, its body unread.
        most: Bytes that are taken, compressed and as they unpack.
        hint: What a message about too large a body says besides.

    Raises:
        InvalidEncoding: It does not unpack.
        UnpackedTooLarge: It unpacks to more than is taken.
    """
    # Whatever is wrong besides, the body is read: the server ends a connection on which a body was left unread, and a
    # caller that sends the next request on it gets no answer.
    environ = {key: value for key, value in request.environ.items() if key not in _UNREAD}
    body = read_body(Request(environ), most=most, media_types=("",), hint=hint)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in (*WINDOW_BITS, "", "identity"):
        raise UnsupportedMediaType(header="Content-Encoding", given=encoding[:60], known=WINDOW_BITS)
    return _unpack(body, encoding, most, hint) if encoding in WINDOW_BITS else body


def packed(content: bytes, request: Request) -> tuple[bytes, str]:
    """An answer compressed as the request's Accept-Encoding asks, and how; "" where it is left as it is."""
    best = request.accept_encodings.best_match([*WINDOW_BITS, "identity"])
    if best not in WINDOW_BITS:
        return content, ""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS[best])
    return packer.compress(content) + packer.flush(), best


def _unpack(body: bytes, encoding: str, most: int, hint: str) -> bytes:
    unpacker = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidEncoding(encoding=encoding, reason=str(error)) from None
    if len(plain) > most:
        raise UnpackedTooLarge(most=most, hint=hint)
    if not unpacker.eof:
        raise InvalidEncoding(encoding=encoding, reason="it ends early")
    if unpacker.unused_data:
        raise InvalidEncoding(encoding=encoding, reason=f"{len(unpacker.unused_data)} bytes lie behind its end")
    return plain
