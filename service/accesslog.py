"""
The access log: a line of JSON for each request, written a moment later, so that no request waits for whoever reads it.

Lines wait in memory for up to `FLUSH_S`, become text then, off the way of the requests, and are written together, each
of them whole: a pipe that several processes share takes up to `PIPE_BUF` bytes in one piece. At an ordinary end,
SIGTERM's too, none is lost; SIGKILL loses those that wait. Warnings and errors do not come this way: `service.logs`
writes them at once.
"""

import atexit
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from service.logs import as_line

LOGGER = "service.access"
MAX_LOGGED_CHARS = 300
"""Of a caller's text in one field."""
FLUSH_S = 0.1
"""Seconds that a line may wait."""
CLOSE_S = 1.0
"""Seconds that a reader who does not read holds up the end of the process."""
MOST_LINES = 20_000
"""Lines that wait for a reader that is slow; what comes after them is counted and lost."""
PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
_Line = tuple[float, Callable[[], dict[str, Any]]]
"""When it was, and what gives its facts."""
_FIXED: dict[str, Any] = {"time": "", "level": "info", "logger": LOGGER, "message": "request"}


class AccessLog:
    """The access log of one process. Thread-safe, and never blocks."""

    def __init__(self, descriptor: int | None = None, *, on: bool = True) -> None:
        """
        Begin.

        Args:
            descriptor: Where the lines go; stderr if None.
            on: Whether there are any.
        """
        self.on = on
        self._descriptor = 2 if descriptor is None else descriptor
        self._lines: deque[_Line] = deque()
        self._lost = 0
        self._second = (0, "")
        self._due = False
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._starting = threading.Lock()
        self._writer: threading.Thread | None = None

    def write(self, **facts: Any) -> None:
        """Add a line with these facts; text of callers may be anything, and stays within its line."""
        self.write_later(lambda: facts)

    def write_later(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Add a line about now; its facts are asked for when it is written, by the thread that writes."""
        if not self.on:
            return
        if len(self._lines) >= MOST_LINES:
            self._lost += 1
            return
        self._lines.append((time.time(), facts))
        if not self._due:
            self._due = True
            if self._writer is None:
                self._start()
            self._wake.set()

    def close(self) -> None:
        """Write what waits, and no more after it; gives up on a reader that does not read."""
        self.on = False
        self._ending.set()
        self._wake.set()
        if self._writer:
            self._writer.join(CLOSE_S)
            atexit.unregister(self.close)

    def _line(self, now: float, facts: dict[str, Any]) -> bytes:
        return as_line({**_FIXED, "time": self._time(now), **facts})

    def _time(self, now: float) -> str:
        """A time in UTC to the millisecond; the second's text is made once a second."""
        second, text = self._second
        if int(now) != second:
            second = int(now)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int((now - second) * 1000):03d}+00:00"

    def _start(self) -> None:
        with self._starting:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_on, name="access log", daemon=True)
                self._writer.start()
                atexit.register(self.close)

    def _write_on(self) -> None:
        while not self._ending.is_set():
            self._wake.wait()
            self._wake.clear()
            self._ending.wait(FLUSH_S)
            self._due = False
            self._write_out()
        self._write_out()

    def _write_out(self) -> None:
        for part in self._parts():
            self._put(part)

    def _parts(self) -> Iterator[bytes]:
        """
        The lines that wait, as pieces that a pipe takes whole; a line longer than that is a piece of its own.

        A line leaves the others just before it is written, so that those that wait for a slow reader stay counted.
        """
        part = b""
        while self._lines:
            now, facts = self._lines.popleft()
            line = self._line(now, facts())
            if part and len(part) + len(line) > PIPE_BUF:
                yield part
                part = b""
            part += line
        if part:
            yield part
        if self._lost:
            lost, self._lost = self._lost, 0
            yield self._line(time.time(), {"level": "warning", "message": f"{lost} lines of this log are lost"})

    def _put(self, part: bytes) -> None:
        """Write a piece; where nobody reads any more, it goes nowhere."""
        left = memoryview(part)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # someone has made the pipe so
                select.select([], [self._descriptor], [], FLUSH_S)
            except OSError:
                return
