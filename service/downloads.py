"""Files that jobs give back, as HTTP has them: a format, a part, a digest, or the word that nothing has changed."""

from base64 import b64encode

from flask import Request, Response

from service import query
from service.bridge import File
from service.errors import InvalidParameter, NotAcceptable, RangeNotSatisfiable
from worker.downloads import Download
from worker.media_types import RESULT_SUFFIXES

FORMATS = {suffix: media_type for media_type, suffix in RESULT_SUFFIXES.items()}
"""By what `?format=` may be, the media type; the first is given where nothing is asked for."""
SENT_BYTES = 256 * 1024


def wanted_format(asked: Request) -> str:
    """
    The format of a download, by ``?format=`` or else by Accept.

    Raises:
        InvalidParameter: The query has something else.
        NotAcceptable: Nothing of what is accepted is given.
    """
    query.allow(asked.args, "format")
    if (given := asked.args.get("format")) is not None:
        if given not in FORMATS:
            raise InvalidParameter(name="format", reason=f"{given[:60]!r} is none of {', '.join(FORMATS)}")
        return given
    if not asked.accept_mimetypes:
        return next(iter(FORMATS))
    best = asked.accept_mimetypes.best_match(FORMATS.values())
    if best is None:
        raise NotAcceptable(given=asked.headers["Accept"][:60], known=FORMATS.values())
    return RESULT_SUFFIXES[best]


def send(asked: Request, found: Download, name: str) -> Response:
    """
    A file, or that part of it that is asked for; the length that is told gives away an answer that was cut off.

    A Range counts where If-Range, if it is there, is this file's ETag. One of several parts, or one that cannot be
    read, gets the whole, as RFC 9110 has it.

    Raises:
        RangeNotSatisfiable: The part begins behind the file's end.
        StorageUnavailable: The file cannot be opened.
    """
    if asked.if_none_match.contains_weak(found.etag):
        return _with_headers(Response(status=304), found)
    span = _span(asked, found)
    first, last = span or (0, found.size_bytes - 1)
    answer = Response(status=206 if span else 200, content_type=found.media_type)
    if asked.method != "HEAD" and found.size_bytes:
        answer.response = File(found.open_here(first, last), SENT_BYTES, last + 1 - first)
        answer.direct_passthrough = True
    answer.content_length = last + 1 - first
    digest = f"sha-256=:{b64encode(bytes.fromhex(found.etag)).decode()}:"
    answer.headers["Repr-Digest"] = digest  # of the whole, whatever part is sent
    if span:
        answer.headers["Content-Range"] = f"bytes {first}-{last}/{found.size_bytes}"
    else:
        answer.headers["Content-Digest"] = digest
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return _with_headers(answer, found)


def _with_headers(answer: Response, found: Download) -> Response:
    answer.set_etag(found.etag)
    answer.headers["Accept-Ranges"] = "bytes"
    return answer


def _span(asked: Request, found: Download) -> tuple[int, int] | None:
    """The first and the last byte of the part that is asked for; None for the whole."""
    wanted = asked.range
    if asked.method != "GET" or wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    if "If-Range" in asked.headers and asked.headers["If-Range"].strip() != f'"{found.etag}"':
        return None
    first, end = wanted.ranges[0]
    if first < 0:  # so many bytes at the end
        first = max(0, found.size_bytes + first)
    if first >= found.size_bytes:
        raise RangeNotSatisfiable(size_bytes=found.size_bytes)
    return first, min(end or found.size_bytes, found.size_bytes) - 1
