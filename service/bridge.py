"""From the event loop to Flask: a request as WSGI has it (PEP 3333), its body there and whole, answered in a thread."""

import os
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from service.exchange import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

TOLD_ELSEWHERE = ("content-type", "content-length")
"""Headers that a WSGI environment has under names of their own."""
SHORT_BYTES = 64 * 1024
"""Of a file that is read and closed at once; a longer one stays open until the server has opened it, too."""


class File:
    """
    A file that is answered as it is, or a part of it; stands in for `wsgi.file_wrapper`.

    Attributes:
        file: It has a descriptor, and is open where the part begins.
        begin: Where that is.
        size_bytes: How long the part is; None for all that follows.
    """

    def __init__(self, file: IO[bytes], block_size: int = 8192, size_bytes: int | None = None) -> None:
        """Nothing is read yet."""
        self.file = file
        self.begin = file.tell()
        self.size_bytes = size_bytes
        self._block_size = block_size
        self._left = size_bytes

    @property
    def is_short(self) -> bool:
        """Whether what is answered of it may as well be in memory."""
        size_bytes = self.size_bytes
        if size_bytes is None:
            size_bytes = os.fstat(self.file.fileno()).st_size - self.begin
        return size_bytes <= SHORT_BYTES

    def __iter__(self) -> "File":
        return self

    def __next__(self) -> bytes:
        wanted = self._block_size if self._left is None else min(self._block_size, self._left)
        if not (part := self.file.read(wanted)):
            raise StopIteration
        if self._left is not None:
            self._left -= len(part)
        return part

    def close(self) -> None:
        """Close the file; a server calls it once the answer is out."""
        self.file.close()


class Called(NamedTuple):
    """What a WSGI application answered; `body` is a file where it is one, and then whoever sends it closes it."""

    status: int
    headers: Headers
    body: bytes | File


def environment(scope: Any, body: IO[bytes]) -> "WSGIEnvironment":
    """
    A request as WSGI has it.

    Args:
        scope: As RSGI has it; a header whose name has an underscore is left out, since WSGI would take it for another.
        body: The whole of it, at its start.
    """
    host, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "REQUEST_URI": quote(scope.path),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": File,
    }
    for name, value in scope.headers.items():
        if "_" in name:
            continue
        key = name.upper().replace("-", "_")
        key = key if name in TOLD_ELSEWHERE else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def call(app: "WSGIApplication", environ: "WSGIEnvironment") -> Called:
    """
    What a WSGI application answers, its start and its whole body.

    A file comes back as such, unless it is short: the server reads it as fast as the caller takes it.
    """
    started: list[tuple[str, Headers]] = []

    def start_response(status: str, headers: Headers, _error: Any = None) -> Any:
        started[:] = [(status, [(name.lower(), value) for name, value in headers])]

    parts: Iterable[bytes] = app(environ, start_response)
    if isinstance(parts, File) and not parts.is_short:
        body: bytes | File = parts
    else:
        try:
            body = b"".join(parts)
        finally:
            getattr(parts, "close", lambda: None)()
    (status, headers) = started[0]
    return Called(int(status[:3]), headers, body)
