"""One POST to one of the addresses that were looked at, and to no other: no redirects, no proxies, never for long."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from worker.receivers import Receiver

CONNECT_S = 3.0
"""Seconds that one address may take to be reached."""
WHOLE_S = 10.0
"""Seconds that all of it may take: connect, handshake, send, answer. A byte now and then buys no more."""
READ_BYTES = 4096
READ_S = 1.0
"""How much of an answer's body is read and dropped, so that a small one ends in peace, and for how long."""


class Answer(NamedTuple):
    """What a receiver said: the status, and the header Retry-After or ''."""

    status: int
    retry_after: str


def post(receiver: Receiver, addresses: Sequence[str], body: bytes, headers: Mapping[str, str],
         *, whole_s: float = WHOLE_S) -> Answer:  # fmt: skip
    """
    Send a body to a receiver at one of its addresses, tried in turn; the certificate must be of the URL's host.

    Raises:
        OSError: None of them is reached, the certificate is not the host's, or the time is up.
        http.client.HTTPException: What answers does not speak HTTP.
    """
    ends_s = time.monotonic() + whole_s
    with closing(_connect(addresses, receiver.port, ends_s)) as plain, _cut_at(plain, ends_s):
        sock, connection = _opened(receiver, plain)
        with closing(sock), closing(connection):
            connection.request("POST", receiver.target, body, dict(headers))
            answer = connection.getresponse()
            said = Answer(answer.status, answer.getheader("Retry-After", ""))
            with suppress(OSError, http.client.HTTPException):
                sock.settimeout(READ_S)
                answer.read(READ_BYTES)
            return said


def _connect(addresses: Sequence[str], port: int, ends_s: float) -> socket.socket:
    failed: OSError = TimeoutError("timed out")
    for address in addresses:
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            break
        try:
            # An address, so nothing is looked up here again.
            return socket.create_connection((address, port), timeout=min(CONNECT_S, left_s))
        except OSError as error:
            failed = error
    raise failed


@contextmanager
def _cut_at(plain: socket.socket, ends_s: float) -> Iterator[None]:
    """
    End a connection when its time is up, whatever it is at.

    A time-out of the socket alone begins again with each byte, so that a receiver who sends one now and then would keep
    us for ever. The connection is cut through a second handle, since TLS takes the first one over.
    """
    left_s = ends_s - time.monotonic()
    plain.settimeout(max(left_s, 0.001))
    with plain.dup() as handle:

        def cut() -> None:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(left_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _opened(receiver: Receiver, plain: socket.socket) -> tuple[socket.socket, http.client.HTTPConnection]:
    """A connection for requests over a socket; TLS where the URL says so, for its host's name."""
    sock = plain
    connection = http.client.HTTPConnection(receiver.host, receiver.port)
    if receiver.scheme == "https":
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        sock = context.wrap_socket(plain, server_hostname=receiver.host)
        connection = http.client.HTTPSConnection(receiver.host, receiver.port, context=context)
    connection.auto_open = 0  # else it would look the name up and connect by itself once the socket is closed
    connection.sock = sock
    return sock, connection
