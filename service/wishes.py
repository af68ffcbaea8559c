"""
What operators want to serve, as a small file that all processes of a service share: ``serving.json``.

A change is written beside the file and takes its place in one step, under a lock, so that a reader finds the one or the
other and never half of it. A file that cannot be read is logged, and what was read last goes on.
"""

import fcntl
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from models.wanted import Wanted, Wish
from service.errors import StateUnavailable

FILE, LOCK = "serving.json", "serving.lock"
LOCK_S = 5.0
"""Seconds that another process may hold the lock; a change takes it for milliseconds."""
_LOOK_S = 0.02

Seen = tuple[int, int, int]

log = logging.getLogger(__name__)


class Wishes:
    """The file and what was read from it last. Thread-safe, and safe beside other processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = Wanted()
        self._seen: Seen | None = None
        self._reading = threading.Lock()

    def read(self) -> Wanted:
        """What is wanted now; reads the file where it has changed."""
        with self._reading:
            seen = _seen(self._folder / FILE)
            if seen != self._seen:
                self._seen = seen
                self._last = self._last if seen is None else self._read()
            return self._last

    def change(self, name: str, alter: Callable[[Wish], Wish], *, after: int = 0) -> Wanted:
        """
        Change what is wanted of a model, for all processes.

        Args:
            name: Of the model.
            alter: Gives what is wanted from now on for what was.
            after: A generation that some process follows already, for where the file has been lost.

        Returns:
            What is wanted now, of all models; written to disk.

        Raises:
            StateUnavailable: The file cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                before = self.read()
                before = msgspec.structs.replace(before, generation=max(before.generation, after))
                wanted = before.changed(name, alter(before.of(name)))
                self._write(wanted)
                with self._reading:
                    self._last = wanted
        except OSError as error:
            raise StateUnavailable(reason=error.strerror or type(error).__name__) from error
        return wanted

    def _read(self) -> Wanted:
        try:
            found = msgspec.json.decode((self._folder / FILE).read_bytes(), type=Wanted)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("%s cannot be read, so what was wanted before goes on: %s", self._folder / FILE, error)
            return self._last
        return found if found.generation > self._last.generation else self._last

    def _write(self, wanted: Wanted) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".serving-", delete=False) as scratch:
            try:
                scratch.write(msgspec.json.format(msgspec.json.encode(wanted), indent=1) + b"\n")
                scratch.flush()
                os.fsync(scratch.fileno())
                Path(scratch.name).replace(self._folder / FILE)
            except OSError:
                Path(scratch.name).unlink(missing_ok=True)
                raise
        _sync(self._folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, which is the file's that is opened: threads of a process exclude each other, too."""
        deadline = time.monotonic() + LOCK_S
        with (self._folder / LOCK).open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_LOOK_S)
            yield


def _seen(file: Path) -> Seen | None:
    """What tells one content of the file from the next; None where there is no file."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _sync(folder: Path) -> None:
    """Let a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
