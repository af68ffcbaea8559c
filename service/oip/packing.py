"""Bodies that are compressed on their way: gzip, and deflate, which is zlib's format; unpacked to a bounded size."""

import functools
import zlib

from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from service.errors import InvalidEncoding, UnpackedTooLarge, UnsupportedMediaType

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""How zlib is told which format it is."""
LEVEL = 1
"""The fastest: numbers hardly shrink further for more work."""


def unpacked(body: bytes, encoding: str, *, most: int, hint: str = "") -> bytes:
    """
    A body as it was before it was compressed.

    Args:
        body: As it came.
        encoding: Its header Content-Encoding, "" where there is none.
        most: Bytes that are taken, as it unpacks.
        hint: What a message about too large a body says besides.

    Raises:
        UnsupportedMediaType: It is compressed in another way.
        InvalidEncoding: It does not unpack.
        UnpackedTooLarge: It unpacks to more than is taken.
    """
    encoding = encoding.strip().lower()
    if encoding not in (*WINDOW_BITS, "", "identity"):
        raise UnsupportedMediaType(header="Content-Encoding", given=encoding[:60], known=WINDOW_BITS)
    return _unpack(body, encoding, most, hint) if encoding in WINDOW_BITS else body


def packed(content: bytes, accept_encoding: str) -> tuple[bytes, str]:
    """An answer compressed as a header Accept-Encoding asks, and how; "" where it is left as it is."""
    best = _best(accept_encoding)
    if best not in WINDOW_BITS:
        return content, ""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS[best])
    return packer.compress(content) + packer.flush(), best


@functools.lru_cache(maxsize=256)
def _best(accept_encoding: str) -> str:
    return parse_accept_header(accept_encoding, Accept).best_match([*WINDOW_BITS, "identity"], "identity")


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
