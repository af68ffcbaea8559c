"""
A load generator that sends on time, whatever the server does.

Each request has a time at which it is due, and its latency counts from then, so that a server that stalls is charged
for all who would have asked meanwhile (a closed loop asks nobody meanwhile: coordinated omission). One thread, one
epoll; how late its own sends were is recorded, since a generator that lags would blame the server.
"""

import ctypes
import os
import re
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

NO_ANSWER = 0
"""In place of a status: the connection broke, or the answer did not come in time."""
NOT_SENT = -1
"""In place of a status: no connection became free in time."""
PATIENCE_S = 10.0
"""Seconds behind the last due time after which what is unanswered is given up."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_TICK_NS = 1000
_EVENTS_AT_ONCE = 32
"""Answers that are read before it is looked again at what is due."""


@dataclass(frozen=True, slots=True)
class Request:
    """
    What is sent.

    Attributes:
        name: What the record calls it.
        raw: Head and body.
        wanted: The body that must come back, if that is known.
    """

    name: str
    raw: bytes
    wanted: bytes | None = None


def http(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as bytes; an underscore in a header's name is a hyphen."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "POST" and not {"Content-Length", "Transfer-Encoding"} & {*sent}:
        sent["Content-Length"] = str(len(body))
    lines += [f"{name}: {value}" for name, value in sent.items() if value]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Sent(NamedTuple):
    """
    What became of a request; times in seconds since the run began.

    Attributes:
        name: The request's.
        due_s: When it was to be sent.
        sent_s: When it was sent.
        done_s: When its answer was whole.
        status: The answer's, or `NO_ANSWER`, or `NOT_SENT`.
        held: Whether it waited for a free connection, which is the server's doing and not the generator's.
        as_wanted: False where another body was wanted.
    """

    name: str
    due_s: float
    sent_s: float
    done_s: float
    status: int
    held: bool
    as_wanted: bool

    @property
    def latency_s(self) -> float:
        return self.done_s - self.due_s

    @property
    def service_s(self) -> float:
        return self.done_s - self.sent_s

    @property
    def late_s(self) -> float:
        return self.sent_s - self.due_s


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection, what is still to be sent over it, what has come, and what it waits for."""

    socket: socket.socket
    out: memoryview = field(default_factory=lambda: memoryview(b""))
    came: bytearray = field(default_factory=bytearray)
    request: Request | None = None
    due_s: float = 0.0
    sent_s: float = 0.0
    held: bool = False
    has_answered: bool = False
    tells_when_writable: bool = False


class Clients:
    """So many connections, kept from run to run, each with one request at a time."""

    def __init__(self, port: int, connections: int) -> None:
        self._address = ("127.0.0.1", port)
        self._epoll = select.epoll()
        self._timer = _Timer()
        self._epoll.register(self._timer.fd, select.EPOLLIN)
        self._all: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._record: list[Sent] = []
        self._began = 0.0
        self._blocked, self._blocked_until_s = False, -1.0
        self._closed = False
        for _ in range(connections):
            self._idle.append(self._connect())

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._all.values():
            connection.socket.close()
        self._epoll.close()
        self._timer.close()

    def on_time(self, schedule: Iterable[tuple[float, Request]], *, seconds: float) -> list[Sent]:
        """
        Send each request when it is due, or as soon as a connection is free, and wait for the answers.

        Args:
            schedule: Due times in seconds from now, ascending, with what is to be sent.
            seconds: Behind the last of them; what no connection was free for by then is not sent any more.

        Returns:
            What became of each, in the order of their ends.
        """
        self._closed = False
        return self._run(iter(schedule), seconds)

    def closed_loop(self, requests: Iterator[Request], *, seconds: float) -> list[Sent]:
        """Send the next request over each connection as soon as it is free, for some time."""
        self._closed = True
        return self._run(((0.0, each) for each in requests), seconds)

    def _run(self, rest: Iterator[tuple[float, Request]], seconds: float) -> list[Sent]:
        self._record, self._began = [], time.perf_counter()
        self._blocked, self._blocked_until_s = False, -1.0
        following = self._send_due(rest, next(rest, None), seconds)
        while following or len(self._idle) < len(self._all):
            now = self._now()
            if now > seconds + PATIENCE_S:
                self._give_up()
                break
            self._wait(following[0] if following and self._idle else now + 0.05)
            following = self._send_due(rest, following, seconds)
        return self._record

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _wait(self, until_s: float) -> None:
        """Read what comes until some time; in any case what is there."""
        self._timer.set(until_s - self._now())
        for fd, event in self._epoll.poll(maxevents=_EVENTS_AT_ONCE):
            if fd == self._timer.fd:
                self._timer.read()
            elif connection := self._all.get(fd):
                if event & select.EPOLLOUT and connection.out:
                    self._push(connection)
                if event & ~select.EPOLLOUT:
                    self._receive(connection)

    def _send_due(
        self, rest: Iterator[tuple[float, Request]], following: tuple[float, Request] | None, seconds: float
    ) -> tuple[float, Request] | None:
        """Send what is due as long as a connection is free; what comes next."""
        if self._blocked and self._idle:
            self._blocked, self._blocked_until_s = False, self._now()
        while following and following[0] <= (now := self._now()):
            due_s, request = following
            if now > seconds and self._closed:
                return None
            if now > seconds and (self._blocked or due_s <= self._blocked_until_s):
                self._record.append(Sent(request.name, due_s, now, now, NOT_SENT, held=True, as_wanted=True))
            elif self._idle:
                self._send(self._idle.popleft(), request, due_s)
            else:
                self._blocked = True
                return following
            following = next(rest, None)
        return following

    def _send(self, connection: _Connection, request: Request, due_s: float) -> None:
        connection.request, connection.due_s, connection.sent_s = request, due_s, self._now()
        connection.held = due_s <= self._blocked_until_s
        connection.out = memoryview(request.raw)
        self._push(connection)

    def _push(self, connection: _Connection) -> None:
        """Send as much as the system takes, and ask to be told when it takes more."""
        try:
            connection.out = connection.out[connection.socket.send(connection.out) :]
        except BlockingIOError:
            pass
        except OSError:
            connection.out = memoryview(b"")
            self._receive(connection)
            return
        if connection.tells_when_writable != bool(connection.out):
            connection.tells_when_writable = bool(connection.out)
            self._epoll.modify(connection.socket, select.EPOLLIN | (select.EPOLLOUT if connection.out else 0))

    def _receive(self, connection: _Connection) -> None:
        try:
            part = connection.socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part or connection.request is None:
            self._lost(connection)
            return
        connection.came += part
        head = connection.came.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(connection.came, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(connection.came) >= end:
            self._answered(connection, connection.request, head, end)

    def _answered(self, connection: _Connection, request: Request, head: int, end: int) -> None:
        right = request.wanted is None or connection.came[head + 4 : end] == request.wanted
        self._finish(connection, int(connection.came[9:12]), right=right)
        if connection.out or _CLOSES.search(connection.came, 0, head + 2):
            self._idle.append(self._replace(connection))
        else:
            connection.came.clear()
            connection.has_answered = True
            self._idle.append(connection)

    def _lost(self, connection: _Connection) -> None:
        """The server has ended a connection, which it may if it was idle; else its request has no answer."""
        fresh = self._replace(connection)
        request = connection.request
        if request is None:
            self._idle.remove(connection)
            self._idle.append(fresh)
        elif connection.has_answered and not connection.came:
            # It may have been ended before the request came, as any client must expect of a connection kept open.
            self._send(fresh, request, connection.due_s)
        else:
            self._finish(connection, NO_ANSWER)
            self._idle.append(fresh)

    def _finish(self, connection: _Connection, status: int, *, right: bool = True) -> None:
        name = connection.request.name if connection.request else ""
        self._record.append(
            Sent(name, connection.due_s, connection.sent_s, self._now(), status, connection.held, right)
        )
        connection.request = None

    def _give_up(self) -> None:
        """What has no answer by now gets none."""
        for connection in [each for each in self._all.values() if each.request]:
            self._finish(connection, NO_ANSWER)
            self._idle.append(self._replace(connection))

    def _connect(self) -> _Connection:
        made = socket.create_connection(self._address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        connection = _Connection(made)
        self._all[made.fileno()] = connection
        self._epoll.register(made, select.EPOLLIN)
        return connection

    def _replace(self, connection: _Connection) -> _Connection:
        del self._all[connection.socket.fileno()]
        connection.socket.close()
        return self._connect()


class _Timer:
    """A timer that epoll waits for, since its own time-out is whole milliseconds. Python has it from 3.13 on."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, seconds: float) -> None:
        """Go off once, in so many seconds; at once where that is past."""
        nanoseconds = max(_TICK_NS, int(seconds * 1e9))
        spec = struct.pack("qqqq", 0, 0, *divmod(nanoseconds, 10**9))
        self._libc.timerfd_settime(self.fd, 0, spec, None)

    def read(self) -> None:
        """Take note that it has gone off."""
        with suppress(BlockingIOError):
            os.read(self.fd, 8)

    def close(self) -> None:
        os.close(self.fd)
